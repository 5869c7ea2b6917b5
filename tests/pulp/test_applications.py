"""Applications at work: placements, cross-application calls, the gateway (spec/pulp.md 5.4, 5.8)."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
from tests.pulp.applications import Folder

from guesthouse.errors import Error
from guesthouse.interfaces.pulp.applications import ApplicationHost, open_application
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, HostManifest
from guesthouse.interfaces.pulp.scopes import Scope


@pytest.fixture
def folder(tmp_path, build):
    return Folder(tmp_path / "app", build)


@pytest.fixture
def run(surroundings, tmp_path):
    running = []

    def run(path):
        instance = open_application(
            ApplicationManifest.load(path),
            surroundings,
            storage_root=tmp_path / "data",
            settings={"HTTP_PORT": "0"},
        )
        running.append(instance)
        instance.start()
        return instance

    yield run
    for instance in running:
        instance.stop()


def relay(runtime, caller: str, target: str, function: str, data: bytes = b"") -> bytes:
    return runtime.cell(caller).call("relay", target.encode() + b"|" + function.encode() + b"|" + data)


PLACED = '[[cell_placements]]\ncell = "worker"\ninstances = ["a", "b"]\n'


def test_case_18_an_exact_address_is_callable_and_the_bare_name_is_denied(folder, run) -> None:
    lead = folder.cell("lead", extra='consumes = ["count"]\n')
    worker = folder.cell("worker", extra='provides = ["count"]\n')
    runtime = run(folder.app(lead, worker, tail=PLACED)).runtime
    assert relay(runtime, "lead", "worker@a", "count") == b"\0\1\0\0\0"
    assert relay(runtime, "lead", "worker@a", "count") == b"\0\2\0\0\0"
    assert relay(runtime, "lead", "worker@b", "count") == b"\0\1\0\0\0"
    assert relay(runtime, "lead", "worker", "count") == b"\x0b"
    assert relay(runtime, "lead", "worker@c", "count") == b"\4"
    assert relay(runtime, "lead", "worker@a", "reverse") == b"\x0b"


def test_every_instance_has_a_scope_and_files_of_its_own(folder, run, tmp_path) -> None:
    lead = folder.cell("lead")
    worker = folder.cell("worker", "any.c", 'capabilities = ["storage.fs"]\n')
    runtime = run(folder.app(lead, worker, tail=PLACED)).runtime
    ids = {unit.spec.id for unit in runtime.units.values()}
    assert ids == {
        "pulp-scope/v1/4:demo|7:default|4:lead|7:primary",
        "pulp-scope/v1/4:demo|7:default|6:worker|1:a",
        "pulp-scope/v1/4:demo|7:default|6:worker|1:b",
    }
    for name in ("a", "b"):
        assert (tmp_path / "data/apps/demo/default/cells/worker" / name).is_dir()


def test_case_14_scopes() -> None:
    assert Scope.legacy("echo").routing_id == "echo"
    assert Scope("a|b", "c", "d", "e").routing_id != Scope("a", "b|c", "d", "e").routing_id
    for names in (("", "b", "c", "d"), ("a", " ", "c", "d"), ("a", "b", "c\0", "d")):
        with pytest.raises(ValueError, match="it is blank or holds a NUL"):
            Scope(*names)


def test_an_application_starts_as_a_whole_or_not_at_all(folder, run) -> None:
    good, bad = folder.cell("good"), folder.cell("bad", extra="[config]\ninit_code = 5\n")
    instance = None
    with pytest.raises(Error, match="pulp_init returned 5"):
        instance = run(folder.app(good, bad))
    assert instance is None


# -- several applications


@pytest.fixture
def host(tmp_path, build, surroundings):
    """Starts a host of the applications ``web`` (two instances) and ``shop``."""
    web, shop = (Folder(tmp_path / name, build) for name in ("web", "shop"))
    front = web.cell("front", "bridge.c", 'host_consumes = ["count", "reverse", "spin", "nothing"]\n')
    pages = web.cell("pages", "http.c", 'capabilities = ["transport.http.inbound"]\n')
    web.app(front, pages, name="web")
    provides = 'provides = ["count", "reverse", "spin", "nothing"]\ncall_timeout_ms = 600\n'
    shop.app(shop.cell("store", "kit.c", provides), name="shop")
    path = tmp_path / "pulp.host.toml"
    path.write_text(
        'name = "host"\n'
        '[[applications]]\nid = "web"\nmanifest = "web/pulp.app.toml"\ninstances = 2\naliases = ["blue"]\n'
        'storage_namespace = "w"\nevent_namespace = "w"\ndepends_on = ["shop"]\n'
        '[[applications]]\nid = "shop"\nmanifest = "shop/pulp.app.toml"\n'
        'storage_namespace = "s"\nevent_namespace = "s"\n'
        '[[routes]]\npath = "/blue"\napplication = "web"\ninstance = "blue"\n'
        '[[routes]]\npath = "/blue/other"\napplication = "web"\ninstance = "web-2"\n'
        '[[routes]]\npath = "/shop"\napplication = "shop"\n'
    )
    running = ApplicationHost(
        HostManifest.load(path), surroundings, storage_root=tmp_path / "data", settings={"HTTP_PORT": "0"}
    )
    running.folders = {"web": web, "shop": shop}
    with running:
        yield running


def bridge(host, instance: str, *parts: str) -> bytes:
    return host.instances["web", instance].runtime.cell("front").call("x", "|".join(parts).encode())


def test_case_20_an_exact_declared_call_reaches_the_other_application(host) -> None:
    assert bridge(host, "blue", "shop", "shop-1", "store", "reverse", "abc") == b"\0cba"
    assert bridge(host, "blue", "shop", "shop-1", "store", "count", "") == b"\0\1\0\0\0"
    assert bridge(host, "web-2", "shop", "shop-1", "store", "count", "") == b"\0\2\0\0\0"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (("shop", "shop-1", "store", "fail", ""), 11),
        (("web", "blue", "front", "count", ""), 11),
        (("ghost", "x", "store", "count", ""), 11),
        (("shop", "shop-9", "store", "count", ""), 4),
        (("shop", "shop-1", "ghost", "count", ""), 4),
        (("", "shop-1", "store", "count", ""), 1),
        (("shop", "", "store", "count", ""), 1),
        (("shop", "shop-1", "", "count", ""), 1),
        (("shop", "shop-1", "store", "", ""), 1),
    ],
)
def test_case_20_what_is_not_declared_does_not_reach_the_target(host, parts, code) -> None:
    assert bridge(host, "blue", *parts) == bytes([code])
    assert bridge(host, "blue", "shop", "shop-1", "store", "count", "") == b"\0\1\0\0\0"


def test_case_20_revocation_rejects_new_calls_and_waits_for_running_ones(host) -> None:
    shop = host.instances["shop", "shop-1"]
    cell = shop.runtime.cell("store")
    answers: list[bytes] = []
    cell._turn.take()
    caller = threading.Thread(
        target=lambda: answers.append(bridge(host, "blue", "shop", "shop-1", "store", "count", ""))
    )
    caller.start()
    while not cell._turn._queue:
        time.sleep(0.001)
    stopping = threading.Thread(target=shop.stop)
    stopping.start()
    while ("shop", "shop-1") in host.applications._gates:
        time.sleep(0.001)
    assert bridge(host, "web-2", "shop", "shop-1", "store", "count", "") == b"\4"
    cell._turn.release()
    caller.join(10)
    stopping.join(10)
    assert answers == [b"\0\1\0\0\0"]


def test_case_20_many_calls_against_revocation_end_in_an_answer_or_a_refusal(host) -> None:
    answers: list[bytes] = []
    lock = threading.Lock()
    begin = threading.Barrier(65)

    def call(number: int) -> None:
        begin.wait(10)
        answer = bridge(host, "blue" if number % 2 else "web-2", "shop", "shop-1", "store", "reverse", "xy")
        with lock:
            answers.append(answer)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    begin.wait(10)
    host.instances["shop", "shop-1"].stop()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 64
    assert set(answers) <= {b"\0yx", b"\4"}


def test_case_20_a_replacement_is_used_once_it_is_registered(host) -> None:
    assert bridge(host, "blue", "shop", "shop-1", "store", "count", "") == b"\0\1\0\0\0"
    host.replace("shop", "shop-1")
    assert bridge(host, "blue", "shop", "shop-1", "store", "count", "") == b"\0\1\0\0\0"


def test_the_gateway_goes_by_the_longest_prefix_and_strips_it(host) -> None:
    from guesthouse.interfaces.pulp import codec

    with httpx.Client(base_url=host.url) as client:
        got = client.post("/blue/show/1/2?q=3", content=b"body", headers={"X-Pulp-Application": "forged"})
        request = codec.decode(got.content)
        assert (request["path"], request["query"], request["body"]) == ("/show/1/2", {"q": "3"}, b"body")
        assert request["headers"]["X-Pulp-Application"] == "web"
        assert request["headers"]["X-Pulp-Application-Instance"] == "blue"
        assert request["headers"]["X-Forwarded-Prefix"] == "/blue"
        request = codec.decode(client.get("/blue/other/show/1/2").content)
        assert request["headers"]["X-Pulp-Application-Instance"] == "web-2"
        assert client.get("/bluebird/show/1/2").status_code == 404
        assert client.get("/").status_code == 404
        assert client.get("/blue/nothing").text == "404 page not found"
        assert client.get("/blue/raw").headers.get_list("set-cookie") == ["a=1", "b=2; HttpOnly"]
        assert client.get("/shop/x").status_code == 503
        host.instances["web", "blue"].stop()
        assert client.get("/blue/show/1/2").status_code == 503


def test_scopes_of_a_host_keep_storage_apart(host) -> None:
    spec = host.instances["web", "blue"].runtime.units["front"].spec
    assert spec.id == "pulp-scope/v1/3:web|4:blue|5:front|7:primary"
    assert str(spec.storage) == "w/blue/apps/web/blue/cells/front/primary"
