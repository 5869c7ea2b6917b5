"""``workers`` (spec/pulp.md 3.11)."""

from __future__ import annotations

import time

import pytest
from tests.pulp.conftest import Window
from tests.pulp.servers import Server

from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.extensions import workers


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def cell(window):
    return window("workers", settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})


def submit(cell, server, path: str = "echo", **keys) -> int:
    return cell("workers_submit", {"type": "http.fetch", "url": f"{server.url}/{path}", **keys})[0]


def finished(cell, number: int, seconds: float = 10) -> tuple[int, dict]:
    until = time.monotonic() + seconds
    while True:
        code, raw = cell("workers_result", number)
        if code != 0:
            return code, codec.decode(raw) if raw else None
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_task_runs_beside_the_cell_and_is_read_once(cell, server) -> None:
    number = submit(cell, server, method="post", headers={"x-mine": "1"}, body=b"\0body")
    assert number >= 100
    code, reply = finished(cell, number)
    assert (code, reply["status"]) == (1, 200)
    assert reply["body"].startswith(b"POST /echo")
    assert reply["body"].endswith(b"\0body")
    assert cell("workers_result", number) == (4, b"")


def test_the_cell_goes_on_while_a_task_runs(cell, server) -> None:
    begun = time.monotonic()
    number = submit(cell, server, "slow?0.5")
    assert cell("workers_pending")[0] == 1
    assert cell("workers_result", number) == (0, b"")
    assert time.monotonic() - begun < 0.4
    assert finished(cell, number)[1]["body"] == b"late"
    assert cell("workers_pending")[0] == 0


def test_failures_are_results(cell, window, server) -> None:
    code, reply = finished(cell, submit(cell, server, "slow?5", timeout_ms=100))
    assert (code, reply) == (2, {"error": "no answer within 0.1 s"})
    guarded = window("workers")
    code, reply = finished(guarded, submit(guarded, server))
    assert code == 2
    assert "is not a public address" in reply["error"]


def test_a_task_can_be_cancelled(cell, server) -> None:
    number = submit(cell, server, "slow?20")
    assert cell("workers_cancel", number)[0] == 0
    assert finished(cell, number) == (2, {"error": "cancelled"})
    assert cell("workers_cancel", number)[0] == 1
    assert cell("workers_cancel", 5)[0] == 1


def test_nobody_asks_for_what_was_fired(cell, server) -> None:
    assert cell("workers_submit_fire", {"type": "http.fetch", "url": f"{server.url}/echo"})[0] == 0
    until = time.monotonic() + 5
    while cell("workers_pending")[0]:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_codes(cell) -> None:
    assert cell("workers_submit", b"")[0] == 1
    assert cell("workers_submit", b"\xc1")[0] == 3
    assert cell("workers_submit", {"type": "shell"})[0] == 4
    assert cell("workers_result", 99)[0] == 4


def test_tasks_of_a_cell_are_bounded_its_own_and_end_with_it(application, server, monkeypatch) -> None:
    monkeypatch.setattr(workers, "PER_CELL", 3)
    tables = [{"wasm": "any.c", "name": name, "capabilities": ["workers"]} for name in ("a", "b")]
    app = application(*tables, settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    numbers = [submit(a, server, "slow?20") for _ in range(4)]
    assert numbers[3] == 16
    assert b("workers_result", numbers[0])[0] == 4
    assert b("workers_cancel", numbers[0])[0] == 1
    assert b("workers_pending")[0] == 0
    begun = time.monotonic()
    app.runtime.shut_down("a")
    assert time.monotonic() - begun < 4


def test_undeclared_they_answer_as_documented(window) -> None:
    plain = window()
    assert plain("workers_submit", {"type": "http.fetch"})[0] == 99
    assert plain("workers_result", 100)[0] == 4
    assert plain("workers_cancel", 100)[0] == 1
    assert plain("workers_pending")[0] == 0


def test_each_way_of_being_full_has_its_code(window, server, monkeypatch) -> None:
    monkeypatch.setattr(workers, "CONCURRENCY", 2)
    settings = {"HTTP_FETCH_ALLOW": "127.0.0.1"}
    cell = window("workers", settings=settings)
    assert [submit(cell, server, "slow?20") >= 100 for _ in range(2)] == [True, True]
    assert submit(cell, server) == 17
    assert cell("workers_submit_fire", {"type": "http.fetch", "url": server.url})[0] == 17
    monkeypatch.setattr(workers, "TRACKED", 1)
    cell = window("workers", settings=settings)
    assert submit(cell, server, "slow?20") >= 100
    assert submit(cell, server) == 15
