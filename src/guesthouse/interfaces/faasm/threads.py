"""pthreads as host functions (faasm.md 2.8); ``crew`` has the threads, ``synchronisation`` their waits."""

from __future__ import annotations

import struct

from guesthouse.calls import Call
from guesthouse.engine import Constant, Exit, HostFunction
from guesthouse.interfaces.faasm.crew import AGAIN, DEADLK, INVAL, SRCH, Crew, ThreadExit
from guesthouse.interfaces.faasm.rows import row
from guesthouse.interfaces.faasm.session import session_of
from guesthouse.interfaces.faasm.synchronisation import Synchronisation

__all__ = ["CAPABILITY", "ROWS"]

CAPABILITY = "faasm.threads"

#: Keys of thread-specific values that a call may have.
MOST_KEYS = 1024


def _crew(call: Call) -> Crew:
    crew = session_of(call).crew
    if crew is None:
        crew = session_of(call).crew = Crew(call, call.instance, None)
    return crew


def _things(call: Call) -> Synchronisation:
    session = session_of(call)
    if session.synchronisation is None:
        session.synchronisation = Synchronisation(_crew(call))
    return session.synchronisation


# -- threads


def create(call: Call, thread: int, attributes: int, entry: int, argument: int) -> int:
    """Start a thread and store its number."""
    crew = _crew(call)
    crew.instance.read(thread, 4)  # a bad pointer is refused before there is a thread
    made = crew.create(entry, argument)
    if made is None:
        return AGAIN
    crew.instance.write(thread, made.number.to_bytes(4, "little"))
    return 0


def join(call: Call, number: int, slot: int) -> int:
    """Wait for a thread and store its result, unless the slot is NULL."""
    crew = _crew(call)
    thread = crew.threads.get(number)
    if thread is None or thread.detached:
        return SRCH if thread is None else INVAL
    if thread is crew.current or thread is crew.main:
        return DEADLK
    if slot:
        crew.instance.read(slot, 4)
    crew.run_queued()
    crew.wait(thread.finished.wait)
    crew.check()
    if slot:
        crew.instance.write(slot, (thread.result & 0xFFFFFFFF).to_bytes(4, "little"))
    crew.threads.pop(number, None)
    return 0


def detach(call: Call, number: int) -> int:
    """Let a thread go by itself."""
    thread = _crew(call).threads.get(number)
    if thread is None:
        return SRCH
    thread.detached = True
    return 0


def leave(call: Call, value: int) -> None:
    """End the calling thread."""
    crew = _crew(call)
    if crew.current is crew.main:
        raise Exit(0)
    raise ThreadExit(value)


def own_number(call: Call) -> int:
    """Return the calling thread's number."""
    return _crew(call).current.number


def equal(call: Call, one: int, other: int) -> int:
    """Compare two numbers of threads."""
    return int(one == other)


# -- what they wait for


def mutex_lock(call: Call, mutex: int) -> int:
    """Take a mutex."""
    return _things(call).lock(mutex)


def mutex_trylock(call: Call, mutex: int) -> int:
    """Take a mutex if that is possible at once."""
    return _things(call).lock(mutex, wait=False)


def mutex_unlock(call: Call, mutex: int) -> int:
    """Give a mutex back."""
    return _things(call).unlock(mutex)


def mutex_destroy(call: Call, mutex: int) -> int:
    """Forget a mutex."""
    return _things(call).destroy_mutex(mutex)


def cond_wait(call: Call, condition: int, mutex: int) -> int:
    """Wait for a condition."""
    return _things(call).wait(condition, mutex)


def cond_timedwait(call: Call, condition: int, mutex: int, until: int) -> int:
    """Wait for a condition until a time of the real-time clock."""
    seconds, nanoseconds = struct.unpack("<qi", _crew(call).instance.read(until, 12))
    if not 0 <= nanoseconds < 1_000_000_000:
        return INVAL
    return _things(call).wait(condition, mutex, seconds + nanoseconds / 1e9)


