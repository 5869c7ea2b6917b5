"""How a GPU session fails, in numbers (spec fabric.md 6)."""

from __future__ import annotations

from typing import Final

from guesthouse.resources.leases.status import LeaseError, session_failure

BAD_HANDLE: Final = 1
BAD_IMAGE: Final = 2
NOT_RUNNABLE: Final = 3
NO_KERNEL: Final = 4
BAD_LAUNCH: Final = 5
OUT_OF_MEMORY: Final = 6
OUT_OF_RESOURCES: Final = 7
DEVICE_FAULT: Final = 8
DEADLINE: Final = 9
SESSION_LOST: Final = 10
OTHER: Final = 255

_REASONS: Final = {
    BAD_HANDLE: "no such memory or module in this session",
    BAD_IMAGE: "the image is malformed",
    NOT_RUNNABLE: "the image's format or an operation in it cannot be run here",
    NO_KERNEL: "the module has no such kernel",
    BAD_LAUNCH: "dimensions or arguments do not fit",
    OUT_OF_MEMORY: "the device is out of memory",
    OUT_OF_RESOURCES: "the launch needs more resources than the device has",
    DEVICE_FAULT: "a kernel faulted",
    DEADLINE: "a kernel ran past the deadline",
    SESSION_LOST: "the session was lost; lease anew",
}


class SessionError(LeaseError):
    """A GPU session refused or failed an operation.

    Attributes:
        failure: one of the numbers above, 1..255; ``code`` is the status that guests see.
        detail: what exactly went wrong.
    """

    def __init__(self, failure: int, detail: str = "") -> None:
        self.failure, self.detail = failure, detail
        reason = _REASONS.get(failure, "the session failed")
        super().__init__(
            session_failure(failure), f"{reason}: {detail}" if detail else reason, resource="gpu"
        )
