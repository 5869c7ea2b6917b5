"""What two threads do to one another: guest work, host calls, and a thread that spins in Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from guesthouse.bench.measure import calibrate
from guesthouse.bench.ours import Ours

#: One round of work.
Round = Callable[[], object]


def throughput(rounds: Sequence[Round], seconds: float) -> float:
    """Return rounds per second, all threads together.

    Args:
        rounds: one per thread.
        seconds: how long they run.
    """
    counts = [0] * len(rounds)
    stop = threading.Event()
    gate = threading.Barrier(len(rounds) + 1)

    def work(index: int) -> None:
        one, ended, done = rounds[index], stop.is_set, 0
        gate.wait()
        while not ended():
            one()
            done += 1
        counts[index] = done

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(rounds))]
    for thread in threads:
        thread.start()
    gate.wait()
    begun = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def scaling(make: Callable[[], Round], *, seconds: float, batches: int) -> float:
    """Return how much more two threads do than one; the best of several turns each."""
    one = two = 0.0
    for _ in range(batches):
        one = max(one, throughput([make()], seconds))
        two = max(two, throughput([make(), make()], seconds))
    return two / one


def spinner(ours: Ours, microseconds: float) -> Callable[[], Round]:
    """Return a maker of rounds, each a guest call that computes for about that long."""
    with ours.instance() as probe:

        def spin(n: int) -> float:
            begun = time.perf_counter()
            probe.invoke("spin", n)
            return time.perf_counter() - begun

        turns = max(1, round(calibrate(spin, 0.02) * microseconds / 20_000))

    def make() -> Round:
        instance = ours.instance()
        return lambda: instance.invoke("spin", turns)

    return make


def looping(ours: Ours, export: str, turns: int) -> Callable[[], Round]:
    """Return a maker of rounds, each a guest that calls a host function ``turns`` times."""

    def make() -> Round:
        instance = ours.instance()
        return lambda: instance.invoke(export, turns)

    return make


def beside_python(make: Callable[[], Round], turns: int, seconds: float) -> float:
    """Return seconds per host call while another thread computes in pure Python."""
    stop = threading.Event()

    def compute() -> None:
        value = 0
        while not stop.is_set():
            for step in range(1000):
                value ^= step

    bystander = threading.Thread(target=compute)
    bystander.start()
    try:
        return 1 / (throughput([make()], seconds) * turns)
    finally:
        stop.set()
        bystander.join()
