"""Several applications in one process (spec/pulp.md 5.2, 5.4, 5.8, acceptance cases 18, 20 and 21)."""

from __future__ import annotations

import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import trustme
from tests.pulp import folders
from tests.pulp.conftest import Window

import guesthouse
from guesthouse.capabilities import capability
from guesthouse.errors import LoadError, NotFound
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.interfaces.pulp.fleet import Fleet, lets_go
from guesthouse.interfaces.pulp.http.forwarding import Forwarding
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, HostManifest

DENIED, FAILED = 11, 4


@pytest.fixture
def fleet(surroundings, tmp_path):
    """Starts hosts from a manifest, and stops them afterwards."""
    started: list[Fleet] = []

    def start(path, **options) -> Fleet:
        made = Fleet(
            HostManifest.load(path),
            surroundings,
            storage_root=tmp_path / "data",
            settings={"HTTP_PORT": "0", **options.pop("settings", {})},
            **options,
        )
        started.append(made)
        made.start()
        return made

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def shop(tmp_path, build):
    """Writes a host of two applications: ``front`` may call ``stock.count`` and ``stock.slow`` of ``stock``."""
    wasm = build("crossing.c")

    def write(*, stock=(), front=(), routes=(), **cells) -> object:
        for name in ("front", "stock"):
            (tmp_path / name).mkdir(exist_ok=True)
        own = folders.cell(
            tmp_path / "stock", "store", wasm, provides=["stock.count", "stock.slow", "stock.hidden"],
            **cells.get("store", {}),
        )  # fmt: skip
        folders.application(tmp_path / "stock", "stock", [own], placements=cells.get("placements", ()))
        caller = folders.cell(
            tmp_path / "front", "desk", wasm, host_consumes=["stock.count", "stock.slow"],
            **cells.get("desk", {}),
        )  # fmt: skip
        folders.application(tmp_path / "front", "front", [caller])
        tables = [{"id": "front", "depends_on": ["stock"], **dict(front)}, {"id": "stock", **dict(stock)}]
        return folders.host(tmp_path, tables, routes)

    return write


def cross(cell, *parts: str) -> tuple[int, bytes]:
    answer = cell.call("cross", "|".join(parts).encode())
    return answer[0], answer[1:]


def number(data: bytes) -> int:
    return struct.unpack("<I", data)[0]


def test_case_20_an_exact_dependency_is_called(fleet, shop) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    assert cross(desk, "stock", "stock-1", "store", "stock.count") == (0, b"\1\0\0\0")
    assert cross(desk, "stock", "stock-1", "store", "stock.count", "arg") == (0, b"\2\0\0\0")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (("stock", "stock-1", "store", "stock.hidden"), DENIED),
        (("front", "front-1", "desk", "stock.count"), DENIED),
        (("ghost", "x", "store", "stock.count"), DENIED),
        (("stock", "stock-2", "store", "stock.count"), FAILED),
        (("stock", "stock-1", "shop", "stock.count"), FAILED),
        (("", "stock-1", "store", "stock.count"), 1),
        (("stock", "", "store", "stock.count"), 1),
        (("stock", "stock-1", "", "stock.count"), 1),
        (("stock", "stock-1", "store", ""), 1),
    ],
)
def test_case_20_what_is_not_declared_is_denied_without_reaching_the_target(fleet, shop, parts, code) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    assert cross(desk, *parts) == (code, b"")
    assert cross(desk, "stock", "stock-1", "store", "stock.count") == (0, b"\1\0\0\0")


def test_case_20_calls_go_the_way_of_depends_on_only(fleet, shop) -> None:
    house = fleet(shop())
    store = house.member("stock", "stock-1").runtime.cell("store")
    assert cross(store, "front", "front-1", "desk", "cross")[0] == DENIED


def test_case_20_revocation_waits_for_running_calls_and_rejects_new_ones(fleet, shop) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    answers: list[tuple[int, bytes]] = []
    running = threading.Thread(
        target=lambda: answers.append(cross(desk, "stock", "stock-1", "store", "stock.slow"))
    )
    running.start()
    store = house.member("stock", "stock-1").runtime.cell("store")
    until = time.monotonic() + 10
    while not store.busy and time.monotonic() < until:
        time.sleep(0.001)
    assert house.applications.revoke("stock", "stock-1", 0) is False
    assert not answers
    assert house.applications.revoke("stock", "stock-1", 20) is True
    running.join(1)
    assert answers == [(0, b"done")]
    assert cross(desk, "stock", "stock-1", "store", "stock.count") == (FAILED, b"")


