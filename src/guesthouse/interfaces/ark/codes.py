"""The error codes of the Ark API, and what becomes of a run's end (module-run specification, 3 and 5)."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """What every function of the Ark API answers; 1 and 3 are unused."""

    SUCCESS = 0
    API_NOT_AVAILABLE = 2
    INTERNAL_ERROR = 4
    INVALID_ARGUMENTS = 5
    NOT_FOUND = 6
    UNAVAILABLE = 7
    HTTP_REQUEST_FAILED = 8


#: Codes that a launched function may return and that reach the caller as they are.  7 is not among them:
#: as an answer of ``retrieve`` it would read as "not yet".
PASSED_ON = frozenset(
    {
        Code.SUCCESS,
        Code.API_NOT_AVAILABLE,
        Code.INTERNAL_ERROR,
        Code.INVALID_ARGUMENTS,
        Code.NOT_FOUND,
        Code.HTTP_REQUEST_FAILED,
    }
)


def of_run(returned: int) -> int:
    """Return what ``retrieve`` answers for a function that returned this code.

    Args:
        returned: the function's result, an unsigned 32-bit number.
    """
    return returned if returned in PASSED_ON else int(Code.INTERNAL_ERROR)