def cond_signal(call: Call, condition: int) -> int:
    """Wake one thread that waits for a condition."""
    return _things(call).signal(condition)


def cond_broadcast(call: Call, condition: int) -> int:
    """Wake all threads that wait for a condition."""
    return _things(call).signal(condition, everybody=True)


def cond_destroy(call: Call, condition: int) -> int:
    """Forget a condition."""
    return _things(call).destroy_condition(condition)


def once(call: Call, control: int, function: int) -> int:
    """Call a function once."""
    return _things(call).once(control, function)


# -- thread-specific values


def key_create(call: Call, key: int, destructor: int) -> int:
    """Make a key and store its number; values start as NULL in every thread."""
    crew = _crew(call)
    with crew.lock:
        if len(crew.destructors) >= MOST_KEYS:
            return AGAIN
        number = max(crew.destructors, default=0) + 1
        crew.destructors[number] = destructor
    crew.instance.write(key, number.to_bytes(4, "little"))
    return 0


def key_delete(call: Call, key: int) -> int:
    """Forget a key; no destructor runs."""
    crew = _crew(call)
    for thread in tuple(crew.threads.values()):
        thread.values.pop(key, None)
    return 0 if crew.destructors.pop(key, None) is not None else INVAL


def setspecific(call: Call, key: int, value: int) -> int:
    """Set the calling thread's value of a key."""
    crew = _crew(call)
    if key not in crew.destructors:
        return INVAL
    crew.current.values[key] = value
    return 0


def getspecific(call: Call, key: int) -> int:
    """Return the calling thread's value of a key, NULL if it has none."""
    return _crew(call).current.values.get(key, 0)


def _row(name: str, params: str, implementation: object, summary: str, results: str = "i") -> HostFunction:
    return row(f"pthread_{name}", params, results, implementation, summary, CAPABILITY)  # type: ignore[arg-type]  # callables of all these types


def _nothing(*names: tuple[str, str]) -> tuple[HostFunction, ...]:
    why = "Do nothing: there is nothing to set."
    return tuple(_row(name, params, Constant(0), why) for name, params in names)


ROWS: tuple[HostFunction, ...] = (
    _row("create", "iiii", create, "Start a thread."),
    _row("join", "ii", join, "Wait for a thread."),
    _row("detach", "i", detach, "Let a thread go by itself."),
    _row("exit", "i", leave, "End the calling thread.", ""),
    _row("self", "", own_number, "Tell the calling thread's number."),
    _row("equal", "ii", equal, "Compare two threads."),
    _row("mutex_lock", "i", mutex_lock, "Take a mutex."),
    _row("mutex_trylock", "i", mutex_trylock, "Take a mutex if it is free."),
    _row("mutex_unlock", "i", mutex_unlock, "Give a mutex back."),
    _row("mutex_destroy", "i", mutex_destroy, "Forget a mutex."),
    _row("cond_wait", "ii", cond_wait, "Wait for a condition."),
    _row("cond_timedwait", "iii", cond_timedwait, "Wait for a condition, not for ever."),
    _row("cond_signal", "i", cond_signal, "Wake one who waits."),
    _row("cond_broadcast", "i", cond_broadcast, "Wake all who wait."),
    _row("cond_destroy", "i", cond_destroy, "Forget a condition."),
    _row("once", "ii", once, "Call a function once."),
    _row("key_create", "ii", key_create, "Make a key for thread-specific values."),
    _row("key_delete", "i", key_delete, "Forget a key."),
    _row("setspecific", "ii", setspecific, "Set a thread-specific value."),
    _row("getspecific", "i", getspecific, "Return a thread-specific value."),
    *_nothing(
        ("mutex_init", "ii"), ("cond_init", "ii"), ("mutexattr_init", "i"), ("mutexattr_destroy", "i"),
        ("mutexattr_settype", "ii"), ("condattr_init", "i"), ("condattr_destroy", "i"), ("attr_init", "i"),
        ("attr_destroy", "i"), ("attr_setstacksize", "ii"), ("attr_setdetachstate", "ii"),
    ),
)  # fmt: skip
