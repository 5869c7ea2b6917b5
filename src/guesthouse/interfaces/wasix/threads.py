"""Threads of a guest: four ways to start one, and what can be done with it (spec wasix 3.6 and 4)."""

from __future__ import annotations

import itertools
import threading

from guesthouse.engine import Exit
from guesthouse.interfaces.wasi.state import Context, context_of
from guesthouse.interfaces.wasix.program import AGAIN, INVAL, Body, GuestThread, Program
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.runtime import WasiThreadError

NOTCAPABLE = 76
BUSY = 10
ENTRY = "wasi_thread_start"
#: Keys of thread-local values that a program may have.
MOST_KEYS = 4096
#: Seconds between two signals, at most.
LONGEST = 86400.0 * 365


def _spawn(thread: GuestThread, entry: str, arguments: tuple[int, ...]) -> int:
    if not thread.instance.exports(entry):
        raise Refusal(NOTCAPABLE)
    return thread.program.spawn(entry, arguments)


def _reactor(flag: int) -> None:
    if flag not in (0, 1):
        raise Refusal(INVAL)


def thread_spawn_a(
    thread: GuestThread, name: int, length: int, user_data: int, reactor: int, result: int
) -> None:
    """Start a thread by the name of its method (G1): only ``_thread_start`` is one."""
    method = thread.text(name, length)
    _reactor(reactor)
    if method != "_thread_start":
        raise Refusal(NOTCAPABLE)
    thread.read(result, 4)  # a bad pointer is refused before a thread exists
    kind = thread.instance.signature("_thread_start")
    if kind is None:
        # The published host never looked: what refuses first is the runtime.
        _probe(thread.program)
        raise Refusal(NOTCAPABLE)
    halves = (user_data & 0xFFFFFFFF, user_data >> 32)
    arguments = halves if kind[0] == "ii" else (user_data,)
    thread.pack("I", result, thread.program.spawn("_thread_start", arguments))


def thread_spawn_b(
    thread: GuestThread, user_data: int, base: int, start: int, reactor: int, result: int
) -> None:
    """Start a thread whose entry was set by ``callback_thread`` (early G2)."""
    _reactor(reactor)
    thread.read(result, 4)
    entry = thread.program.services.get("callback_thread", "_start_thread")
    if not thread.instance.exports(entry):
        _probe(thread.program)
        raise Refusal(NOTCAPABLE)
    tid = thread.program.spawn(entry, (user_data & 0xFFFFFFFF, user_data >> 32))
    thread.pack("I", result, tid)


def thread_spawn_c(thread: GuestThread, start: int, result: int) -> None:
    """Start a thread from a structure of its stack and function (G2, and ``thread_spawn_v2`` of G3)."""
    thread.read(start, 64)
    thread.read(result, 4)
    _exporting(thread)
    thread.pack("I", result, _spawn(thread, ENTRY, (-1, start)))


def thread_spawn_d(thread: GuestThread, start: int) -> int:
    """Start a thread the way of wasi-threads; the id, or a negative errno."""
    try:
        _exporting(thread)
        return _spawn(thread, ENTRY, (-1, start))
    except Refusal as refusal:
        return -refusal.errno


def _exporting(thread: GuestThread) -> None:
    """Let the runtime refuse first where the module could not start a thread anyway."""
    if not thread.instance.exports(ENTRY):
        _probe(thread.program)


def _probe(program: Program) -> None:
    """Raise what the runtime has against threads, if anything, without starting one.

    Raises:
        Refusal: threads are not to be had.
    """
    try:
        program.runtime.thread_parallelism()
    except WasiThreadError as error:
        raise Refusal(error.errno) from None


def thread_join(thread: GuestThread, tid: int) -> int | None:
    """Wait for a thread to end; one that is unknown or has ended is no reason to wait."""
    other = thread.program.threads.get(tid)
    if other is None:
        return None
    if other is thread:
        return BUSY
    thread.wait(lambda seconds: other.finished.wait(seconds) or None)
    return None


def thread_parallelism(thread: GuestThread, pointer: int) -> None:
    """Write how many threads can run at once."""
    try:
        count = thread.program.runtime.thread_parallelism()
    except WasiThreadError as error:
        raise Refusal(error.errno) from None
    thread.pack("I", pointer, min(count, 0xFFFFFFFF))


def thread_exit(thread: GuestThread, code: int) -> None:
    """End the calling thread, and no other."""
    thread.leaving = True
    raise Exit(0)


# -- signals: delivered where a host function ends, or where the thread idles


def thread_signal(thread: GuestThread, tid: int, signal: int) -> None:
    """Send a signal to one thread."""
    program = thread.program
    target = program.threads.get(tid)
    if target is None:
        raise Refusal(71)  # SRCH
    if not 0 <= signal <= 31:
        raise Refusal(INVAL)
    send(target, signal)


