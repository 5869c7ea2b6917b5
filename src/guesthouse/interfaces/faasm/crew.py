"""The threads of one call: who they are, how they start, and how all of them end (faasm.md 2.8, 5.4).

A module with a shared memory gets a real thread, with an instance of its own over that memory, for each
``pthread_create``.  Any other module gets what the reference promises, too: its threads run no later than the
first ``pthread_join``, here one after the other, on the joining thread.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guesthouse.calls import Call
from guesthouse.engine import Instance
from guesthouse.engine.linking import Item, export_of, get_global, set_global
from guesthouse.engine.tables import invoke_at, signature_at
from guesthouse.errors import CallError, Cancelled, MemoryLimit, Trap
from guesthouse.interfaces.faasm.space import reserve

#: Threads that one call may have running.
MOST_THREADS = 64
#: Threads of one call that nobody has joined.
MOST_UNJOINED = 10_000
#: Numbers of WASI's errno, which its libc shows to guests.
AGAIN, BUSY, DEADLK, INVAL, PERM, SRCH, TIMEDOUT = 6, 10, 16, 28, 63, 71, 73
#: Bytes of a thread's stack, and of what lies on either side of it (faasm.md 2.8).
STACK, GUARD = 2 << 20, 640 << 10
#: Opens an instance for the thread of a number, over the memory of the others, and starts it.
Spawn = Callable[[int], Instance]
#: Seconds between two looks at whether a waiting thread's call is over.
SLICE = 0.01
#: Seconds between two looks of who watches the call.
_LOOK = 0.05
#: Rounds of destructors that the end of a thread runs for its keys' values.
_DESTRUCTOR_ROUNDS = 4


class ThreadExit(Exception):
    """The calling thread ends with a value."""

    def __init__(self, value: int) -> None:
        self.value = value
        super().__init__(f"the thread left with {value}")


class GuestThread:
    """One thread of a call.

    Attributes:
        number: its ``pthread_t``; the main thread is 1.
        instance: what it runs in.
        entry, argument: the table function that it runs, and what that is given.
        result: what it returned.
        finished: set when it has ended.
        detached: nobody will join it.
        stack: address of the memory that its stack lies in, 0 for the main thread's own.
        values: its values of the keys.
    """

    def __init__(self, number: int, instance: Instance | None, entry: int = 0, argument: int = 0) -> None:
        self.number, self.instance = number, instance
        self.entry, self.argument = entry, argument
        self.result = 0
        self.finished = threading.Event()
        self.detached = False
        self.stack = 0
        self.values: dict[int, int] = {}


class Crew:
    """All threads of one call.

    Args:
        call: the call.
        instance: the main thread's instance.
        spawn: opens an instance for a further thread, over the same memory; ``None`` where that is not
            shared.
        sweep: wakes whoever sleeps in ``memory.atomic.wait``, which no cancellation reaches; ``None`` where
            the memory is not shared.
    """

    def __init__(
        self,
        call: Call,
        instance: Instance,
        spawn: Spawn | None,
        sweep: Callable[[], object] | None = None,
    ) -> None:
        self.call, self.spawn, self._sweep = call, spawn, sweep
        self.main = GuestThread(1, instance)
        self.threads: dict[int, GuestThread] = {1: self.main}
        self.output: bytes | None = None
        self.failure: BaseException | None = None
        self.destructors: dict[int, int] = {}
        self.lock = threading.Lock()
        self._numbers = itertools.count(2)
        self._running: dict[int, GuestThread] = {}
        self._host_threads: list[threading.Thread] = []
        self._queue: list[GuestThread] = []
        self._stacks: list[int] = []
        self._ending = False
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None
        if sweep is not None:
            self._watcher = threading.Thread(target=self._watch, name=f"{call.guest}-watch", daemon=True)
            self._watcher.start()

    @property
    def current(self) -> GuestThread:
        """The guest's thread that runs on this host thread."""
        return self._running.get(threading.get_ident(), self.main)

    @property
    def instance(self) -> Instance:
        """The instance that runs on this host thread."""
        instance = self.current.instance
        assert instance is not None
        return instance

    # -- starting

    def create(self, entry: int, argument: int) -> GuestThread | None:
        """Start a thread, or put it into the queue; ``None`` when there are too many."""
        with self.lock:
            alive = sum(not each.finished.is_set() for each in self.threads.values())
            if alive > MOST_THREADS or len(self.threads) > MOST_UNJOINED:
                return None
            thread = GuestThread(next(self._numbers), None, entry, argument)
            self.threads[thread.number] = thread
        if self.spawn is None:
            thread.instance = self.main.instance
            self._queue.append(thread)
            return thread
        try:
            self._equip(thread, self.spawn)
        except BaseException as error:
            del self.threads[thread.number]
            if isinstance(error, MemoryLimit):
                return None  # no room for one more stack, which the guest is told
            raise
        host = threading.Thread(
            target=self._body, args=(thread,), name=f"{self.call.guest}-{thread.number}", daemon=True
        )
        self._host_threads.append(host)
        host.start()
        return thread

    def _equip(self, thread: GuestThread, spawn: Spawn) -> None:
        """Give a thread its instance, its stack and its thread-local storage."""
        with self.lock:
            thread.stack = self._stacks.pop() if self._stacks else 0
        if not thread.stack:
            thread.stack = reserve(self.instance, STACK + 2 * GUARD)
        instance = thread.instance = spawn(thread.number)
        pointer = export_of(instance, "__stack_pointer")
        if pointer is not None:
            top = thread.stack + GUARD + STACK
            set_global(pointer, top - (1 << 32) if top >> 31 else top)
        if instance.signature("__wasm_init_tls") == ("i", ""):
            # Thread-local storage lies in the guard below the stack, which is larger than any of it.
            instance.invoke("__wasm_init_tls", thread.stack)

    def _body(self, thread: GuestThread) -> None:
        """What a host thread does for a thread of the guest."""
        instance = thread.instance
        assert instance is not None
        self._running[threading.get_ident()] = thread
        try:
            self._run(thread)
            if instance.output:
                self.output = instance.output
        except BaseException as error:  # noqa: BLE001 - whatever ended it ends the call
            self.fail(error)
        finally:
            del self._running[threading.get_ident()]
            instance.close()
            with self.lock:
                self._stacks.append(thread.stack)
            thread.finished.set()

    def _run(self, thread: GuestThread) -> None:
        instance = thread.instance
        assert instance is not None
        type_ = signature_at(instance, thread.entry)
        if type_ is None or type_[0] not in ("", "i") or type_[1] not in ("", "i"):
            raise Trap(f"function {thread.entry} of the table is none that a thread can run")
        try:
            arguments = (thread.argument,) if type_[0] else ()
            thread.result = invoke_at(instance, thread.entry, *arguments) or 0
        except ThreadExit as leaving:
            thread.result = leaving.value
        self._destroy(thread, instance)

    def _destroy(self, thread: GuestThread, instance: Instance) -> None:
        """Run the destructors of the values that a thread leaves."""
        for _ in range(_DESTRUCTOR_ROUNDS):
            left = {key: value for key, value in thread.values.items() if value and self.destructors.get(key)}
            if not left:
                return
            for key, value in left.items():
                thread.values[key] = 0
                call_function(instance, self.destructors[key], value)

    def run_queued(self) -> None:
        """Run what waits in the queue, one after the other, on this thread and its instance."""
        while self._queue:
            thread = self._queue.pop(0)
            with self._standing_in(thread), stack_kept(self.main.instance):
                self._run(thread)

    @contextmanager
    def _standing_in(self, thread: GuestThread) -> Iterator[None]:
        me = threading.get_ident()
        former = self._running.get(me, self.main)
        self._running[me] = thread
        try:
            yield
        finally:
            self._running[me] = former
            thread.finished.set()

    # -- waiting and ending

    def wait(self, ready: Callable[[float], bool]) -> None:
        """Wait in slices until ``ready(seconds)`` is true.

        Raises:
            Cancelled, DeadlineExceeded: the call is over, or another thread failed.
        """
        while not ready(SLICE):
            self.check()

    def check(self) -> None:
        """Raise if this thread should not go on."""
        self.call.check()
        if self.failure is not None or self._ending:
            raise Cancelled("another thread of the call ended it")

    def fail(self, error: BaseException) -> None:
        """Let a thread's end by exception end the call."""
        with self.lock:
            if self.failure is None and not self._ending:
                self.failure = error
        self._cancel("another thread of the call failed")

    def _cancel(self, reason: str, but: GuestThread | None = None) -> None:
        for thread in tuple(self.threads.values()):
            if thread is not but and thread.instance is not None and not thread.finished.is_set():
                thread.instance.cancel(reason)

    def end(self) -> None:
        """End every thread but the main one, as the end of a process does, and wait until they have."""
        self._ending = True
        self._queue.clear()
        alive = [host for host in self._host_threads if host.is_alive()]
        for host in alive:
            while host.is_alive():
                self._cancel("the call ended", but=self.main)
                host.join(SLICE)
        self._over.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        """Wake the guest's threads where they sleep, once the call is over, until they have noticed."""
        while not self._over.wait(_LOOK):
            over = self._ending or self.failure is not None
            if not over:
                try:
                    self.call.check()
                except CallError:
                    over = True
            if over and self._sweep is not None and not self._over.is_set():
                self._sweep()

    def outcome(self, error: BaseException | None) -> BaseException | None:
        """Return what ended the call: a thread's failure goes before the cancellation that it caused.

        An exit of any thread is the exit of the whole (faasm.md 2.8).
        """
        if self.failure is not None and (error is None or isinstance(error, Cancelled)):
            return self.failure
        return error


def call_function(instance: Instance, index: int, *arguments: int) -> None:
    """Call a function of the guest's table.

    Raises:
        Trap: there is none, or it is of another type.
        CallError: as `Instance.invoke`.
    """
    try:
        invoke_at(instance, index, *arguments)
    except (IndexError, TypeError) as error:
        raise Trap(str(error)) from None


@contextmanager
def stack_kept(instance: Instance | None) -> Iterator[None]:
    """Put the guest's stack pointer back afterwards, since exceptions leave its frames without doing so."""
    pointer: Item | None = None if instance is None else export_of(instance, "__stack_pointer")
    value = get_global(pointer) if pointer is not None else 0
    try:
        yield
    finally:
        if pointer is not None and instance is not None and not instance.closed:
            set_global(pointer, value - (1 << 32) if value >> 31 else value)
