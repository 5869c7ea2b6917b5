"""Running calls: claim one, run it, store its end, cancel it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic_ns

from guesthouse.calls.admission import Admission
from guesthouse.calls.call import DONE, PENDING, RUNNING, Call, Runner
from guesthouse.calls.parting import Errand, Parting, settle
from guesthouse.calls.results import Result
from guesthouse.calls.terms import PLAIN
from guesthouse.calls.waiting import release
from guesthouse.calls.waking import Bell, stack_left
from guesthouse.calls.workers import Workers
from guesthouse.errors import Cancelled, DeadlineExceeded


class Running:
    """Takes calls from pending to done, on worker threads and on those of waiters.

    Args:
        runner: runs one call's guest.
        calls: the calls there are.
        workers: calls that run at the same time on worker threads; the CPU count if ``None``.
        on_end: called once for every call that ended, on the thread that ended it; must not raise.

    Attributes:
        calls: the calls there are.
        lock: their lock.
        workers: the worker threads.
        bell: where they wait for work.
    """

    def __init__(
        self,
        runner: Runner,
        calls: Admission,
        workers: int | None,
        on_end: Callable[[Call], None] | None,
    ) -> None:
        self.calls, self.lock = calls, calls.lock
        self._runner = runner
        self._on_end = on_end
        alone = len(os.sched_getaffinity(0)) == 1
        self.bell = Bell(look_ns=0) if alone else Bell()
        self._collecting = threading.Lock()
        # The workers must not keep their owner alive, or nobody could ever drop it without closing it.
        me = weakref.ref(self)
        self.workers = Workers(
            workers or os.cpu_count() or 1,
            calls.limits,
            self.bell,
            lambda parting: _step(me, parting),
            calls.queue.__len__,
            self.lock,
        )
        weakref.finalize(self, Workers.close, self.workers)

    def announce(self, call: Call, urgent: bool) -> None:
        """See to it that a worker comes for a call that was queued."""
        self.bell.add(urgent)
        try:
            with self.lock:
                self.workers.provide()
        except RuntimeError as error:  # not one thread can be started
            if self.claim(call):
                self.finish(call, 1, b"", error)

    def nestable(self, waiter: Call) -> bool:
        """Whether one more call may run on top of `waiter` on this thread."""
        limits = self.calls.limits
        if stack_left() < limits.stack_reserve:
            return False
        return waiter.nesting < limits.nesting or self.workers.exhausted

    def claim(self, call: Call) -> bool:
        """Take a pending call out of the queue to run or end it here; false when somebody else did."""
        with self.lock:
            if call.stage != PENDING or not self.calls.queue.remove(call):
                return False
            call.stage = RUNNING
        self.bell.take()
        return True

    def collect(self) -> None:
        """Make calls of what native code has posted; when it returns, none of it is on its way any more."""
        with self._collecting:
            self.bell.collect()

    def step(self, parting: Parting) -> bool:
        """Run the next pending call on this worker thread; false when there is none.

        Args:
            parting: takes the last step of the call.
        """
        if self.bell.posted:
            self.collect()
        with self.lock:
            call = self.calls.queue.pop()
            if call is None:
                return False
            call.stage = RUNNING
            more = len(self.calls.queue) > 0
        self.bell.take(more)
        parting.settle()
        call._parting = parting
        try:
            self.execute(call)
        except BaseException:
            # Its result says so.  Nobody is above this thread to be interrupted, and others wait for it.
            if call.stage != DONE:
                raise
        return True

    def execute(self, call: Call) -> Result:
        """Run a claimed call to its end on this thread."""
        call.started_ns = monotonic_ns()
        try:
            if call._reason is not None or call.deadline:
                call.check()
            code, output = self._runner.run(call)
        except Exception as error:  # noqa: BLE001 - whatever ends a call belongs into its result
            return self.finish(call, 1, b"", error)
        except BaseException as error:
            ending = Cancelled(f"{type(error).__name__} while it ran", guest=call.guest)
            ending.__cause__ = error
            self.finish(call, 1, b"", ending)
            raise
        return self.finish(call, code, output, None)

    def finish(self, call: Call, code: int, output: bytes, error: Exception | None) -> Result:
        """Store how a claimed call ended."""
        call.finished_ns = now = monotonic_ns()
        receipt = call.receipt
        started = call.started_ns or now
        receipt.wall_s = (now - started) / 1e9
        receipt.queued_s = (started - call.created_ns) / 1e9
        receipt.bytes_in = len(call.input)
        receipt.bytes_out = len(output)
        if call.children:
            receipt.children = tuple(call.children)
        result = Result(call.id, code, output, error, receipt, call.guest)
        errand = None
        try:
            errand = self._tell(call, result)
        finally:
            self._settle(call, now)
            if call._parting is None:
                settle(errand)
            else:
                call._parting.leave(errand)
        return result

    def _tell(self, call: Call, result: Result) -> Errand | None:
        """Set the result and tell observers, before anybody can see that the call is done."""
        observer = call.terms.observer
        errand = None
        if observer is None:
            call.result = result
        else:
            call.result = result.without_output()
            errand = observer(result)
        if self._on_end is not None:
            self._on_end(call)
        return errand

    def _settle(self, call: Call, now: int) -> None:
        """Make the call done, wake whoever waits, and let go of what it held."""
        parent = call.parent
        with self.lock:
            call.children = call.receipt.children
            call.stage = DONE
            del self.calls.live[call.id]
            if parent is not None:
                parent.disown(call)
            if call.kept:
                self.calls.records.add(call, now)
            waiters, call._waiters = call._waiters, None
            living = call.live_children
            orphans = [child for child in living.values() if child.linked] if living else ()
            if call._lending:
                self.workers.unblock(True)
            call._instance = None
            future, call._future = call._future, None
        for child in orphans:
            self.cancel(child, "its caller has ended")
        if waiters:
            for turn in waiters:
                release(turn)
        call._scratch = None
        call.input = b""
        call.payload = None
        call.terms = PLAIN
        if future is not None:
            assert call.result is not None
            future.resolve(call.result)

    def cancel(self, call: Call, reason: str) -> bool:
        """Cancel a call and everything below it; false when it had already ended."""
        if call.stage == DONE:
            return False
        todo = [call]
        while todo:
            each = todo.pop()
            with self.lock:
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
            if each.stage == PENDING and self.claim(each):
                self.finish(each, 1, b"", Cancelled(reason, guest=each.guest))
        return True

    def expire(self, call: Call) -> bool:
        """End a call that is still queued at its deadline; false when it has just been started."""
        if not self.claim(call):
            return False
        self.finish(call, 1, b"", DeadlineExceeded(limit=call.wall, guest=call.guest))
        return True


def _step(running: weakref.ref[Running], parting: Parting) -> bool:
    alive = running()
    return alive is not None and alive.step(parting)