def test_case_20_64_calls_against_revocation_are_served_whole_or_refused(fleet, shop) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    gate = threading.Barrier(65)

    def call(_: int) -> tuple[int, bytes]:
        gate.wait(20)
        return cross(desk, "stock", "stock-1", "store", "stock.count")

    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(call, each) for each in range(64)]
        gate.wait(20)
        assert house.applications.revoke("stock", "stock-1", 20)
        answers = [each.result(30) for each in calls]
    served = [number(data) for code, data in answers if code == 0]
    assert sorted(served) == list(range(1, len(served) + 1))
    assert all(answer == (FAILED, b"") for answer in answers if answer[0])


def test_case_20_a_replacement_is_used_after_it_is_registered(fleet, shop) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    call = ("stock", "stock-1", "store", "stock.count")
    assert [cross(desk, *call), cross(desk, *call)][1] == (0, b"\2\0\0\0")
    house.replace("stock", "stock-1")
    assert cross(desk, *call) == (0, b"\1\0\0\0")
    assert house.status()[0]["name"] == "front/front-1/desk"


def test_shutting_a_cell_down_leaves_its_application_refusing(fleet, shop) -> None:
    house = fleet(shop())
    desk = house.member("front", "front-1").runtime.cell("desk")
    house.shut_down("stock/stock-1/store")
    assert cross(desk, "stock", "stock-1", "store", "stock.count") == (FAILED, b"")
    house.reload("store")
    assert cross(desk, "stock", "stock-1", "store", "stock.count") == (0, b"\1\0\0\0")
    with pytest.raises(NotFound):
        house.reload("nobody")


def test_outside_of_a_host_the_call_links_and_answers_4(application, build) -> None:
    app = application({"wasm": "crossing.c", "name": "desk", "host_consumes": ["stock.count"]})
    assert cross(app.runtime.cell("desk"), "stock", "stock-1", "store", "stock.count") == (FAILED, b"")


def test_instances_share_nothing_and_have_files_of_their_own(fleet, shop) -> None:
    house = fleet(shop(stock={"instances": 2, "aliases": ["east"]}))
    desk = house.member("front", "front-1").runtime.cell("desk")
    for instance in ("east", "stock-2"):
        assert cross(desk, "stock", instance, "store", "stock.count") == (0, b"\1\0\0\0")
    east, west = (house.member("stock", name).runtime.cell("store") for name in ("east", "stock-2"))
    assert east.id != west.id
    assert str(east.spec.storage) == "stock-files/east/apps/stock/east/cells/store/primary"
    assert str(west.spec.storage) == "stock-files/stock-2/apps/stock/stock-2/cells/store/primary"


def test_a_cell_that_fails_stops_what_was_started(fleet, shop, build, tmp_path) -> None:
    path = shop()
    folders.cell(tmp_path / "front", "desk", build("kit.c"), config={"init_code": 3})
    with pytest.raises(LoadError, match="cell 'desk' failed, so nothing is started: .*pulp_init returned 3"):
        fleet(path)


HTTP = {"capabilities": ["transport.http.inbound"]}


def web(route: str) -> dict:
    return {**HTTP, "config": {"route": route}}


def test_the_gateway_takes_the_longest_prefix_and_strips_it(fleet, shop) -> None:
    routes = [
        {"path": "/", "application": "front"},
        {"path": "/stock", "application": "stock"},
        {"path": "/stock/deep", "application": "front"},
    ]
    house = fleet(shop(routes=routes, store=web("/*rest"), desk=web("/*rest")))
    with httpx.Client(base_url=house.url) as client:
        spoofed = {"X-Pulp-Application": "evil", "X-Forwarded-Prefix": "/evil"}
        assert client.get("/a/b", headers=spoofed).text == "/a/b front front-1 /"
        assert client.get("/stock/count?x=1").text == "/count stock stock-1 /stock"
        assert client.get("/stock").text == "/ stock stock-1 /stock"
        assert client.get("/stockings").text == "/stockings front front-1 /"
        assert client.get("/stock/deep/er").text == "/er front front-1 /stock/deep"
        own = house.member("stock", "stock-1").catalogue.http.url
        assert own.startswith("http://127.0.0.1:")
        assert httpx.get(f"{own}/direct").text.split() == ["/direct"]


