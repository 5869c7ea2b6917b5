"""A runner whose guests are Python functions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guesthouse.calls import Call, CallLimits, Outcome, Scheduler
from guesthouse.errors import NotFound

Guest = Callable[[Call], Outcome]


class Switch:
    """Stands in for an instance: remembers that it was told to end."""

    def __init__(self) -> None:
        self.pulled = threading.Event()
        self.reason: str | None = None

    def cancel(self, reason: str) -> None:
        self.reason = reason
        self.pulled.set()


class FakeRunner:
    """Runs the function registered under the guest's name, and counts what runs at the same time."""

    def __init__(self) -> None:
        self.guests: dict[str, Guest] = {}
        self.lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.ran: list[str] = []

    def guest(self, function: Guest) -> Guest:
        self.guests[function.__name__] = function
        return function

    def run(self, call: Call) -> Outcome:
        with self.lock:
            self.ran.append(call.guest)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if call.guest not in self.guests:
                raise NotFound("guest", call.guest, known=list(self.guests))
            return self.guests[call.guest](call)
        finally:
            with self.lock:
                self.running -= 1


def spin(call: Call, seconds: float = 10.0) -> None:
    """Run like a guest that only an interruption ends."""
    switch = Switch()
    call.instance = switch
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        switch.pulled.wait(0.002)
        call.check()
    raise AssertionError("nobody interrupted the guest")


@contextmanager
def scheduler(
    runner: FakeRunner,
    workers: int = 2,
    limits: CallLimits | None = None,
    **options: object,
) -> Iterator[Scheduler]:
    """Open a scheduler and close it again."""
    made = Scheduler(runner, workers, limits, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
