"""Small parts of waiting: until when to sleep, and how to wake a sleeper."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from guesthouse.calls.call import PENDING, Call


def bounds(end: int, call: Call, waiter: Call | None) -> Iterator[int]:
    """Yield the moments at which a waiter must look up, in monotonic nanoseconds."""
    if end:
        yield end
    if waiter is not None and waiter.deadline:
        yield waiter.deadline
    if call.deadline and call.stage == PENDING:
        yield call.deadline


def release(turn: threading.Lock) -> None:
    """Release a lock that somebody else may release at the same time."""
    try:
        turn.release()
    except RuntimeError:
        pass
