"""Waiting for calls: help with what has not started, sleep for the rest, refuse circles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING

from guesthouse.calls.call import DONE, PENDING, RUNNING, Call
from guesthouse.calls.results import Result
from guesthouse.errors import CallRefused

if TYPE_CHECKING:
    from guesthouse.calls.running import Running

#: How long a guest may poll a call that has not started before its worker's place is lent.
_POLL_NS = 1_000_000
#: A waiter that is to give up sooner than this does not run the call itself: it could not give that up.
_PATIENCE = 60.0
#: The longest sleep without a look around: two threads of one call may wait, and one wake-up finds one.
_SLEEP_NS = 1_000_000_000


class Waiting:
    """Lets threads wait for calls without starving them.

    Args:
        running: what runs the calls.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._calls = running.calls

    def wait(self, call: Call, timeout: float | None, waiter: Call | None) -> Result:
        """Return the result of a call, waiting for it; see :meth:`Scheduler.wait`."""
        if waiter is None:
            if call.stage != DONE:
                self._block(call, timeout, None)
        else:
            waiter._awaits = call
            try:
                patient = timeout is None or timeout >= _PATIENCE
                if call.stage == PENDING and patient and self._help(call, waiter):
                    pass
                elif call.stage != DONE:
                    self._refuse_cycle(call, waiter)
                    self._block(call, timeout, waiter)
            finally:
                waiter._awaits = None
            waiter.check()
        result = call.result
        assert result is not None
        return result

    def _help(self, call: Call, waiter: Call) -> bool:
        """Run a pending call on this thread; false when somebody else does, or its stack is too short."""
        if not self._running.nestable(waiter) or not self._running.claim(call):
            return False
        call.nesting = waiter.nesting + 1
        self._running.execute(call)
        return True

    def poll(self, call: Call, waiter: Call | None = None) -> bool:
        """Tell whether a call is done, without blocking.

        Guests may spin on this.  A waiter that polls a call which does not get a worker lends its own.
        """
        if (
            call.stage == PENDING
            and waiter is not None
            and not waiter._lending
            and monotonic_ns() - call.created_ns > _POLL_NS
        ):
            with self._calls.lock:
                if waiter.stage == RUNNING:
                    waiter._lending = True
                    self._running.workers.block(True)
                    self._running.workers.provide()
        return call.stage == DONE

    def _refuse_cycle(self, call: Call, waiter: Call) -> None:
        """Refuse a wait that can never end.  A call waits for at most one other, so this is exact."""
        each: Call | None = call
        while each is not None:
            if each is waiter:
                raise CallRefused("cycle", guest=waiter.guest)
            each = each._awaits

    def _block(self, call: Call, timeout: float | None, waiter: Call | None) -> None:
        """Sleep until `call` is done."""
        end = 0 if timeout is None else monotonic_ns() + int(timeout * 1e9)
        turn = threading.Lock()
        turn.acquire()
        lends = waiter is not None and not waiter._lending
        with self._calls.lock:
            if not call.enlist(turn):
                return
            if waiter is not None:
                waiter._parked = turn
            self._running.workers.block(lends)
            if self._calls.queue:
                self._running.workers.provide()
        try:
            while call.stage != DONE:
                if waiter is not None:
                    waiter.check()
                now = monotonic_ns()
                if end and now >= end:
                    raise TimeoutError(f"call {call.id} has not ended after {timeout:g} s")
                if call.stage == PENDING and 0 < call.deadline <= now and self._running.expire(call):
                    return
                until = min(bounds(end, call, waiter, now))
                turn.acquire(timeout=max(until - now, 0) / 1e9)
        finally:
            with self._calls.lock:
                self._running.workers.unblock(lends)
                if waiter is not None:
                    waiter._parked = None
                call.dismiss(turn)


def bounds(end: int, call: Call, waiter: Call | None, now: int) -> Iterator[int]:
    """Yield the moments at which a waiter must look up, in monotonic nanoseconds."""
    yield now + _SLEEP_NS
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
