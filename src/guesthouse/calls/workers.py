"""Worker threads: as many running as the machine has use for, more when some of them only wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from guesthouse.calls.limits import CallLimits
from guesthouse.calls.parting import Parting
from guesthouse.calls.waking import Bell

#: Guards `threading.stack_size`, which is a setting of the whole process.
_STACK_SIZE_LOCK = threading.Lock()

#: Stacks to make do with, in bytes; less nesting fits on them, and more places are lent instead.
_SMALL_STACKS = (8 << 20, 2 << 20)

#: A worker that nobody needs for this long ends.
_RETIRE_NS = 5_000_000_000


class Workers:
    """Keeps `target` threads running calls.

    A thread that blocks inside a call lends its place: :meth:`blocked` lets another one start, and when
    the first goes on, a surplus thread steps aside after the call it is busy with.  So nested waiting,
    however deep, never starves what it waits for.

    Every method but :meth:`loop` expects the scheduler's lock to be held.

    Args:
        target: how many threads run calls at the same time.
        limits: bounds; `threads` and `stack` are used here.
        bell: where idle workers sleep.
        step: runs one pending call and returns whether there was one; called without the lock. It leaves the
            call's last step with the worker.
        pending: tells how many calls wait for a worker.
        lock: the scheduler's lock.
    """

    def __init__(
        self,
        target: int,
        limits: CallLimits,
        bell: Bell,
        step: Callable[[Parting], bool],
        pending: Callable[[], int],
        lock: threading.Lock,
    ) -> None:
        self.target = target
        self.threads: set[threading.Thread] = set()
        self.closed = False
        self._limits = limits
        self._bell = bell
        self._step = step
        self._pending = pending
        self._lock = lock
        self._blocked = 0
        self._aside: list[threading.Lock] = []
        self._names = 0

    @property
    def active(self) -> int:
        """Threads that run a call or look for one."""
        return len(self.threads) - self._blocked - len(self._aside)

    @property
    def exhausted(self) -> bool:
        """True when no further thread may be started."""
        return len(self.threads) - len(self._aside) >= self._limits.threads

    def provide(self) -> None:
        """See to it that somebody will come for pending work."""
        if self.closed or self.active >= self.target:
            return
        if self._aside:
            self._aside.pop().release()
        elif len(self.threads) < self._limits.threads:
            self._start()

    def block(self, lends: bool) -> None:
        """The calling thread is about to wait; where it lends, another may run instead.

        That holds for threads of callers, too: what they were running counts like a worker's call.
        """
        if lends:
            self._blocked += 1

    def unblock(self, lends: bool) -> None:
        """The calling thread goes on."""
        if lends:
            self._blocked -= 1

    def close(self) -> list[threading.Thread]:
        """Tell all threads to end, and return them so that the caller can join them."""
        self.closed = True
        self._bell.close()
        for lock in self._aside:
            lock.release()
        self._aside.clear()
        return list(self.threads)

    def _start(self) -> None:
        """Start one more thread, with less stack where address space is short.

        Raises:
            RuntimeError: not one thread can be started.
        """
        self._names += 1
        for stack in (self._limits.stack, *_SMALL_STACKS):
            try:
                self._start_with(stack)
            except RuntimeError:
                continue
            return
        if not self.threads:
            raise RuntimeError("the system starts no more threads, and the host has none to run calls")

    def _start_with(self, stack: int) -> None:
        thread = threading.Thread(target=self._loop, name=f"guesthouse-worker-{self._names}", daemon=True)
        self.threads.add(thread)
        with _STACK_SIZE_LOCK:
            before = threading.stack_size(stack)
            try:
                thread.start()
            except BaseException:
                self.threads.discard(thread)
                raise
            finally:
                threading.stack_size(before)

    def _loop(self) -> None:
        me = threading.current_thread()
        parting = Parting()
        try:
            while not self.closed:
                if self.active > self.target:
                    parting.settle()
                    if self._step_aside(me):
                        return
                elif (
                    not self._step(parting) and self._bell.wait(_RETIRE_NS, parting) == 0 and self._retire(me)
                ):
                    return
        finally:
            parting.settle()
            with self._lock:
                self.threads.discard(me)

    def _retire(self, thread: threading.Thread) -> bool:
        """Give up the thread's place, unless work came in at the last moment."""
        with self._lock:
            if self._pending():
                return False
            self.threads.discard(thread)
            return True

    def _step_aside(self, me: threading.Thread) -> bool:
        """Wait until another thread blocks; true when none did for long and the thread is to end."""
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self.closed or self.active <= self.target:
                return False
            self._aside.append(turn)
        if turn.acquire(timeout=_RETIRE_NS / 1e9):
            return False
        with self._lock:
            if turn not in self._aside:  # called back at the last moment
                return False
            self._aside.remove(turn)
            self.threads.discard(me)
            return True