def send(target: GuestThread, signal: int) -> None:
    """Have a signal delivered on the thread that it is for."""
    if signal == 0 or target.instance is None:
        return
    _signals(target.program).setdefault(target.tid, []).append(signal)
    context = context_of(target.instance)
    if isinstance(context, Context):
        context.set_idle(lambda _tid: deliver(target, also_yield=True))


def _signals(program: Program) -> dict[int, list[int]]:
    """Signals that wait, by thread."""
    return program.service("signals", dict)


def deliver(thread: GuestThread, *, also_yield: bool = False) -> None:
    """Run the guest's handler for every signal that waits for this thread."""
    for signal in _signals(thread.program).pop(thread.tid, ()):
        handle(thread, signal)
    if also_yield:
        thread.program.runtime.yield_now(thread.tid)


#: Signals that do nothing unless there is a handler: chld, cont, urg, winch.
_IGNORED = {17, 18, 22, 28}


def handle(thread: GuestThread, signal: int) -> None:
    """Call the guest's handler, or do what is done without one.

    Raises:
        Exit: the signal ends the program.
    """
    name = thread.program.services.get("callback_signal", "__wasm_signal")
    if signal != 9 and thread.instance.signature(name) == ("i", ""):
        thread.instance.invoke(name, signal)
    elif signal not in _IGNORED:
        raise Exit(128 + signal)


def proc_raise(thread: GuestThread, signal: int) -> None:
    """Send a signal to oneself."""
    if not 0 <= signal <= 31:
        raise Refusal(INVAL)
    if signal:
        handle(thread, signal)


def _timers(program: Program) -> dict[int, threading.Event]:
    """What ends each repeated signal."""
    return program.service("timers", dict)


def stop_timers(program: Program) -> None:
    """End all repeated signals of a program."""
    for stop in _timers(program).values():
        stop.set()


def proc_raise_interval(thread: GuestThread, signal: int, interval: int, repeat: int) -> None:
    """Send a signal to oneself after a while, once or again and again; an interval of 0 ends that."""
    if not 0 <= signal <= 31 or repeat not in (0, 1):
        raise Refusal(INVAL)
    timers = _timers(thread.program)
    former = timers.pop(signal, None)
    if former is not None:
        former.set()
    if interval == 0 or signal == 0:
        return
    if len(timers) >= 32:
        raise Refusal(AGAIN)
    stop = timers[signal] = threading.Event()

    def tick() -> None:
        while not stop.wait(min(interval / 1e9, LONGEST)) and not thread.program.ended:
            send(thread, signal)
            if not repeat:
                return

    threading.Thread(target=tick, name="guest-timer", daemon=True).start()


def _callback(key: str) -> Body:
    def body(thread: GuestThread, name: int, length: int) -> None:
        thread.program.services[key] = thread.text(name, length)

    body.__name__, body.__doc__ = key, f"Name the export that serves as {key.removeprefix('callback_')}."
    return body


callback_signal = _callback("callback_signal")
callback_thread = _callback("callback_thread")
callback_reactor = _callback("callback_reactor")
callback_thread_local_destroy = _callback("callback_thread_local_destroy")


# -- thread-local values of G2


class Locals:
    """The thread-local values of one program."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], int] = {}
        self.keys: dict[int, int] = {}
        self._numbers = itertools.count(1)

    def new(self, user_data: int) -> int:
        """Make a key."""
        if len(self.keys) >= MOST_KEYS:
            raise Refusal(AGAIN)
        key = next(self._numbers)
        self.keys[key] = user_data
        return key

    def demand(self, key: int) -> None:
        """Refuse a key that there is not."""
        if key not in self.keys:
            raise Refusal(INVAL)


def _locals(thread: GuestThread) -> Locals:
    return thread.program.service("locals", Locals)


def thread_local_create(thread: GuestThread, user_data: int, result: int) -> None:
    """Make a key under which every thread has a value of its own."""
    thread.read(result, 4)
    thread.pack("I", result, _locals(thread).new(user_data))


def thread_local_destroy(thread: GuestThread, key: int) -> None:
    """Forget a key and all values under it."""
    own = _locals(thread)
    own.demand(key)
    own.keys.pop(key, None)
    for slot in [slot for slot in tuple(own.values) if slot[1] == key]:
        own.values.pop(slot, None)


def thread_local_set(thread: GuestThread, key: int, value: int) -> None:
    """Set this thread's value."""
    _locals(thread).demand(key)
    _locals(thread).values[thread.tid, key] = value


def thread_local_get(thread: GuestThread, key: int, result: int) -> None:
    """Write this thread's value, 0 before it was set."""
    _locals(thread).demand(key)
    thread.pack("Q", result, _locals(thread).values.get((thread.tid, key), 0))