def test_the_gateway_passes_bodies_queries_and_raw_headers(fleet, shop, build) -> None:
    house = fleet(
        shop(routes=[{"path": "/s", "application": "stock"}], store={**HTTP, "wasm": build("http.c")})
    )
    with httpx.Client(base_url=house.url) as client:
        request = codec.decode(client.post("/s/show/1/2?q=3", content=b"body").content)
        assert (request["path"], request["query"], request["body"]) == ("/show/1/2", {"q": "3"}, b"body")
        assert client.get("/s/raw").headers.get_list("set-cookie") == ["a=1", "b=2; HttpOnly"]
        assert client.head("/s/raw").content == b""
        assert client.get("/s/silent").text == "cell did not respond"


def test_websockets_pass_the_gateway(fleet, shop, build) -> None:
    from websockets.sync.client import connect

    keys = {"capabilities": ["transport.http.inbound", "transport.ws.inbound"], "wasm": build("any.c")}
    house = fleet(shop(routes=[{"path": "/s", "application": "stock"}], store=keys))
    window = Window(house.member("stock", "stock-1").runtime.cell("store"))
    assert window("ws_register", b"/ws/:room")[0] == 0
    with connect(house.url.replace("http", "ws") + "/s/ws/red") as client:
        opened = window.events("ws.open")[0]
        assert opened["path"] == "/ws/red"
        assert opened["headers"]["X-Pulp-Application"] == "stock"
        client.send("hello")
        assert window.events("ws.frame")[0]["payload"] == b"hello"
        window("ws_send", {"conn_id": opened["conn_id"], "opcode": 1, "payload": b"back"})
        assert client.recv(10) == "back"


def test_event_streams_pass_the_gateway(fleet, shop, build) -> None:
    keys = {"capabilities": ["transport.http.inbound", "transport.sse"], "wasm": build("any.c")}
    routes = [{"path": "/s", "application": "stock"}, {"path": "/", "application": "front"}]
    house = fleet(shop(routes=routes, store=keys))
    window = Window(house.member("stock", "stock-1").runtime.cell("store"))
    assert window("sse_register", b"/events/:topic")[0] == 0
    with httpx.Client(base_url=house.url, timeout=30) as client:
        with client.stream("GET", "/s/events/red") as stream:
            lines = stream.iter_lines()
            assert next(lines) == ":ok"
            assert stream.headers["content-type"] == "text/event-stream"
            for number in range(100):
                event = {"path": "/events/red", "id": str(number), "data": f"news {number}"}
                assert window("sse_emit", event)[0] == 0
                assert [next(lines) for _ in range(3)][1:] == [f"id: {number}", f"data: news {number}"]
            assert window("sse_has_subscribers", b"/events/red") == (0, b"\1\0\0\0")
        until = time.monotonic() + 10
        while window("sse_has_subscribers", b"/events/red")[1] != bytes(4):  # it is told that the client left
            window("sse_emit", {"path": "/events/red", "data": "x"})
            assert time.monotonic() < until
            time.sleep(0.01)
        with client.stream("GET", "/s/events/blue") as stream:
            house._stop(house.member("stock", "stock-1"), 1.0, 1.0)
            assert "".join(stream.iter_text()) == ":ok\n\n"
        assert client.get("/s/events/blue").status_code == 503


SPOOFED = {
    "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "1", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Prefix": "/evil",
    "x-pulp-application-instance": "evil",
}  # fmt: skip


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8, ::1", "127.0.0.1", "127.0.0.0/8"])
def test_applications_are_told_who_asked_and_not_what_clients_make_up(fleet, shop, build, trusted) -> None:
    store = {**HTTP, "wasm": build("http.c")}
    routes = [{"path": "/s", "application": "stock"}]
    house = fleet(shop(routes=routes, store=store), settings={"HTTP_TRUSTED_PROXIES": trusted})
    own = house.url.removeprefix("http://")
    with httpx.Client(base_url=house.url) as client:
        seen = codec.decode(client.get("/s/show/1/2", headers=SPOOFED).content)["headers"]
    told = {
        name: value for name, value in seen.items() if "Forwarded" in name or "Pulp" in name or "Real" in name
    }
    expected = {
        "X-Pulp-Application": "stock", "X-Pulp-Application-Instance": "stock-1", "X-Forwarded-Prefix": "/s",
        "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": own, "X-Forwarded-Proto": "http",
        "Forwarded": f'for=127.0.0.1;host="{own}";proto=http',
    }  # fmt: skip
    if trusted.startswith("127"):
        expected |= {
            "X-Forwarded-For": "6.6.6.6, 127.0.0.1", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https",
            "X-Forwarded-Prefix": "/evil/s", "Forwarded": f"for=6.6.6.6, {expected['Forwarded']}",
        }  # fmt: skip
    assert told == expected


