"""What can go wrong with shared state, one class per reason.

Native host functions meet the same reasons as small negative numbers (``values.pxd``); :func:`error`
turns one into the other.
"""

from __future__ import annotations

from guesthouse.errors import ResourceError


class StateError(ResourceError):
    """A state operation was refused.

    Attributes:
        tenant, key: whose value it was; ``None`` where the operation concerns no single value.
    """

    def __init__(self, message: str, *, tenant: str | None = None, key: bytes | None = None) -> None:
        self.tenant, self.key = tenant, key
        where = f"key {key.decode('utf-8', 'backslashreplace')!r}: " if key is not None else ""
        super().__init__(where + message, resource="state")


class InvalidKey(StateError):
    """The tenant or key is empty or too long (faasm.md 4.1)."""


class SizeUnknown(StateError):
    """An operation that names no size met a key that nobody gave one yet (faasm.md 4.2)."""


class SizeMismatch(StateError):
    """The size differs from the one that was fixed at first use (faasm.md 4.2)."""


class OutOfRange(StateError):
    """The range is not wholly inside the value, or more elements were asked for than there are."""


class QuotaExceeded(StateError):
    """The tenant may not keep that many keys or bytes."""


class NotLocked(StateError):
    """An unlock of a lock that the call does not hold (faasm.md 4.6)."""


class Deadlock(StateError):
    """Waiting for this lock would never end: its holder waits for a lock of this call."""


class Stopped(StateError):
    """The call was cancelled, or its deadline passed, while it waited."""


class BackendLost(StateError):
    """The global tier cannot be reached, or is damaged; what it acknowledged is kept."""


#: Reason numbers of the native side, see ``values.pxd``.
REASONS: dict[int, tuple[type[StateError], str]] = {
    -1: (InvalidKey, "keys have 1 to 4096 bytes, none of them zero"),
    -2: (SizeUnknown, "the value has no size set; name its size at the first use"),
    -3: (SizeMismatch, "the value has another size, which was fixed at its first use"),
    -4: (OutOfRange, "out of bounds chunk: the range is not inside the value"),
    -5: (QuotaExceeded, "the tenant's quota of state is used up"),
    -6: (NotLocked, "unlocked without being locked by this call"),
    -7: (Deadlock, "deadlock: the lock's holder waits for a lock of this call"),
    -8: (Stopped, "the call ended while it waited"),
    -9: (BackendLost, "the global tier failed"),
    -10: (SizeMismatch, "different sizes of value and mask"),
    -11: (QuotaExceeded, "no memory left for state values"),
}


def error(code: int, *, tenant: str | None = None, key: bytes | None = None) -> StateError:
    """Return the exception that stands for a native reason number.

    Args:
        code: a number of :data:`REASONS`.
        tenant: whose value it is.
        key: the value concerned.
    """
    kind, message = REASONS[code]
    return kind(message, tenant=tenant, key=key)
