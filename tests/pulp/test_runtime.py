"""Cells of one application: boot, events, restarts (spec/pulp.md 5.2, 5.3, 5.5, acceptance case 19)."""

from __future__ import annotations

import threading
import time

import pytest

from guesthouse.capabilities import capability
from guesthouse.errors import CallError, LoadError
from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.interfaces.pulp.restarts import RESTARTS

KIT = {"wasm": "kit.c"}


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def status(app, name: str) -> dict:
    return next(row for row in app.runtime.status() if row["name"] == name)


def test_a_cell_whose_dependency_failed_fails_too_and_the_others_go_on(application) -> None:
    app = application(
        {**KIT, "name": "top", "depends_on": ["middle"]},
        {**KIT, "name": "middle", "depends_on": ["base"]},
        {**KIT, "name": "base", "config": {"init_code": 3}},
        {**KIT, "name": "other"},
    )
    states = {row["name"]: (row["state"], row["error"]) for row in app.runtime.status()}
    assert states["other"] == ("ready", "")
    assert states["base"][0] == states["middle"][0] == states["top"][0] == "failed"
    assert "pulp_init returned 3" in states["base"][1]
    assert "depends on failed" in states["top"][1]


def test_when_all_cells_fail_the_start_fails(application) -> None:
    app = application({**KIT, "name": "a", "config": {"trap": True}}, run=False)
    with pytest.raises(LoadError, match="all cells failed: .*pulp_init trap"):
        app.runtime.start()


def test_a_capability_that_cannot_be_set_up_fails_the_start(application) -> None:
    first = application({"wasm": "echo.c", "capabilities": ["transport.http.inbound"]})
    port = first.url.rpartition(":")[2]
    second = application(
        {"wasm": "echo.c", "capabilities": ["transport.http.inbound"]},
        settings={"HTTP_PORT": port},
        run=False,
    )
    with pytest.raises(LoadError, match=r"transport.http.inbound.*could not be set up: .*in use"):
        second.runtime.start()


def test_a_crashed_cell_is_restarted_with_its_configuration_and_counts_from_zero(application) -> None:
    app = application({**KIT, "name": "kit", "config": {"n": 7}})
    app.runtime.cell("kit").call("count")
    assert app.runtime.post(Event("trap", b"\1", "kit")) is Posted.QUEUED
    until(lambda: status(app, "kit")["restarts"] == 1)
    cell = app.runtime.cell("kit")
    assert cell.call("count") == b"\1\0\0\0"
    assert cell.call("config") == b"\x81\xa1n\xd3\0\0\0\0\0\0\0\7"


def test_a_provider_trap_restarts_the_provider(application) -> None:
    app = application({**KIT, "name": "kit"})
    with pytest.raises(Exception, match="pulp_on_call trap"):
        app.runtime.cell("kit").call("trap")
    until(lambda: status(app, "kit")["restarts"] == 1)
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"


def test_restarts_are_bounded(application) -> None:
    app = application({**KIT, "name": "kit"})
    for number in range(RESTARTS):
        app.runtime.post(Event("trap", b"\1", "kit"))
        until(lambda wanted=number + 1: status(app, "kit")["restarts"] == wanted)
    app.runtime.post(Event("trap", b"\1", "kit"))
    until(lambda: status(app, "kit")["state"] == "failed")
    assert app.runtime.post(Event("k", b"\1", "kit")) is Posted.GONE


def test_restart_never_leaves_a_crashed_cell_failed(application) -> None:
    app = application({**KIT, "name": "kit", "restart": "never"}, {**KIT, "name": "other"})
    app.runtime.post(Event("trap", b"\1", "kit"))
    until(lambda: status(app, "kit")["state"] == "failed")
    assert status(app, "kit")["restarts"] == 0
    assert app.runtime.cell("other").call("count") == b"\1\0\0\0"


def test_a_runaway_step_is_interrupted_counted_and_restarted(application) -> None:
    app = application({**KIT, "name": "kit", "call_timeout_ms": 120}, {**KIT, "name": "other"})
    started = time.monotonic()
    app.runtime.post(Event("spin", b"\1", "kit"))
    until(lambda: status(app, "kit")["restarts"] == 1)
    assert time.monotonic() - started < 3
    assert status(app, "kit")["runaways"] == 1
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"


