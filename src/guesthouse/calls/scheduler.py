"""The scheduler: every call of every interface goes through it.

It knows nothing of interfaces and guests; a :class:`~guesthouse.calls.call.Runner` runs them.  What it
promises (DESIGN section 4):

* Waiting never starves what is waited for.  A call that waits for one that has not started runs it itself,
  on its own thread ("await helps"); where that thread's stack does not allow it, the waiting call lends its
  worker's place instead.
* A call ends no later than its parent's deadline; cancelling a call cancels what it made.
* Depth, fan-out, queues and remembered results are bounded (:class:`~guesthouse.calls.limits.CallLimits`).
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

from guesthouse.calls import graph
from guesthouse.calls.admission import CLOSED, DRAINING, Admission
from guesthouse.calls.call import DONE, Call, Runner
from guesthouse.calls.futures import CallFuture
from guesthouse.calls.limits import CallLimits
from guesthouse.calls.results import Result
from guesthouse.calls.running import Running
from guesthouse.calls.stalling import stalled
from guesthouse.calls.terms import PLAIN, Terms
from guesthouse.calls.waiting import Waiting
from guesthouse.errors import NotFound


class Scheduler:
    """Runs calls on worker threads and on the threads of those who wait for them.

    Args:
        runner: runs one call's guest.
        workers: calls that run at the same time on the scheduler's own threads; the CPU count if ``None``.
        limits: bounds of depth, fan-out, queues and memory.
        tenant: tenant of calls that neither name one nor have a parent.
        node, node_bits: upper bits of every id, so that ids are unique in a cluster.
        on_end: called once for every call when it ends, on the thread that ends it; must not raise.
    """

    def __init__(
        self,
        runner: Runner,
        workers: int | None = None,
        limits: CallLimits | None = None,
        *,
        tenant: str = "default",
        node: int = 0,
        node_bits: int = 0,
        on_end: Callable[[Call], None] | None = None,
    ) -> None:
        self.limits = limits or CallLimits()
        self._calls = Admission(self.limits, tenant, node, node_bits)
        self._lock = self._calls.lock
        self._running = Running(runner, self._calls, workers, on_end)
        self._waiting = Waiting(self._running)
        _OPEN_SCHEDULERS.add(self)

    # -- making calls ---------------------------------------------------------------------------------

    def submit(
        self,
        guest: str,
        input: bytes = b"",
        *,
        parent: Call | None = None,
        tenant: str | None = None,
        entry: str | None = None,
        wall: float | None = None,
        capabilities: frozenset[str] | None = None,
        payload: Any = None,
        linked: bool = False,
        terms: Terms = PLAIN,
        posted_ns: int = 0,
    ) -> Call:
        """Queue a call and return at once.

        Args:
            guest: name of the guest to run.
            input: its input; bytes are kept as they are, so nobody may change a buffer behind them.
            parent: the call that makes this one; it passes on tenant, deadline and capabilities.
            tenant: isolation domain, the parent's if ``None``.
            entry: export to run instead of the guest's own entry.
            wall: seconds until the deadline; the parent's deadline holds in any case.
            capabilities: ceiling of what the guest may use, cut down to the parent's.
            payload: opaque word for the runner.
            linked: cancel the call when its parent ends.
            terms: what only some callers ask for.
            posted_ns: for work that native code has posted, so that a worker is on its way: when, in
                monotonic nanoseconds.

        Raises:
            CallRefused: a bound was reached, or the scheduler is closed.
        """
        if self._running.bell.posted and not posted_ns:  # what was posted came first
            self._running.collect()
        try:
            call = self._calls.admit(
                self, guest, input, parent, tenant, entry, wall, capabilities, payload, linked, True, True,
                terms,
            )  # fmt: skip
        except BaseException:
            if posted_ns:
                self._running.bell.take()
            raise
        if posted_ns:
            call.created_ns = posted_ns
        else:
            # A guest usually waits for its child soon and then runs it itself: leave it the first chance.
            self._running.announce(call, urgent=parent is None or terms.urgent)
        return call

    @property
    def bell(self) -> int:
        """Where native code posts work for an idle worker (``calls/waking.pxd``).

        0 where the bounds of calls are so narrow that work might be refused after it was posted.
        """
        limits = self.limits
        # While a worker is idle nothing else is queued: the live calls are those on some thread's stack.
        most = 2 * limits.threads * limits.nesting
        return self._running.bell.address if min(limits.tree, limits.queued) > most else 0

    def collect(self) -> None:
        """Have everything accepted that was posted until now.

        Whoever posts work calls this before it lets go of what the work refers to.
        """
        self._running.collect()

    def run(
        self,
        guest: str,
        input: bytes = b"",
        *,
        parent: Call | None = None,
        tenant: str | None = None,
        entry: str | None = None,
        wall: float | None = None,
        capabilities: frozenset[str] | None = None,
        payload: Any = None,
        linked: bool = False,
        kept: bool = False,
        terms: Terms = PLAIN,
    ) -> Result:
        """Run a call on the calling thread and return its result; parameters as for :meth:`submit`.

        With `kept` the result is remembered, so that :meth:`result` and :meth:`graph` find it.

        Raises:
            CallRefused: a bound was reached, or the scheduler is closed.
            Cancelled, DeadlineExceeded: the *parent* was interrupted meanwhile.
        """
        here = parent is None or self._running.nestable(parent)
        call = self._calls.admit(
            self, guest, input, parent, tenant, entry, wall, capabilities, payload, linked, kept, not here,
            terms,
        )  # fmt: skip
        if not here:
            self._running.announce(call, urgent=True)
            return self.wait(call, waiter=parent)
        if parent is None:
            return self._running.execute(call)
        call.nesting = parent.nesting + 1
        parent._awaits = call
        result = self._running.execute(call)
        parent._awaits = None
        parent.check()
        return result

    # -- waiting --------------------------------------------------------------------------------------

    def wait(self, call: Call | int, timeout: float | None = None, waiter: Call | None = None) -> Result:
        """Return the result of a call, waiting for it; a waiter runs a call that has not started itself.

        Args:
            call: the call, or its id.
            timeout: seconds to wait. With less than a minute the waiter does not run the call itself, since
                it could not give that up.
            waiter: the call on whose behalf the calling thread waits.

        Raises:
            NotFound: no call with that id is remembered.
            CallRefused: the call waits for the waiter itself (``what`` is ``cycle``).
            TimeoutError: the call had not ended in time; it goes on.
            Cancelled, DeadlineExceeded: the *waiter* was interrupted; the call goes on unless the same
                holds for it.
        """
        found = call if isinstance(call, Call) else self._calls.find(call)
        if found is None:
            raise NotFound("call", str(call))
        return self._waiting.wait(found, timeout, waiter)

    def poll(self, call: Call, waiter: Call | None = None) -> bool:
        """Tell whether a call is done, without blocking.

        Guests may spin on this.  A waiter that polls a call which does not get a worker lends its own.
        """
        return self._waiting.poll(call, waiter)

    def cancel(self, call: Call | int, reason: str = "cancelled") -> bool:
        """Cancel a call and everything below it.

        Pending calls end at once, running ones soon.

        Returns:
            False when the call had already ended or is unknown.
        """
        found = call if isinstance(call, Call) else self._calls.find(call)
        return found is not None and self._running.cancel(found, reason)

    # -- looking --------------------------------------------------------------------------------------

    def find(self, call_id: int) -> Call | None:
        """Return a live or remembered call, ``None`` when there is none with that id."""
        return self._calls.find(call_id)

    def result(self, call_id: int) -> Result | None:
        """Return the result of a remembered call, ``None`` when it has not ended or is unknown."""
        call = self._calls.find(call_id)
        return call.result if call is not None else None

    def graph(self, call: Call | int) -> graph.CallNode:
        """Return the calls below one, as far as they are remembered.

        Raises:
            NotFound: the call itself is not remembered.
        """
        root = call if isinstance(call, Call) else self._calls.find(call)
        if root is None:
            raise NotFound("call", str(call))
        return graph.build(root, self._calls.find)

    def future(self, call: Call) -> CallFuture:
        """Return a future of a call's :class:`Result`; the same one for as long as the call is live."""
        with self._lock:
            if call.stage == DONE:
                future = CallFuture(self, call)
            elif call._future is None:
                future = call._future = CallFuture(self, call)
            else:
                return call._future
        if call.stage == DONE and call.result is not None:
            future.resolve(call.result)
        return future

    def live(self) -> list[Call]:
        """Return the calls that are pending or running."""
        self._running.collect()
        with self._lock:
            return list(self._calls.live.values())

    def stalled(self, holds: Callable[[Call], bool], starves: Callable[[Call], bool]) -> bool:
        """Say whether no call can give back what it holds, because each waits for one that lacks it.

        Args:
            holds: whether a call holds some of what is scarce.
            starves: whether a call waits for it.
        """
        return stalled(self.live(), holds, starves)

    def stats(self) -> dict[str, int]:
        """Return counts for metrics: live, pending and remembered calls, threads."""
        self._running.collect()
        with self._lock:
            return {
                "live": len(self._calls.live),
                "pending": len(self._calls.queue),
                "remembered": len(self._calls.records),
                "remembered_bytes": self._calls.records.weight,
                "threads": len(self._running.workers.threads),
                "active": self._running.workers.active,
            }

    # -- shutting down --------------------------------------------------------------------------------

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more calls from outside and wait until none is live.

        Calls that run may go on to make children.

        Returns:
            False when some were still live after `timeout` seconds.
        """
        end = None if timeout is None else monotonic() + timeout
        with self._lock:
            self._calls.phase = max(self._calls.phase, DRAINING)
        while True:
            calls = self.live()
            if not calls:
                return True
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                return False
            try:
                self.wait(calls[0], left)
            except TimeoutError:
                return False

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what is live, end the workers and forget all results.

        Args:
            timeout: seconds to wait for guests that are being interrupted.
        """
        self._refuse()
        for call in self.live():
            self.cancel(call, "the host is shutting down")
        self.drain(timeout)
        with self._lock:
            threads = self._running.workers.close()
            self._calls.records.clear()
        end = monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - monotonic()))

    def _refuse(self) -> None:
        """Take no calls any more, from nobody."""
        with self._lock:
            self._calls.phase = CLOSED
        self._running.bell.refuse()


def _close_all() -> None:
    # A thread must not be inside a guest when the interpreter goes: it could never come back.
    for scheduler in list(_OPEN_SCHEDULERS):
        scheduler.close(timeout=1.0)


_OPEN_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()
atexit.register(_close_all)
