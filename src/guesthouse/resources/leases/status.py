"""Status codes of the lease rules, and the one exception that carries them.

The numbers are those of the fabric's status codes (spec fabric.md, sections 2 and 3), so an interface
passes them on unchanged; nothing here depends on an interface.
"""

from __future__ import annotations

from typing import Final

from guesthouse.errors import ResourceError

#: What a lease reports about itself.
ACTIVE: Final = 0
EXPIRED: Final = 1
REVOKED: Final = 2
FENCED: Final = 3

#: Why an operation is refused.
DISCONNECTED: Final = -1
LEASE_EXPIRED: Final = -2
LEASE_FENCED: Final = -3
CAPACITY_EXCEEDED: Final = -4
UNSUPPORTED: Final = -5
LEASE_REVOKED: Final = -6
INVALID_ARGUMENT: Final = -7
UNKNOWN_LEASE: Final = -8
BUFFER_TOO_SMALL: Final = -9
BUSY: Final = -10
INTERNAL: Final = -11

_REASONS: Final = {
    DISCONNECTED: "not connected: no hello was made, or the backend is unreachable",
    LEASE_EXPIRED: "the lease has expired; allocate a new one",
    LEASE_FENCED: "the resource is fenced after a failed teardown; an operator has to unfence it",
    CAPACITY_EXCEEDED: "more than the capacity that is left, or beyond the end of the resource",
    UNSUPPORTED: "not granted, or not supported here",
    LEASE_REVOKED: "the lease was freed or revoked",
    INVALID_ARGUMENT: "invalid argument",
    UNKNOWN_LEASE: "no such lease for this tenant",
    BUFFER_TOO_SMALL: "the output buffer is too small",
    BUSY: "busy, or timed out",
    INTERNAL: "the backend failed",
}


class LeaseError(ResourceError):
    """An operation on a leased resource was refused.

    Attributes:
        code: the negative status code, as an interface hands it to a guest.
    """

    def __init__(self, code: int, detail: str = "", *, resource: str = "leases") -> None:
        self.code = code
        reason = _REASONS.get(code) or (f"session failure {-code - 256}" if code < -256 else "refused")
        super().__init__(f"{reason}{f' ({detail})' if detail else ''} [{code}]", resource=resource)


def session_failure(code: int) -> int:
    """Return the status of a failed GPU session, ``-(256 + code)`` for ``code`` in 1..255."""
    return -(256 + code)
