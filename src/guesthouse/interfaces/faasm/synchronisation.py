"""What the threads of a call wait for: mutexes, condition variables, things that happen once (faasm.md 2.8).

Everything is known by its address in the guest's memory and lives in the host, so that what the guest keeps
at that address means nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.crew import BUSY, DEADLK, PERM, TIMEDOUT, Crew, call_function

#: Mutexes, conditions and the like that one call may have.
MOST_OBJECTS = 100_000

_ALONE = "threads of a module without shared memory run one after another, so this wait would never end"


class Mutex:
    """A lock with an owner."""

    __slots__ = ("lock", "owner")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0


class Synchronisation:
    """All of it, for one call.

    Args:
        crew: the call's threads.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._mutexes: dict[int, Mutex] = {}
        self._conditions: dict[int, deque[threading.Event]] = {}
        self._once: dict[int, threading.Event] = {}
        self._lock = threading.Lock()

    def _room(self) -> None:
        if len(self._mutexes) + len(self._conditions) + len(self._once) >= MOST_OBJECTS:
            raise Trap(f"more than {MOST_OBJECTS} mutexes and conditions")

    # -- mutexes

    def lock(self, address: int, *, wait: bool = True) -> int:
        """Take a mutex: 0, or an errno."""
        with self._lock:
            mutex = self._mutexes.get(address)
            if mutex is None:
                self._room()
                mutex = self._mutexes[address] = Mutex()
        me = self.crew.current.number
        if not mutex.lock.acquire(blocking=False):
            if not wait:
                return BUSY
            if mutex.owner == me:
                return DEADLK
            if self.crew.spawn is None:
                raise Trap(f"pthread_mutex_lock: {_ALONE}")
            self.crew.wait(lambda seconds: mutex.lock.acquire(timeout=seconds))
        mutex.owner = me
        return 0

    def unlock(self, address: int) -> int:
        """Give a mutex back: 0, or an errno.

        Raises:
            Trap: nobody ever locked it.
        """
        mutex = self._mutexes.get(address)
        if mutex is None:
            raise Trap("pthread_mutex_unlock: this mutex was never locked")
        if mutex.owner != self.crew.current.number:
            return PERM
        mutex.owner = 0
        mutex.lock.release()
        return 0

    def destroy_mutex(self, address: int) -> int:
        """Forget a mutex; a held one is kept."""
        mutex = self._mutexes.get(address)
        if mutex is not None and mutex.owner:
            return BUSY
        self._mutexes.pop(address, None)
        return 0

    # -- conditions

    def wait(self, condition: int, mutex: int, until: float | None = None) -> int:
        """Give the mutex back, wait for a signal, take the mutex again: 0, or an errno.

        Args:
            condition: its address.
            mutex: its address; the calling thread holds it.
            until: realtime seconds to wait until at most.
        """
        bell = threading.Event()
        with self._lock:
            if condition not in self._conditions:
                self._room()
            waiters = self._conditions.setdefault(condition, deque())
            waiters.append(bell)
        error = self.unlock(mutex)
        if error:
            return error
        try:
            answer = self._listen(bell, until)
        finally:
            with self._lock:
                if bell in waiters:
                    waiters.remove(bell)
        return self.lock(mutex) or answer

    def _listen(self, bell: threading.Event, until: float | None) -> int:
        if self.crew.spawn is None and not bell.is_set():
            self.crew.run_queued()  # one of those may be who rings
            if not bell.is_set() and until is None:
                raise Trap(f"pthread_cond_wait: {_ALONE}")
        while not bell.is_set():
            rest = None if until is None else until - time.time()
            if rest is not None and rest <= 0:
                return TIMEDOUT
            bell.wait(0.01 if rest is None else min(0.01, rest))
            self.crew.check()
        return 0

    def signal(self, condition: int, *, everybody: bool = False) -> int:
        """Wake one who waits, or everybody."""
        with self._lock:
            waiters = self._conditions.get(condition)
            while waiters:
                waiters.popleft().set()
                if not everybody:
                    break
        return 0

    def destroy_condition(self, condition: int) -> int:
        """Forget a condition; one that somebody waits for is kept."""
        with self._lock:
            if self._conditions.get(condition):
                return BUSY
            self._conditions.pop(condition, None)
        return 0

    # -- once

    def once(self, control: int, function: int) -> int:
        """Call a table function unless that was done for this control before, or wait until it is done."""
        with self._lock:
            done = self._once.get(control)
            first = done is None
            if done is None:
                self._room()
                done = self._once[control] = threading.Event()
        if first:
            try:
                call_function(self.crew.instance, function)
            finally:
                done.set()
        elif not done.is_set() and self.crew.spawn is not None:
            self.crew.wait(done.wait)
        return 0
