"""The event loop that connections live on, and how other threads reach it."""

from __future__ import annotations

import threading
import time

from guesthouse.interfaces.pulp.http.server import LoopThread


def test_calls_of_other_threads_run_in_order_and_with_few_wake_ups() -> None:
    threads = LoopThread()
    try:
        seen: list[int] = []
        done = threading.Event()
        held = threading.Event()
        woken = 0
        soon = threads.soon
        wake = soon.loop.call_soon_threadsafe

        def counted(*args: object) -> object:
            nonlocal woken
            woken += 1
            return wake(*args)

        soon.loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
        soon(held.wait, 10)  # meanwhile the loop is busy
        while soon._woken:
            time.sleep(0.001)
        for number in range(100):
            soon(seen.append, number)
        soon(done.set)
        held.set()
        assert done.wait(10)
        assert seen == list(range(100))
        assert woken == 2
    finally:
        threads.close()


def test_a_call_that_fails_costs_no_other() -> None:
    threads = LoopThread()
    try:
        told: list[str] = []
        threads.loop.set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
        done = threading.Event()
        threads.soon(lambda: 1 // 0)
        threads.soon(done.set)
        assert done.wait(10)
        assert told == ["ZeroDivisionError('integer division or modulo by zero')"]
    finally:
        threads.close()


def test_calls_after_the_end_are_nobodys_concern() -> None:
    threads = LoopThread()
    soon = threads.soon
    threads.close()
    soon(print, "never")
    soon(print, "never")
