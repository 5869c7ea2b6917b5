"""Turns: exact cycle detection, first come first served (spec/pulp.md 5.4, 8.1)."""

from __future__ import annotations

import random
import threading
import time

import pytest

from guesthouse.interfaces.pulp.turns import CycleError, Turn, WaitTimeout


def test_a_cell_that_calls_itself_is_refused_at_once() -> None:
    turn = Turn("a")
    turn.take()
    with pytest.raises(CycleError) as caught:
        turn.take()
    assert caught.value.cells == ("a",)
    turn.release()
    assert not turn.busy


def test_a_cycle_over_other_cells_is_refused_at_once() -> None:
    a, b, c = Turn("a"), Turn("b"), Turn("c")
    for turn in (a, b, c):
        turn.take()
    with pytest.raises(CycleError, match="rejected: a -> a is a cycle"):
        a.take()
    for turn in (c, b, a):
        turn.release()
    assert not any(turn.busy for turn in (a, b, c))


def test_opposite_calls_of_two_threads_end_with_one_refusal_and_no_stall() -> None:
    a, b = Turn("a"), Turn("b")
    both_inside = threading.Barrier(2)
    refused: list[tuple[str, ...]] = []

    def work(own: Turn, other: Turn) -> None:
        own.take()
        both_inside.wait(5)
        try:
            other.take()
            other.release()
        except CycleError as error:
            refused.append(error.cells)
        own.release()

    threads = [threading.Thread(target=work, args=pair) for pair in ((a, b), (b, a))]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - started < 2
    assert len(refused) == 1
    assert not a.busy
    assert not b.busy


def test_contention_is_no_cycle_and_is_served_in_order() -> None:
    turn = Turn("a")
    turn.take()
    served: list[int] = []

    def work(number: int) -> None:
        turn.take()
        served.append(number)
        turn.release()

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        while turn.waiting <= number:
            time.sleep(0.001)
    assert not turn.try_take()
    turn.release()
    for thread in threads:
        thread.join(5)
    assert served == list(range(8))


def test_waiting_ends_at_the_deadline_or_when_the_call_is_over() -> None:
    turn = Turn("a")
    holder_done = threading.Event()
    holding = threading.Event()

    def hold() -> None:
        turn.take()
        holding.set()
        holder_done.wait(10)
        turn.release()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(5)
    with pytest.raises(WaitTimeout):
        turn.take(time.monotonic() + 0.05)

    def cancelled() -> None:
        raise KeyError("cancelled")

    with pytest.raises(KeyError):
        turn.take(check=cancelled)
    assert not turn.waiting
    holder_done.set()
    thread.join(5)
    assert not turn.busy


def test_random_nesting_never_deadlocks_and_never_leaks_a_turn() -> None:
    turns = [Turn(str(number)) for number in range(5)]
    inside = dict.fromkeys(turns, 0)
    overlaps: list[Turn] = []

    def descend(source: random.Random, depth: int) -> None:
        turn = source.choice(turns)
        try:
            turn.take()
        except CycleError:
            return
        inside[turn] += 1
        if inside[turn] != 1:
            overlaps.append(turn)
        if depth:
            descend(source, depth - 1)
        inside[turn] -= 1
        turn.release()

    def work(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(300):
            descend(source, 4)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not overlaps
    assert not any(turn.busy for turn in turns)