def test_a_message_beyond_the_limit_is_an_error_and_no_crash(application) -> None:
    app = application({**KIT, "name": "kit"})
    app.runtime.cell("kit").call("count")
    app.runtime.post(Event("k", b"\xc6" + (9 << 20).to_bytes(4, "big") + bytes(9 << 20), "kit"))
    until(lambda: status(app, "kit")["queued"] == 0)
    time.sleep(0.05)
    assert app.runtime.cell("kit").call("count") == b"\2\0\0\0"
    assert status(app, "kit")["restarts"] == 0


def test_the_queue_drops_the_newest_event_visibly(application) -> None:
    app = application({**KIT, "name": "kit", "call_timeout_ms": 2000})
    cell = app.runtime.cell("kit")
    cell._turn.take()
    try:
        posted = [app.runtime.post(Event("k", b"\1", "kit")) for _ in range(70)]
    finally:
        cell._turn.release()
    assert posted.count(Posted.FULL) in (5, 6)
    assert status(app, "kit")["dropped"] == posted.count(Posted.FULL)


def test_reload_begins_anew_and_a_stopped_cell_is_not_called(application) -> None:
    app = application({**KIT, "name": "kit"})
    app.runtime.cell("kit").call("count")
    app.runtime.reload("kit")
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"
    app.runtime.shut_down("kit")
    assert status(app, "kit")["state"] == "stopped"
    with pytest.raises(Exception, match="no running cell named 'kit'"):
        app.runtime.cell("kit")


def test_stateless_instances_share_the_work(application) -> None:
    app = application({**KIT, "name": "kit", "instances": 3})
    assert status(app, "kit")["instances"] == 3
    counts: list[bytes] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(20):
            got = app.runtime.cell("kit").call("count")
            with lock:
                counts.append(got)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(counts) == 120
    assert counts.count(b"\1\0\0\0") in (1, 2, 3)


@pytest.mark.parametrize("policy", ["on_crash", "always"])
def test_case_19_start_and_stop_do_not_trigger_restarts(application, policy) -> None:
    for _ in range(25):
        app = application({**KIT, "name": "kit", "restart": policy})
        app.runtime.stop()
        assert status(app, "kit")["restarts"] == 0
        assert status(app, "kit")["state"] == "stopped"


def test_case_07_cells_boot_after_those_they_depend_on_even_with_mutual_consumes(application) -> None:
    booted: list[str] = []
    kit = {**KIT, "capabilities": ["test.order"]}
    app = application(
        {**kit, "name": "a", "depends_on": ["b"], "consumes": ["b.api"], "provides": ["a.api"]},
        {**kit, "name": "b", "depends_on": ["c"], "consumes": ["a.api"], "provides": ["b.api"]},
        {**kit, "name": "c"},
        run=False,
    )
    app.runtime.registry.gated(capability("test.order", attach=lambda cell: booted.append(cell.name)))
    app.runtime.start()
    assert booted == ["c", "b", "a"]
    assert app.runtime.cell("a").call("relay", b"b|reverse|xy") == b"\0yx"
    assert app.runtime.cell("b").call("relay", b"a|reverse|xy") == b"\0yx"
    assert app.runtime.cell("c").call("relay", b"a|reverse|xy") == b"\x0b"


@pytest.mark.parametrize("request_", [b"b|spin|", b""])
def test_a_call_that_spins_in_a_cell_does_not_hold_its_shutdown_up(application, request_) -> None:
    app = application({**KIT, "name": "a", "consumes": ["b"]}, {**KIT, "name": "b"})
    ended: list[Exception] = []

    def call() -> None:
        try:
            app.runtime.cell("a").call("relay" if request_ else "spin", request_)
        except CallError as error:
            ended.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    until(lambda: app.runtime.cell("b" if request_ else "a").busy)
    time.sleep(0.2)
    started = time.monotonic()
    app.runtime.stop()
    assert time.monotonic() - started < 10  # its deadline is 30 s away
    calling.join(10)
    assert "the host shuts down" in str(ended[0])
