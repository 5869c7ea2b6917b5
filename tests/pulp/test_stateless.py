"""Stateless cells: several instances behind one queue (issue: one cell is one thread of execution)."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from tests.pulp.conftest import Window
from tests.pulp.test_runtime import status, until

HTTP = {"wasm": "http.c", "name": "web", "capabilities": ["transport.http.inbound"]}


def test_instances_work_at_the_same_time(application) -> None:
    app = application({**HTTP, "instances": 2})
    cells = app.runtime.units["web"].cells
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, sum(cell.busy for cell in cells))
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    with ThreadPoolExecutor(2) as pool, httpx.Client(base_url=app.url, timeout=60) as client:
        client.get("/raw")
        watcher.start()
        answers = list(pool.map(client.get, ["/slow", "/slow"]))
        done.set()
    watcher.join(5)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert most == 2


def test_a_slow_request_keeps_nobody_waiting_while_an_instance_is_free(application) -> None:
    app = application({**HTTP, "instances": 2})
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=app.url, timeout=60) as client:
        slow = pool.submit(client.get, "/slow")
        until(lambda: any(cell.busy for cell in app.runtime.units["web"].cells))
        assert client.get("/status/204").status_code == 204
        assert not slow.done()
        assert slow.result(60).status_code == 200


def test_instances_share_an_address_of_their_own_and_what_clients_hold(application) -> None:
    app = application(
        {**HTTP, "instances": 2, "config": {"listen": "127.0.0.1:0"}, "restart": "always"},
        {"wasm": "any.c", "name": "any", "instances": 2, "capabilities": ["storage.sqlite"]},
    )
    assert status(app, "web")["instances"] == 2
    url = app.catalogue.http.urls["127.0.0.1:0"]
    assert httpx.get(f"{url}/trap", timeout=60).status_code == 500
    until(lambda: status(app, "web")["restarts"] == 1)
    assert httpx.get(f"{url}/status/201", timeout=60).status_code == 201
    one, two = (Window(cell) for cell in app.runtime.units["any"].cells)
    one.sqlite_exec("CREATE TABLE t (x)", b"")
    two.cell.reload()
    for window in (one, two):
        assert window.sqlite_exec("INSERT INTO t VALUES (1)", b"")[0] == 0


def test_one_that_crashes_is_replaced_and_the_others_serve_on(application) -> None:
    app = application({**HTTP, "instances": 3})
    with httpx.Client(base_url=app.url, timeout=60) as client:
        assert client.get("/trap").status_code == 500
        for _ in range(30):
            assert client.get("/status/201").status_code == 201
        until(lambda: status(app, "web")["restarts"] == 1)
        assert client.get("/status/201").status_code == 201
    found = status(app, "web")
    assert (found["state"], found["instances"], found["health"]) == ("ready", 3, ["ready"])


def test_reloads_and_stops_from_several_sides_do_not_meet(application) -> None:
    app = application({"wasm": "kit.c", "name": "kit", "instances": 2}, {"wasm": "kit.c", "name": "other"})
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(app.runtime.reload, name) for name in ["kit", "other"] * 6]
        jobs += [pool.submit(app.runtime.shut_down, "other")]
        for job in jobs:
            job.result(60)
    app.runtime.reload("other")
    assert status(app, "kit")["instances"] == 2
    for name in ("kit", "other"):
        assert app.runtime.cell(name).call("count") == b"\1\0\0\0"
    with ThreadPoolExecutor(4) as pool:
        racing = [pool.submit(app.runtime.reload, "kit") for _ in range(3)]
        app.runtime.stop()
        for job in racing:
            job.exception(60)  # reloaded before the end, or told that it is over
    assert status(app, "kit")["state"] == "stopped"
    assert not [thread for thread in threading.enumerate() if thread.name in {"pulp-kit", "pulp-other"}]
