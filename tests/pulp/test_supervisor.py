"""Supervision of one cell (spec/pulp.md 5.5, acceptance cases 10 to 12)."""

from __future__ import annotations

import threading
import time

import pytest

from guesthouse import pulp
from guesthouse.errors import Cancelled
from guesthouse.interfaces.pulp.structs import step_event

SPIN = pulp.Envelope(payload=step_event("spin", b"\x01"))


@pytest.fixture
def cell(build):
    with pulp.Cell.load(build("kit.c"), registry=pulp.registry()) as cell:
        yield cell


def test_case_10_a_runaway_ends_within_its_budget_and_is_reported_once(cell) -> None:
    reports: list[pulp.Report] = []
    supervisor = pulp.Supervisor(cell, budget=0.12, reporter=reports.append)
    supervisor.start()
    started = time.monotonic()
    with pytest.raises(pulp.Runaway) as caught:
        supervisor.step(SPIN)
    assert time.monotonic() - started < 3
    assert caught.value.limit == 0.12
    assert 0.12 <= caught.value.elapsed < 0.5
    assert supervisor.state is pulp.Health.RUNAWAY
    assert supervisor.runaways == 1
    assert not supervisor.snapshot().healthy
    assert [(report.cell, report.budget) for report in reports] == [(cell.name, 0.12)]
    assert reports[0].error is caught.value
    with pytest.raises(pulp.CellClosed):
        supervisor.step()
    assert supervisor.runaways == len(reports) == 1


def test_case_11_a_healthy_cell_is_never_interfered_with(cell) -> None:
    supervisor = pulp.Supervisor(cell, budget=1.0)
    assert supervisor.state is pulp.Health.NEW
    supervisor.start({"n": 1})
    assert supervisor.state is pulp.Health.READY
    for number in range(200):
        assert supervisor.step(pulp.Envelope(number, 1, step_event("k", b"\x07"))) == 7
    monitor = supervisor.monitor(0.001)
    snapshots = [next(monitor) for _ in range(20)]
    assert all(snapshot.healthy and snapshot.runaways == 0 for snapshot in snapshots)
    supervisor.stop()
    assert supervisor.state is pulp.Health.STOPPED
    assert list(monitor) == []


def test_case_12_a_cancelled_caller_is_no_runaway_and_the_cell_still_stops_in_order(cell) -> None:
    reports: list[pulp.Report] = []
    supervisor = pulp.Supervisor(cell, budget=1.0, reporter=reports.append)
    supervisor.start()

    def cancelled() -> None:
        raise Cancelled("the caller went away")

    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        cell._turn.take()
        holding.set()
        release.wait(5)
        cell._turn.release()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(5)
    with pytest.raises(Cancelled):
        supervisor.call("count", check=cancelled)
    release.set()
    thread.join(5)
    assert supervisor.state is pulp.Health.READY
    assert not reports
    assert supervisor.call("count") == b"\1\0\0\0"
    supervisor.stop()
    assert supervisor.state is pulp.Health.STOPPED


def test_a_cell_that_fails_to_start_is_failed(cell) -> None:
    supervisor = pulp.Supervisor(cell)
    with pytest.raises(pulp.CellFailed):
        supervisor.start({"init_code": 1})
    assert supervisor.state is pulp.Health.FAILED