def test_applications_behind_a_gateway_with_tls_are_told_so(fleet, shop, build, tmp_path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = {"HTTP_CERT": str(tmp_path / "cert.pem"), "HTTP_KEY": str(tmp_path / "key.pem")}
    routes = [{"path": "/s", "application": "stock"}]
    house = fleet(shop(routes=routes, store={**HTTP, "wasm": build("http.c")}), settings=settings)
    assert house.url.startswith("https://")
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    seen = codec.decode(httpx.get(f"{house.url}/s/show/1/2", verify=trust).content)["headers"]
    assert seen["X-Forwarded-Proto"] == "https"
    assert seen["Forwarded"].endswith(";proto=https")


def test_proxies_that_are_none_fail_the_start(fleet, shop) -> None:
    with pytest.raises(LoadError, match=r"HTTP_TRUSTED_PROXIES: 'nginx' does not appear to be"):
        fleet(shop(), settings={"HTTP_TRUSTED_PROXIES": "nginx"})


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ({"client": ("::1", 5), "scheme": "https"}, b'for="[::1]";host="h";proto=https'),
        ({"client": ("1.2.3.4", 5), "scheme": "wss"}, b'for=1.2.3.4;host="h";proto=https'),
        ({"scheme": "ws"}, b'for=unknown;host="h";proto=http'),
    ],
)
def test_addresses_are_written_as_the_standard_wants_them(scope, told) -> None:
    headers = dict(Forwarding().headers({**scope, "headers": [(b"host", b"h")]}))
    assert headers[b"forwarded"] == told


def test_a_host_header_cannot_break_out_of_its_quotes() -> None:
    headers = dict(Forwarding().headers({"headers": [(b"host", b'a";for=6.6.6.6;x="')]}))
    assert headers[b"forwarded"] == b'for=unknown;host="a\\";for=6.6.6.6;x=\\"";proto=http'


def test_the_gateway_tells_what_is_missing(fleet, shop) -> None:
    routes = [{"path": "/stock", "application": "stock"}, {"path": "/front", "application": "front"}]
    house = fleet(shop(routes=routes, store=web("/only")))
    with httpx.Client(base_url=house.url) as client:
        found = client.get("/nowhere")
        assert (found.status_code, found.text) == (404, "404 page not found")
        assert client.get("/stock/only").status_code == 200
        assert client.get("/stock/other").status_code == 404
        assert client.get("/front/x").status_code == 502  # it serves no HTTP
        house._stop(house.member("stock", "stock-1"), 1.0, 1.0)
        gone = client.get("/stock/only")
        assert (gone.status_code, gone.text) == (503, "application not ready")


def test_case_18_an_exact_placement_is_callable_and_the_bare_name_denied(
    application, surroundings, tmp_path, build
) -> None:
    from guesthouse.interfaces.pulp.catalogue import Catalogue
    from guesthouse.interfaces.pulp.runtime import Runtime
    from guesthouse.interfaces.pulp.spec import CellSpec

    wasm = build("kit.c")
    lead = folders.cell(tmp_path, "lead", wasm, consumes=["count"])
    worker = folders.cell(tmp_path, "worker", wasm, provides=["count"])
    path = folders.application(
        tmp_path, "shop", [lead, worker], placements=[{"cell": "worker", "instances": ["a", "b"]}]
    )
    manifest = ApplicationManifest.load(path)
    specs = [CellSpec.placed(placement, "shop") for placement in manifest.placements]
    with Runtime(
        specs, Catalogue().registry(), surroundings, storage_root=tmp_path, together=True, strict_links=True
    ) as runtime:
        caller = runtime.cell("lead")
        assert caller.call("relay", b"worker@a|count|") == b"\0\1\0\0\0"
        assert caller.call("relay", b"worker@a|count|") == b"\0\2\0\0\0"
        assert caller.call("relay", b"worker@b|count|") == b"\0\1\0\0\0"
        assert caller.call("relay", b"worker|count|") == b"\x0b"
        assert caller.call("relay", b"worker@c|count|") == b"\x04"
        assert caller.call("relay", b"worker@a|reverse|x") == b"\x0b"
        assert [row["name"] for row in runtime.status()] == ["lead", "worker@a", "worker@b"]


