"""The benchmark measures what it says and tells when a goal is missed; no timing is asserted."""

from __future__ import annotations

import time

import pytest

from guesthouse.bench import memory, report
from guesthouse.bench.measure import calibrate, compare
from guesthouse.bench.peers import PEERS, installed
from guesthouse.bench.rows import PLANS, Row


@pytest.mark.parametrize("name", installed())
def test_every_operation_of_every_peer_runs(name):
    peer = PEERS[name]()
    try:
        operations = peer.operations()
        assert set(operations) <= {plan.operation for plan in PLANS}
        for operation in operations.values():
            assert 0 < operation(2) < 60
    finally:
        peer.close()


def test_ours_offers_every_row():
    ours = PEERS["guesthouse"]()
    try:
        assert set(ours.operations()) == {plan.operation for plan in PLANS}
    finally:
        ours.close()


def test_batches_grow_until_the_clock_can_tell():
    def operation(n):
        return n * 1e-6

    assert calibrate(operation, 0.1) == pytest.approx(100_000, rel=0.01)


def test_the_best_batch_counts():
    spent = iter([1.0, 1.0, 0.5, 0.25, 0.75])

    def operation(n):
        return next(spent) * n

    assert compare({"x": operation}, seconds=1.0, batches=4) == {"x": 0.25}


def test_missed_goals_are_told_by_how_much():
    slow = Row("a", "s", {"guesthouse": 2.0, "extism": 4.0}, goal=1.0, ratios={"extism": 0.25})
    assert slow.misses() == ["2.00 times away from the goal", "0.50 of extism, where 0.25 is the goal"]
    assert Row("b", "x", {"guesthouse": 1.2}, goal=1.8).misses() == ["1.50 times away from the goal"]
    assert Row("c", "x", {"guesthouse": 1.9}, goal=1.8).misses() == []
    assert (report.verdict(slow), report.relation(slow)) == ("missed", "2.0x")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (6.53e-9, "s", "6.53 ns"),
        (0.00313, "s", "3.13 ms"),
        (1.81, "x", "1.81x"),
        (7600, "B", "7.6 kB"),
        (None, "s", "-"),
    ],
)
def test_figures_are_spelt_for_people(value, unit, text):
    assert report.figure(value, unit) == text


def test_memory_is_what_the_instances_hold():
    held = memory.per_instance(lambda: bytearray(b"x") * 100_000, count=50)
    assert 90_000 < held < 250_000


def test_a_failing_measurement_in_the_child_is_an_error():
    with pytest.raises(Exception, match="non-zero exit status"):
        memory.in_process("nobody")


def test_clock_moves_forward_in_the_floor():
    floor = PEERS["raw engine"]()
    begun = time.perf_counter()
    inner = floor.operations()["native"](1_000_000)
    assert 0 < inner <= time.perf_counter() - begun


def test_a_busy_machine_is_mentioned():
    assert "busy" in report.occupation(1.5, 2)
    assert "busy" not in report.occupation(0.5, 2)
