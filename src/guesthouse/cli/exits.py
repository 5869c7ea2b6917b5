"""Exit codes of the command line (DESIGN section 7)."""

from __future__ import annotations

from guesthouse.errors import (
    CallError,
    Cancelled,
    DeadlineExceeded,
    GuestFailed,
    MemoryLimit,
    NotFound,
    OutOfFuel,
    OutputLimit,
    Trap,
)

USAGE = 2
DEADLINE = 124
REFUSED = 125
INTERRUPTED = 130
TRAPPED = 134
PIPE = 141


def of(error: BaseException) -> int:
    """Return the exit code for an error: who or what ended the call.

    A guest that hit a limit other than time was ended like one that trapped.  What the host refused
    before the guest ran, or could not do, is 125.
    """
    match error:
        case GuestFailed():
            return guest_code(error.code)
        case DeadlineExceeded():
            return DEADLINE
        case Trap() | OutOfFuel() | MemoryLimit() | OutputLimit():
            return TRAPPED
        case Cancelled():
            return INTERRUPTED
        case NotFound() | CallError() | _:
            return REFUSED


def guest_code(code: int) -> int:
    """Return a guest's code as the system can carry it; a failure never becomes a success."""
    carried = code & 0xFF
    return carried or (1 if code else 0)