class Recorder:
    """A capability of a third party that notes its life."""

    def __init__(self, **more) -> None:
        self.log: list[tuple[str, str]] = []
        self.environment = None
        self.waiting: list[Event] = []
        hooks = {
            "setup": self.setup,
            "attach": lambda cell: self.log.append(("attach", cell.id)),
            "release": lambda cell: self.log.append(("release", cell.id)),
            "poll": lambda: self.waiting.pop() if self.waiting else None,
            "finalize": lambda number: self.log.append(("finalize", str(number))),
            "teardown": lambda: self.log.append(("teardown", "")),
        }
        hooks |= more
        self.capability = capability(
            "acme.recorder", provider="acme", **{name: hook for name, hook in hooks.items() if hook}
        )

    def setup(self, environment) -> None:
        self.environment = environment
        self.log.append(("setup", ""))

    def add(self, registry: guesthouse.Registry) -> guesthouse.Registry:
        return registry.gated(self.capability)


def recorded(shop, **stock):
    return shop(stock=stock, store={"capabilities": ["acme.recorder"]})


def test_case_21_scoped_teardown_gets_the_routing_id_of_each_cell(fleet, shop) -> None:
    recorder = Recorder()
    house = fleet(recorded(shop, instances=2), registered=recorder.add)
    ids = [f"pulp-scope/v1/5:stock|7:stock-{n}|5:store|7:primary" for n in (1, 2)]
    assert recorder.log == [("setup", ""), ("attach", ids[0]), ("attach", ids[1])]
    recorder.waiting.append(Event("x", b"\1", ids[1], id=7))
    until = time.monotonic() + 10
    while ("finalize", "7") not in recorder.log and time.monotonic() < until:
        time.sleep(0.005)
    assert recorder.log.count(("finalize", "7")) == 1
    assert recorder.environment.emit(Event("x", b"\1", "nobody", id=8)) is Posted.GONE
    house.replace("stock", "stock-1")
    assert recorder.log[-2:] == [("release", ids[0]), ("attach", ids[0])]
    house.stop()
    assert recorder.log[-3:] == [("release", ids[0]), ("release", ids[1]), ("teardown", "")]


def test_capabilities_of_strangers_know_the_hosts_applications(fleet, shop) -> None:
    recorder = Recorder()
    path = recorded(shop, instances=2)
    house = fleet(path, registered=recorder.add)
    environment = recorder.environment
    assert (environment.cell_name, dict(environment.config), environment.scope) == ("", {}, None)
    assert environment.http_port == 0
    assert environment.storage_namespaces == {"front": "front-files", "stock": "stock-files"}
    assert environment.endpoints == {}  # nobody serves HTTP
    environment.logger.info("said by a stranger", number=1)
    house.stop()
    web = {"capabilities": ["acme.recorder", "transport.http.inbound"], "config": {"route": "/*rest"}}
    recorder = Recorder()
    house = fleet(shop(store=web), registered=recorder.add)
    (name, url), *_ = recorder.environment.endpoints.items()
    assert name == "stock/stock-1"
    assert httpx.get(f"{url}/direct").text.split() == ["/direct"]


def test_case_21_a_legacy_cell_is_torn_down_under_its_bare_name(application) -> None:
    recorder = Recorder()
    app = application({"wasm": "kit.c", "name": "kit", "capabilities": ["acme.recorder"]}, run=False)
    recorder.add(app.runtime.registry)
    app.runtime.start()
    app.runtime.shut_down("kit")
    assert recorder.log == [("setup", ""), ("attach", "kit"), ("release", "kit")]


def test_case_21_without_scoped_teardown_several_instances_are_refused(fleet, shop) -> None:
    recorder = Recorder(release=None)
    assert not lets_go(recorder.capability)
    with pytest.raises(LoadError, match="'acme.recorder' cannot let go of one cell.*2 instances"):
        fleet(recorded(shop, instances=2), registered=recorder.add)
    fleet(recorded(shop), registered=recorder.add)
