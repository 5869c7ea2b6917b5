"""A running WASIX program: its threads, how it ends, and what its host functions find when they are called.

One program has one descriptor table and one memory; each of its threads has an instance of its own.  The
first exit code, trap or error decides how the program ends, whichever thread it comes from (spec wasix 3.7
and 4.1); the others are then cancelled, and woken where they sleep in ``memory.atomic.wait``.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from guesthouse.engine import Exit, Instance, OutOfBounds
from guesthouse.errors import Cancelled
from guesthouse.interfaces.wasi.state import Process, context_of
from guesthouse.interfaces.wasix.bus import BusError
from guesthouse.interfaces.wasix.generations import Generation
from guesthouse.interfaces.wasix.network import NetworkError
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.runtime import HIGHEST_THREAD_ID, Runtime, WasiThreadError

Body = Callable[..., int | None]
T = TypeVar("T")

FAULT = 21
INVAL = 28
AGAIN = 6
NOTSUP = 58

#: Seconds between two looks of a host function that waits for an embedder's object.
SLICE = 0.005


class Program:
    """One running program.

    Attributes:
        process: its descriptors, arguments and clock.
        runtime: what the embedder plugged in.
        generation: which generation of WASIX it was built for.
        layout: size of addresses and routes: 1 or 2 (spec wasix 3.5).
        network_order: ports are in network order in guest memory.
        pid: its process id, 1 where the runtime has none.
        threads: by id.
        cwd: its working directory, absolute.
        services: what areas keep here, by their own key.
        report: told once when something was refused for want of a network.
    """

    def __init__(
        self,
        process: Process,
        runtime: Runtime,
        generation: Generation,
        *,
        layout: int | None = None,
        network_order: bool = False,
        most_threads: int = 1024,
        report: Callable[[str], object] | None = None,
    ) -> None:
        self.process, self.runtime, self.generation = process, runtime, generation
        self.layout = layout or (2 if generation is Generation.G3 else 1)
        self.network_order = network_order
        self.most_threads = most_threads
        self.report = report
        pid = runtime.getpid()
        self.pid = 1 if pid is None else pid
        self.threads: dict[int, GuestThread] = {}
        self.cwd = "/"
        self.services: dict[Any, Any] = {}
        self.start: Callable[[int, str, tuple[int, ...]], None] | None = None
        self.sweep: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._how: int | BaseException | None = None
        self._stopper: threading.Thread | None = None
        self._quiet = threading.Condition()

    @property
    def main_id(self) -> int:
        """Id of the main thread: 0 in the first generations, the process id in the third."""
        return self.pid if self.generation is Generation.G3 else 0

    def service(self, key: Any, make: Callable[[], T]) -> T:
        """Return what an area keeps for this program, made on first use."""
        with self._lock:
            if key not in self.services:
                self.services[key] = make()
            found: T = self.services[key]
            return found

    # -- threads

    def new_id(self) -> int:
        """Draw a thread id from the runtime that guests may see and no live thread has."""
        for _ in range(1000):
            drawn = self.runtime.thread_generate_id()
            if 1 <= drawn <= HIGHEST_THREAD_ID and drawn not in self.threads and drawn != self.main_id:
                return drawn
        raise Refusal(AGAIN)

    def spawn(self, entry: str, arguments: tuple[int, ...]) -> int:
        """Start a thread through the runtime and return its id.

        Args:
            entry: the export it runs.
            arguments: its arguments; a leading ``-1`` stands for the new id.

        Raises:
            Refusal: the runtime has no threads, or there are too many.
        """
        if self.start is None:
            raise Refusal(NOTSUP)  # its memory is not shared
        if self._how is not None or len(self.threads) > self.most_threads:
            raise Refusal(AGAIN)
        tid = self.new_id()
        thread = GuestThread(self, tid)
        self.threads[tid] = thread
        values = tuple(tid if value == -1 else value for value in arguments)
        start = self.start
        try:
            self.runtime.thread_spawn(lambda: start(tid, entry, values))
        except WasiThreadError as error:
            del self.threads[tid]
            raise Refusal(error.errno) from None
        except BaseException:
            del self.threads[tid]
            raise
        return tid

    def _running(self) -> list[GuestThread]:
        """The threads that a host thread runs; a runtime may sit on the others for as long as it likes."""
        return [thread for thread in tuple(self.threads.values()) if thread.started]

    def enter(self, thread: GuestThread) -> bool:
        """Note that a host thread has begun to run a thread; false when the program is ending already."""
        with self._lock:
            thread.started = self._how is None and self.threads.get(thread.tid) is thread
        return thread.started

    def run_thread(self, thread: GuestThread, body: Callable[[], object]) -> None:
        """Run a thread's body on this host thread; how it ends may end the program."""
        try:
            body()
        except Exit as exit_:
            if not thread.leaving:
                self.end(exit_.code)
        except BaseException as error:  # noqa: BLE001 - reaches the embedder through the main thread
            self.end(error)
        finally:
            self.leave(thread)

    def leave(self, thread: GuestThread) -> None:
        """Note that a thread has ended."""
        with self._quiet:
            self.threads.pop(thread.tid, None)
            thread.instance = None
            thread.finished.set()
            self._quiet.notify_all()

    # -- the end

    @property
    def ended(self) -> bool:
        """Whether the program is ending or has ended."""
        return self._how is not None

    def end(self, how: int | BaseException) -> None:
        """End the program: with a code, or because of an error. The first to say so decides."""
        with self._lock:
            first = self._how is None
            if first:
                self._how = how
        if first and len(self._running()) > 1:
            self._stopper = threading.Thread(target=self._stop_all, name="guest-end", daemon=True)
            self._stopper.start()

    def _stop_all(self) -> None:
        """Cancel the threads until all have ended, waking those that sleep in the guest's memory."""
        while running := self._running():
            for thread in running:
                thread.cancel("the program has ended")
            if self.sweep is not None:
                self.sweep()
            with self._quiet:
                self._quiet.wait(0.02)

    def finish(self, thread: GuestThread) -> int:
        """End the program for the main thread: wait for the others, and return the exit code.

        Raises:
            BaseException: what ended the program, if that was no exit code.
        """
        self.leave(thread)
        self.settle()
        how = self._how
        if isinstance(how, BaseException):
            raise how
        return how or 0

    def settle(self) -> None:
        """Wait until no host thread runs a thread of this program, or is ending one."""
        with self._quiet:
            while self._running():
                self._quiet.wait(0.1)
        if self._stopper is not None:
            self._stopper.join()  # it may be sweeping the memory still

    def _outlive(self, main: GuestThread) -> None:
        """Let the other threads go on; the last one's end is the program's."""
        with self._quiet:
            while len(self._running()) > 1 and self._how is None:
                self._quiet.wait(0.05)
                main.check()

    def run_main(self, thread: GuestThread, body: Callable[[], object]) -> int:
        """Run the main thread's body and return the program's exit code.

        Raises:
            CallError: the program was ended, or trapped in any of its threads.
            Exception: what a member of the runtime raised, in any of its threads.
        """
        try:
            body()
            self.end(0)
        except Exit as exit_:
            if thread.leaving:
                self._outlive(thread)
            self.end(exit_.code)
        except Cancelled as error:
            self.end(error)  # unless another thread has ended the program, which cancels this one
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`
            self.end(error)
        return self.finish(thread)


class GuestThread:
    """One thread of a program: what its host functions work with.

    Attributes:
        program: the program.
        tid: the thread's id.
        instance: its instance; ``None`` before and after.
        call: the call that the program serves.
        finished: set when the thread has ended.
        started: a host thread runs it.
        leaving: it is ending by itself, and not the program.
    """

    __slots__ = ("call", "finished", "instance", "leaving", "program", "started", "tid")

    def __init__(self, program: Program, tid: int, instance: Any = None, call: Any = None) -> None:
        self.program, self.tid, self.instance, self.call = program, tid, instance, call
        self.finished = threading.Event()
        self.started = self.leaving = False

    def __getattr__(self, name: str) -> Any:
        """Stand in for the call where host functions of other interfaces ask for it."""
        return getattr(self.call, name)

    # -- guest memory

    def read(self, pointer: int, length: int) -> bytes:
        """Return guest bytes."""
        data: bytes = self.instance.read(pointer, length)
        return data

    def text(self, pointer: int, length: int) -> str:
        """Return guest text.

        Raises:
            Refusal: it is not UTF-8.
        """
        try:
            return self.read(pointer, length).decode()
        except UnicodeDecodeError:
            raise Refusal(INVAL) from None

    def unpack(self, layout: str, pointer: int) -> tuple[Any, ...]:
        """Return a structure in guest memory."""
        return struct.unpack("<" + layout, self.read(pointer, struct.calcsize("<" + layout)))

    def write(self, pointer: int, data: bytes) -> None:
        """Write guest bytes."""
        self.instance.write(pointer, data)

    def pack(self, layout: str, pointer: int, *values: Any) -> None:
        """Write a structure into guest memory."""
        self.instance.write(pointer, struct.pack("<" + layout, *values))

    # -- waiting

    def cancel(self, reason: str) -> None:
        """End the thread from another one."""
        instance = self.instance
        if instance is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                instance.cancel(reason)

    def check(self) -> None:
        """Raise what ends this thread, if something does.

        Raises:
            CallError: the call was cancelled, or its time is up.
        """
        if self.instance is not None:
            self.instance.check()

    def idle(self) -> None:
        """Tell the runtime that this thread waits."""
        self.program.runtime.yield_now(self.tid)

    def pause(self) -> None:
        """Between two pieces of waiting: end if the call is over, and tell the runtime otherwise."""
        self.check()
        self.idle()

    def wait(self, look: Callable[[float], T | None], timeout: float | None = None) -> T | None:
        """Wait for something, interruptibly.

        Args:
            look: takes the seconds it may block and returns what was waited for, or ``None``.
            timeout: seconds; ``None`` for as long as it takes.

        Returns:
            What ``look`` returned, or ``None`` when time is up.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self.check()
            left = SLICE if until is None else max(0.0, min(SLICE, until - time.monotonic()))
            found = look(left)
            if found is not None or (until is not None and time.monotonic() >= until):
                return found
            self.idle()


def thread_of(call: Any) -> GuestThread:
    """Return the thread that called a host function.

    Args:
        call: the first argument of the host function.
    """
    if isinstance(call, GuestThread):
        return call
    instance = call if isinstance(call, Instance) else call.instance
    context = context_of(instance)
    if context is None or context.thread is None:
        raise RuntimeError("a WASIX function was called in an instance that WASIX was not bound to")
    thread: GuestThread = context.thread
    return thread


def answers(body: Body, *, fault: int = FAULT) -> Callable[..., int]:
    """Make a host function of a body that takes the thread: an errno for everything that is refused.

    Args:
        body: takes the :class:`GuestThread` and the arguments; ``None`` means success.
        fault: what a bad pointer is answered with.
    """

    def answer(call: Any, *arguments: int) -> int:
        try:
            return body(thread_of(call), *arguments) or 0
        except Refusal as refusal:
            return refusal.errno
        except OutOfBounds:
            return fault
        except NetworkError as error:
            return error.errno
        except BusError as error:
            return error.code

    answer.__name__ = body.__name__
    answer.__doc__ = body.__doc__
    return answer


def bus_answers(body: Body) -> Callable[..., int]:
    """Make a host function that answers bus errors: 18 for a bad pointer, 12 for a bad argument."""
    answered = answers(body, fault=18)

    def answer(call: Any, *arguments: int) -> int:
        code = answered(call, *arguments)
        return 12 if code == INVAL else code

    answer.__name__ = body.__name__
    answer.__doc__ = body.__doc__
    return answer


def gives_nothing(body: Body) -> Callable[..., None]:
    """Make a host function without a result; what is refused is refused silently."""
    answered = answers(body)

    def answer(call: Any, *arguments: int) -> None:
        answered(call, *arguments)

    answer.__name__ = body.__name__
    answer.__doc__ = body.__doc__
    return answer
