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
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic, monotonic_ns
from typing import Any

from guesthouse.calls import graph
from guesthouse.calls.admission import CLOSED, DRAINING, Admission
from guesthouse.calls.call import DONE, PENDING, RUNNING, Call, Runner
from guesthouse.calls.futures import CallFuture
from guesthouse.calls.limits import CallLimits
from guesthouse.calls.results import Result
from guesthouse.calls.terms import PLAIN, Terms
from guesthouse.calls.waiting import bounds, release
from guesthouse.calls.waking import Bell, stack_left
from guesthouse.calls.workers import Workers
from guesthouse.errors import CallRefused, Cancelled, DeadlineExceeded, NotFound

#: How long a guest may poll a call that has not started before its worker's place is lent.
_POLL_NS = 1_000_000


class Scheduler:
    """Runs calls on worker threads and on the threads of those who wait for them.

    Args:
        runner: runs one call's guest.
        workers: calls that run at the same time on the scheduler's own threads; the CPU count if ``None``.
        limits: bounds of depth, fan-out, queues and memory.
        tenant: tenant of calls that neither name one nor have a parent.
        node, node_bits: upper bits of every id, so that ids are unique in a cluster.
        on_end: called once for every call that ended, on the thread that ended it; must not raise.
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
        self._runner = runner
        self._on_end = on_end
        self._bell = Bell()
        # The workers must not keep the scheduler alive, or nobody could ever drop it without closing it.
        me = weakref.ref(self)
        self._workers = Workers(
            workers or os.cpu_count() or 1,
            self.limits,
            self._bell,
            lambda: _step(me),
            self._calls.queue.__len__,
            self._lock,
        )
        weakref.finalize(self, Workers.close, self._workers)
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

        Raises:
            CallRefused: a bound was reached, or the scheduler is closed.
        """
        call = self._calls.admit(
            self, guest, input, parent, tenant, entry, wall, capabilities, payload, linked, True, True, terms
        )
        # A guest usually waits for its child soon and then runs it itself: leave it the first chance.
        self._announce(urgent=parent is None or terms.urgent)
        return call

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
        here = parent is None or self._nestable(parent)
        call = self._calls.admit(
            self, guest, input, parent, tenant, entry, wall, capabilities, payload, linked, kept, not here,
            terms,
        )  # fmt: skip
        if not here:
            self._announce(urgent=True)
            return self.wait(call, waiter=parent)
        if parent is None:
            return self._execute(call)
        call.nesting = parent.nesting + 1
        parent._awaits = call
        result = self._execute(call)
        parent._awaits = None
        parent.check()
        return result

    def _announce(self, urgent: bool) -> None:
        """See to it that a worker comes for what was queued."""
        with self._lock:
            self._workers.provide()
        self._bell.add(urgent)

    # -- waiting --------------------------------------------------------------------------------------

    def wait(self, call: Call | int, timeout: float | None = None, waiter: Call | None = None) -> Result:
        """Return the result of a call, waiting for it; a waiter runs a call that has not started itself.

        Args:
            call: the call, or its id.
            timeout: seconds to wait; a call that the waiter has begun to run itself is not given up.
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
        if waiter is None:
            if found.stage != DONE:
                self._block(found, timeout, None)
        else:
            waiter._awaits = found
            try:
                if found.stage == PENDING and self._nestable(waiter) and self._claim(found):
                    found.nesting = waiter.nesting + 1
                    self._execute(found)
                elif found.stage != DONE:
                    self._refuse_cycle(found, waiter)
                    self._block(found, timeout, waiter)
            finally:
                waiter._awaits = None
            waiter.check()
        result = found.result
        assert result is not None
        return result

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
            with self._lock:
                if waiter.stage == RUNNING:
                    waiter._lending = True
                    self._workers.block(True)
                    self._workers.provide()
        return call.stage == DONE

    def _refuse_cycle(self, call: Call, waiter: Call) -> None:
        """Refuse a wait that can never end.  A call waits for at most one other, so this is exact."""
        each: Call | None = call
        while each is not None:
            if each is waiter:
                raise CallRefused("cycle", guest=waiter.guest)
            each = each._awaits

    def _nestable(self, waiter: Call) -> bool:
        """Whether one more call may run on top of `waiter` on this thread."""
        limits = self.limits
        if stack_left() < limits.stack_reserve:
            return False
        return waiter.nesting < limits.nesting or self._workers.exhausted

    def _claim(self, call: Call) -> bool:
        """Take a pending call out of the queue to run or end it here; false when somebody else did."""
        with self._lock:
            if call.stage != PENDING or not self._calls.queue.remove(call):
                return False
            call.stage = RUNNING
        self._bell.take()
        return True

    def _block(self, call: Call, timeout: float | None, waiter: Call | None) -> None:
        """Sleep until `call` is done."""
        end = 0 if timeout is None else monotonic_ns() + int(timeout * 1e9)
        turn = threading.Lock()
        turn.acquire()
        lends = waiter is not None and not waiter._lending
        with self._lock:
            if not call.enlist(turn):
                return
            if waiter is not None:
                waiter._parked = turn
            self._workers.block(lends)
            if self._calls.queue:
                self._workers.provide()
        try:
            while call.stage != DONE:
                if waiter is not None:
                    waiter.check()
                now = monotonic_ns()
                if end and now >= end:
                    raise TimeoutError(f"call {call.id} has not ended after {timeout:g} s")
                if call.stage == PENDING and 0 < call.deadline <= now and self._expire(call):
                    return
                until = min(bounds(end, call, waiter), default=0)
                turn.acquire(timeout=max(until - now, 0) / 1e9 if until else -1)
        finally:
            with self._lock:
                self._workers.unblock(lends)
                if waiter is not None:
                    waiter._parked = None
                call.dismiss(turn)

    # -- running --------------------------------------------------------------------------------------

    def _run_next(self) -> bool:
        """Run the next pending call on this worker thread; false when there is none."""
        with self._lock:
            call = self._calls.queue.pop()
            if call is None:
                return False
            call.stage = RUNNING
            more = len(self._calls.queue) > 0
        self._bell.take(more)
        self._execute(call)
        return True

    def _execute(self, call: Call) -> Result:
        """Run a claimed call to its end on this thread."""
        call.started_ns = monotonic_ns()
        try:
            if call._reason is not None or call.deadline:
                call.check()
            code, output = self._runner.run(call)
        except Exception as error:  # noqa: BLE001 - whatever ends a call belongs into its result
            return self._finish(call, 1, b"", error)
        except BaseException as error:
            self._finish(
                call,
                1,
                b"",
                Cancelled(f"{type(error).__name__} on the caller's thread"),
            )
            raise
        return self._finish(call, code, output, None)

    def _finish(self, call: Call, code: int, output: bytes, error: Exception | None) -> Result:
        """Store the result, wake whoever waits, and let go of what the call held."""
        now = monotonic_ns()
        receipt = call.receipt
        started = call.started_ns or now
        receipt.wall_s = (now - started) / 1e9
        receipt.queued_s = (started - call.created_ns) / 1e9
        receipt.bytes_in = len(call.input)
        receipt.bytes_out = len(output)
        if call.children:
            receipt.children = call.children = tuple(call.children)
        result = Result(call.id, code, output, error, receipt, call.guest)
        observer = call.terms.observer
        parent = call.parent
        with self._lock:
            call.finished_ns = now
            call.result = result if observer is None else result.without_output()
            call.stage = DONE
            del self._calls.live[call.id]
            if parent is not None:
                parent.disown(call)
            if call.kept:
                self._calls.records.add(call, now)
            waiters, call._waiters = call._waiters, None
            orphans = (
                [child for child in call.live_children.values() if child.linked] if call.live_children else ()
            )
            if call._lending:
                self._workers.unblock(True)
            call._instance = None
            future = call._future
        if waiters:
            for turn in waiters:
                release(turn)
        for child in orphans:
            self.cancel(child, "its caller has ended")
        call._scratch = None
        call.input = b""
        call.payload = None
        if observer is not None:
            observer(result)
        call.terms = PLAIN
        if self._on_end is not None:
            self._on_end(call)
        if future is not None:
            future.resolve(result)
        return result

    # -- ending ---------------------------------------------------------------------------------------

    def cancel(self, call: Call | int, reason: str = "cancelled") -> bool:
        """Cancel a call and everything below it.

        Pending calls end at once, running ones soon.

        Returns:
            False when the call had already ended or is unknown.
        """
        top = call if isinstance(call, Call) else self._calls.find(call)
        if top is None or top.stage == DONE:
            return False
        todo = [top]
        while todo:
            each = todo.pop()
            with self._lock:
                if each.stage == DONE:
                    continue
                if each._reason is None:
                    each._reason = reason
                if each.live_children:
                    todo.extend(each.live_children.values())
                instance = each._instance
                parked = each._parked
            if instance is not None:
                instance.cancel(reason)
            if parked is not None:
                release(parked)
            if each.stage == PENDING and self._claim(each):
                self._finish(each, 1, b"", Cancelled(reason, guest=each.guest))
        return True

    def _expire(self, call: Call) -> bool:
        """End a call that is still queued at its deadline; false when it has just been started."""
        if not self._claim(call):
            return False
        self._finish(call, 1, b"", DeadlineExceeded(guest=call.guest))
        return True

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
        """Return the future of a call's :class:`Result`; the same one every time."""
        with self._lock:
            if call._future is None:
                call._future = CallFuture(self, call)
            future: CallFuture = call._future
            result = call.result
        if result is not None:
            future.resolve(result)
        return future

    def live(self) -> list[Call]:
        """Return the calls that are pending or running."""
        with self._lock:
            return list(self._calls.live.values())

    def stats(self) -> dict[str, int]:
        """Return counts for metrics: live, pending and remembered calls, threads."""
        with self._lock:
            return {
                "live": len(self._calls.live),
                "pending": len(self._calls.queue),
                "remembered": len(self._calls.records),
                "remembered_bytes": self._calls.records.weight,
                "threads": len(self._workers.threads),
                "active": self._workers.active,
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
        with self._lock:
            self._calls.phase = CLOSED
        for call in self.live():
            self.cancel(call, "the host is shutting down")
        self.drain(timeout)
        with self._lock:
            threads = self._workers.close()
            self._calls.records.clear()
        end = monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - monotonic()))


def _close_all() -> None:
    # A thread must not be inside a guest when the interpreter goes: it could never come back.
    for scheduler in list(_OPEN_SCHEDULERS):
        scheduler.close(timeout=1.0)


_OPEN_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()
atexit.register(_close_all)


def _step(scheduler: weakref.ref[Scheduler]) -> bool:
    alive = scheduler()
    return alive is not None and alive._run_next()
