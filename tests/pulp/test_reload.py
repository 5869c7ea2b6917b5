"""Reload and restart: what survives a replaced instance, and what does not (spec/pulp.md 5.5, 8.2 to 8.4)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.pulp.test_runtime import status, until

from guesthouse.capabilities import capability
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.restarts import RESTARTS
from guesthouse.interfaces.pulp.runtime import Runtime

KIT = {"wasm": "kit.c"}
HTTP = {"wasm": "http.c", "capabilities": ["transport.http.inbound"]}


@pytest.fixture
def copy(tmp_path, build):
    """Puts a guest at a path of its own, where it can be replaced."""

    def put(name: str) -> Path:
        path = tmp_path / "mine.wasm"
        path.write_bytes(build(name).read_bytes())
        return path

    return put


def test_requests_during_a_reload_wait_and_none_is_lost(application, copy) -> None:
    app = application({**HTTP, "wasm": str(copy("echo.c")), "name": "web"})
    codes: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=app.url) as client:
            while not stop.is_set():
                codes.append(client.get("/echo/word").status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        until(lambda wanted=number * 10: len(codes) > wanted)  # they are at it
        app.runtime.reload("web")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert len(codes) > 90
    assert set(codes) == {200}


def test_routes_that_the_new_module_does_not_register_are_gone(application, copy) -> None:
    app = application({**HTTP, "wasm": str(copy("http.c")), "name": "web"})
    assert httpx.get(f"{app.url}/raw").status_code == 200
    copy("echo.c")
    app.runtime.reload("web")
    assert httpx.get(f"{app.url}/raw").status_code == 404
    assert httpx.get(f"{app.url}/echo/x").text == "x"


def test_a_file_that_cannot_be_loaded_leaves_the_cell_as_it_was(application, copy) -> None:
    path = copy("kit.c")
    app = application({"wasm": str(path), "name": "kit"})
    app.runtime.cell("kit").call("count")
    path.write_bytes(b"\0asm nonsense")
    with pytest.raises(LoadError, match="compile wasm"):
        app.runtime.reload("kit")
    path.unlink()
    with pytest.raises(LoadError, match="read wasm"):
        app.runtime.reload("kit")
    assert app.runtime.cell("kit").call("count") == b"\2\0\0\0"
    assert status(app, "kit")["state"] == "ready"


def test_a_new_instance_that_fails_to_initialise_fails_the_cell_and_reload_mends_it(
    application, copy
) -> None:
    path = copy("kit.c")
    app = application({"wasm": str(path), "name": "kit"}, {**KIT, "name": "other"})
    copy("greeter.c")  # it has nobody to greet
    with pytest.raises(Exception, match="pulp_init returned"):
        app.runtime.reload("kit")
    assert status(app, "kit")["state"] == "failed"
    assert status(app, "other")["state"] == "ready"
    copy("kit.c")
    app.runtime.reload("kit")
    assert status(app, "kit")["state"] == "ready"
    assert status(app, "kit")["error"] == ""
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"
    assert app.runtime.post(Event("k", b"\1", "kit")) is Posted.QUEUED


def test_a_cell_that_listens_at_an_address_of_its_own_can_be_restarted(application) -> None:
    app = application({**HTTP, "name": "web", "config": {"listen": "127.0.0.1:0"}})
    url = app.catalogue.http.urls["127.0.0.1:0"]
    assert httpx.get(f"{url}/trap").status_code == 500
    until(lambda: status(app, "web")["restarts"] == 1)
    assert httpx.get(f"{url}/raw").status_code == 200
    app.runtime.reload("web")
    assert httpx.get(f"{url}/raw").status_code == 200


def test_all_instances_of_a_stateless_cell_are_reloaded(application) -> None:
    app = application({**KIT, "name": "kit", "instances": 3})
    unit = app.runtime.units["kit"]
    for cell in unit.cells:
        cell.call("count")
    app.runtime.reload("kit")
    assert [cell.call("count") for cell in unit.cells] == [b"\1\0\0\0"] * 3
    assert app.runtime.surroundings.modules.stats.leases >= 3


def test_modules_are_given_back(application) -> None:
    app = application({**KIT, "name": "kit", "instances": 2})
    cache = app.runtime.surroundings.modules
    held = cache.stats.leases
    app.runtime.reload("kit")
    assert cache.stats.leases == held
    app.runtime.stop()
    assert cache.stats.leases == held - 2


def test_a_cell_that_has_failed_leaves_nothing_behind_when_it_is_reloaded(application) -> None:
    app = application({**KIT, "name": "kit", "restart": "never"})
    for _ in range(3):
        app.runtime.post(Event("trap", b"\1", "kit"))
        until(lambda: status(app, "kit")["state"] == "failed")
        app.runtime.reload("kit")
        unit = app.runtime.units["kit"]
        assert (len(unit.loops), len(unit.cells)) == (1, 1)
        assert unit.loops[0].cell is unit.cells[0]


def test_a_request_under_way_is_answered_before_its_instance_is_replaced(application, copy) -> None:
    app = application({**HTTP, "wasm": str(copy("http.c")), "name": "web"})
    answers: list[int] = []
    slow = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{app.url}/slow", timeout=60).status_code)
    )
    slow.start()
    until(lambda: app.runtime.cell("web").busy and status(app, "web")["queued"] == 0)
    app.runtime.reload("web")
    slow.join(60)
    assert answers == [200]


def test_a_cell_that_spins_or_has_ended_can_be_reloaded(application, monkeypatch) -> None:
    monkeypatch.setattr("guesthouse.interfaces.pulp.runtime.RELOAD_GRACE", 0.2)
    app = application({**KIT, "name": "kit", "restart": "never"}, {**KIT, "name": "other"})
    app.runtime.post(Event("spin", b"\1", "kit"))
    until(lambda: app.runtime.cell("kit").busy and status(app, "kit")["queued"] == 0)
    app.runtime.reload("kit")
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"
    app.runtime.post(Event("trap", b"\1", "kit"))
    until(lambda: status(app, "kit")["state"] == "failed")
    app.runtime.reload("kit")
    assert app.runtime.cell("kit").call("count") == b"\1\0\0\0"
    assert status(app, "kit")["restarts"] == 0


def test_a_capability_that_refuses_for_a_moment_is_attached_at_the_next_try(application) -> None:
    log: list[str] = []

    def attach(cell) -> None:
        log.append("attach")
        if log.count("attach") == 2:
            raise OSError("the database is away")

    app = application({**KIT, "name": "kit", "capabilities": ["test.flaky"]}, run=False)
    flaky = capability("test.flaky", attach=attach, release=lambda cell: log.append("release"))
    app.runtime.registry.gated(flaky)
    app.runtime.start()
    app.runtime.post(Event("trap", b"\1", "kit"))
    until(lambda: status(app, "kit")["restarts"] == 1)
    assert log == ["attach", "release", "attach", "attach"]
    app.runtime.stop()
    assert log[-1] == "release"


def test_a_restart_that_hangs_keeps_nobody_from_stopping(application, tmp_path) -> None:
    from guesthouse.testing.guests import wat

    # Fine at first; whoever is initialised after the file "again" is there, spins.
    text = """
    (module (import "pulp" "fs_delete" (func $delete (param i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 8) "again")
      (func (export "pulp_alloc") (param i32) (result i32) i32.const 1024)
      (func (export "pulp_init") (param i32 i32) (result i32)
        (if (i32.eqz (call $delete (i32.const 8) (i32.const 5))) (then (loop (br 0)))) i32.const 0)
      (func (export "pulp_step") (param i32 i32) (result i32)
        (if (i32.gt_u (local.get 1) (i32.const 20)) (then unreachable)) i32.const 0)
      (func (export "pulp_shutdown") (result i32) i32.const 0))"""
    (tmp_path / "spins.wasm").write_bytes(wat(text))
    table = {"wasm": str(tmp_path / "spins.wasm"), "name": "spins", "capabilities": ["storage.fs"]}
    app = application(table, {**KIT, "name": "other"})
    marker = tmp_path / "data" / "spins" / "again"
    marker.touch()
    app.runtime.post(Event("trap", b"\1", "spins"))
    until(lambda: not marker.exists())  # it is in its second initialisation now
    started = time.monotonic()
    app.runtime.stop()
    assert time.monotonic() - started < 10
    assert status(app, "other")["state"] == "stopped"


def test_what_capabilities_keep_for_an_instance_ends_with_it(application) -> None:
    table = {"wasm": "any.c", "name": "any", "capabilities": ["storage.sqlite"]}
    app = application(table)
    from tests.pulp.conftest import Window

    window = Window(app.runtime.cell("any"))
    window.sqlite_exec("CREATE TABLE t (x)", b"")
    window.sqlite_exec("BEGIN", b"")
    window.sqlite_exec("INSERT INTO t VALUES (1)", b"")
    app.runtime.reload("any")
    code, reply = window.sqlite_query("SELECT count(*) FROM t", b"")
    assert code == 0
    assert reply["rows"] == [[0]]  # the open transaction was the old instance's


def test_a_provider_that_runs_away_is_counted_and_replaced_at_once(application) -> None:
    app = application(
        {**KIT, "name": "caller", "depends_on": ["lost"]}, {**KIT, "name": "lost", "call_timeout_ms": 150}
    )
    time.sleep(2.5)  # by now idle ticks come once a second: the loop must not wait for one
    assert app.runtime.cell("caller").call("relay", b"lost|spin|") == b"\x04"
    started = time.monotonic()
    until(lambda: status(app, "lost")["restarts"] == 1)
    assert time.monotonic() - started < 0.5
    assert status(app, "lost")["runaways"] == 1
    assert app.runtime.cell("caller").call("relay", b"lost|count|") == b"\0\1\0\0\0"


def test_runaways_are_reported_once_each(surroundings, tmp_path, build) -> None:
    reports: list = []
    manifests = [
        CellManifest.from_table(
            {"name": n, "version": "1", "wasm": str(build("kit.c")), **keys}, tmp_path / n
        )
        for n, keys in {"kit": {"call_timeout_ms": 120}, "caller": {"depends_on": ["kit"]}}.items()
    ]
    with Runtime(manifests, Catalogue().registry(), surroundings, reporter=reports.append) as runtime:
        runtime.post(Event("spin", b"\1", "kit"))
        until(lambda: runtime.status()[0]["restarts"] == 1)
        runtime.cell("caller").call("relay", b"kit|spin|")
        until(lambda: runtime.status()[0]["restarts"] == 2)
    assert [(report.cell, report.budget) for report in reports] == [("kit", 0.12)] * 2
    assert all(report.elapsed >= 0.12 for report in reports)


def test_a_failing_initialisation_is_tried_again_under_always_and_no_longer_than_the_bound(
    application, caplog
) -> None:
    app = application(
        {**KIT, "name": "never-up", "restart": "always", "config": {"init_code": 3}},
        {**KIT, "name": "once", "restart": "on_crash", "config": {"init_code": 3}},
        {**KIT, "name": "fine"},
    )
    assert status(app, "never-up")["state"] == status(app, "once")["state"] == "failed"
    assert status(app, "never-up")["restarts"] == RESTARTS
    assert status(app, "once")["restarts"] == 0
    assert status(app, "fine")["state"] == "ready"


EXITS = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "pulp_alloc") (param i32) (result i32) i32.const 1024)
  (func (export "pulp_init") (param i32 i32) (result i32) i32.const 0)
  (func (export "pulp_step") (param i32 i32) (result i32)
    (if (i32.gt_u (local.get 1) (i32.const 20)) (then (call $exit (i32.const {code}))))
    i32.const 0)
  (func (export "pulp_shutdown") (result i32) i32.const 0))
"""


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "state"),
    [
        ("always", 0, 1, "ready"),
        ("on_crash", 0, 0, "failed"),
        ("on_crash", 1, 1, "ready"),
        ("never", 1, 0, "failed"),
    ],
)
def test_a_guest_that_exits_is_restarted_as_its_policy_says(
    application, tmp_path, policy, code, restarts, state
) -> None:
    from guesthouse.testing.guests import wat

    path = tmp_path / "exits.wasm"
    path.write_bytes(wat(EXITS.replace("{code}", str(code))))
    app = application({"wasm": str(path), "name": "exits", "restart": policy}, {**KIT, "name": "other"})
    app.runtime.post(Event("k", b"\1", "exits"))
    if restarts:
        until(lambda: status(app, "exits")["restarts"] == restarts)
    until(lambda: status(app, "exits")["state"] == state)
    assert status(app, "exits")["restarts"] == restarts
    assert status(app, "other")["state"] == "ready"


def test_restarts_back_off(application) -> None:
    app = application({**KIT, "name": "kit"})
    moments = []
    for number in range(3):
        app.runtime.post(Event("trap", b"\1", "kit"))
        started = time.monotonic()
        until(lambda wanted=number + 1: status(app, "kit")["restarts"] == wanted)
        moments.append(time.monotonic() - started)
    assert moments[1] >= 0.05
    assert moments[2] >= 0.1
