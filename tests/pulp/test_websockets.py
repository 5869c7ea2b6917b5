"""WebSockets in and out (spec/pulp.md 3.6, 3.11)."""

from __future__ import annotations

import resource
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from tests.pulp.conftest import Window
from tests.pulp.servers import Server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

IN = ("transport.http.inbound", "transport.ws.inbound")


@pytest.fixture
def sockets(window):
    opened = window(*IN)
    assert opened("ws_register", b"/ws/:room")[0] == 0
    opened.url = opened.app.url.replace("http", "ws")
    return opened


def test_open_frames_and_close_in_both_directions(sockets) -> None:
    with connect(f"{sockets.url}/ws/blue?x=1&x=2", additional_headers={"X-Mine": "v"}) as client:
        (opened,) = sockets.events("ws.open")
        assert opened["path"] == "/ws/blue"
        assert opened["query"] == {"x": "1"}
        assert opened["headers"]["X-Mine"] == "v"
        number = opened["conn_id"]
        client.send("text é")
        client.send(b"\0binary")
        frames = sockets.events("ws.frame", 2)
        assert [(frame["opcode"], frame["payload"]) for frame in frames] == [
            (1, "text é".encode()),
            (2, b"\0binary"),
        ]
        assert {frame["conn_id"] for frame in frames} == {number}
        assert sockets("ws_send", {"conn_id": number, "opcode": 1, "payload": b"hi"})[0] == 0
        assert sockets("ws_send", {"conn_id": number, "opcode": 2, "payload": b"\0\1"})[0] == 0
        assert [client.recv(5), client.recv(5)] == ["hi", b"\0\1"]
        client.close(4321, "enough")
    (closed,) = sockets.events("ws.close")
    assert (closed["conn_id"], closed["code"]) == (number, 4321)
    assert sockets("ws_send", {"conn_id": number, "opcode": 1, "payload": b"x"})[0] == 4


def test_numbers_of_connections_have_the_width_that_cells_expect(sockets) -> None:
    with connect(f"{sockets.url}/ws/a"):
        until = time.monotonic() + 10
        while not (found := sockets("events"))[0] and time.monotonic() < until:
            time.sleep(0.005)
    assert b"\xa7conn_id\xcf" in found[1]


@pytest.mark.parametrize(("given", "seen"), [(0, 1000), (4001, 4001)])
def test_a_cell_closes_with_its_code(sockets, given, seen) -> None:
    with connect(f"{sockets.url}/ws/a") as client:
        number = sockets.events("ws.open")[0]["conn_id"]
        assert sockets("ws_close", {"conn_id": number, "code": given, "reason": "bye"})[0] == 0
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (seen, "bye")
    assert sockets.events("ws.close")[0]["code"] == seen
    assert sockets("ws_close", {"conn_id": number})[0] == 4


def test_codes(sockets) -> None:
    assert sockets("ws_register", b"")[0] == 1
    assert sockets("ws_register", b"no-slash")[0] == 4
    assert sockets("ws_register", b"/ws/:room")[0] == 0
    assert sockets("ws_send", {"conn_id": 99, "opcode": 1})[0] == 4
    with connect(f"{sockets.url}/ws/a"):
        number = sockets.events("ws.open")[0]["conn_id"]
        for opcode in (0, 3, 8, 9):
            assert sockets("ws_send", {"conn_id": number, "opcode": opcode, "payload": b""})[0] == 4


def test_an_unknown_path_and_a_foreign_origin_are_refused(sockets) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"{sockets.url}/elsewhere").close()
    with pytest.raises(InvalidStatus):
        connect(f"{sockets.url}/ws/a", origin="http://evil.example").close()
    own = sockets.app.url
    with connect(f"{sockets.url}/ws/a", origin=own):
        assert sockets.events("ws.open")


def test_connections_are_a_cells_own_and_end_with_it(application) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": list(IN)} for name in ("a", "b")]
    app = application(*tables)
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    a("ws_register", b"/a")
    assert b("ws_register", b"/a")[0] == 4
    with connect(app.url.replace("http", "ws") + "/a") as client:
        number = a.events("ws.open")[0]["conn_id"]
        assert b("ws_send", {"conn_id": number, "opcode": 1, "payload": b"x"})[0] == 4
        assert b("ws_close", {"conn_id": number})[0] == 4
        app.runtime.shut_down("a")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
        assert caught.value.rcvd.code == 1001


def test_a_cell_that_is_behind_loses_no_frames(sockets, caplog) -> None:
    with connect(f"{sockets.url}/ws/a") as client:
        sockets.events("ws.open")
        sockets.cell._turn.take()
        try:
            sender = threading.Thread(target=lambda: [client.send(f"{number}") for number in range(500)])
            sender.start()
            time.sleep(0.3)
        finally:
            sockets.cell._turn.release()
        frames = sockets.events("ws.frame", 500, 20)
        sender.join(10)
    assert [int(frame["payload"]) for frame in frames] == list(range(500))
    assert sockets.app.runtime.status()[0]["dropped"] == 0  # waiting is no loss, and is not told as one
    assert "event dropped" not in caplog.text


def test_a_client_that_does_not_read_is_disconnected_and_harms_nobody(sockets, monkeypatch) -> None:
    from guesthouse.interfaces.pulp.http import websockets

    monkeypatch.setattr(websockets, "OUTGOING", 8)
    with connect(f"{sockets.url}/ws/slow", max_queue=1, close_timeout=0.1):
        number = sockets.events("ws.open")[0]["conn_id"]
        block = {"conn_id": number, "opcode": 2, "payload": bytes(1 << 20)}
        codes = [sockets("ws_send", block)[0] for _ in range(60)]
        assert 4 in codes
        with connect(f"{sockets.url}/ws/fine") as fine:
            other = sockets.events("ws.open")[0]["conn_id"]
            sockets("ws_send", {"conn_id": other, "opcode": 1, "payload": b"still here"})
            assert fine.recv(5) == "still here"


def test_what_waits_for_clients_is_bounded_in_bytes_too(sockets, monkeypatch) -> None:
    from guesthouse.interfaces.pulp.http import websockets

    extension = next(each for each in sockets.app.catalogue.gated if each.name == "transport.ws.inbound")
    monkeypatch.setattr(websockets, "OUTGOING_BYTES", 6 << 20)
    monkeypatch.setattr(websockets, "CELL_BYTES", 8 << 20)
    block = bytes(1 << 20)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connect(f"{sockets.url}/ws/slow", max_queue=1, close_timeout=0.1))
        one, two = (opened["conn_id"] for opened in sockets.events("ws.open", 2))
        with connect(f"{sockets.url}/ws/fine", max_size=None) as fine:
            number = sockets.events("ws.open")[0]["conn_id"]
            assert sockets("ws_send", {"conn_id": number, "opcode": 2, "payload": bytes(7 << 20)})[0] == 0
            assert len(fine.recv(20)) == 7 << 20  # one large message alone is fine
        while sockets("ws_send", {"conn_id": one, "opcode": 2, "payload": block})[0] == 0:
            assert sum(extension._waiting_bytes.values()) <= 8 << 20
        while sockets("ws_send", {"conn_id": two, "opcode": 2, "payload": block})[0] == 0:
            assert sum(extension._waiting_bytes.values()) <= 8 << 20
        assert sockets.app.runtime.status()[0]["drops"]["transport.ws.inbound.slow_clients"] >= 1
    until = time.monotonic() + 10
    while extension._waiting_bytes:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_many_idle_connections(sockets) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(1000, (soft - 200) // 2)
    if wanted < 100:
        pytest.skip(f"only {soft} descriptors are allowed here")
    import socket

    address = sockets.app.url.removeprefix("http://").split(":")
    head = (
        b"GET /ws/idle HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    clients = []
    try:
        for _ in range(wanted):
            client = socket.create_connection((address[0], int(address[1])), timeout=10)
            clients.append(client)
            client.sendall(head)
            assert client.recv(4096).startswith(b"HTTP/1.1 101")
        sockets.events("ws.open", wanted, 30)
        with connect(f"{sockets.url}/ws/busy") as busy:
            number = sockets.events("ws.open")[0]["conn_id"]
            sockets("ws_send", {"conn_id": number, "opcode": 1, "payload": b"quick"})
            assert busy.recv(2) == "quick"
    finally:
        for client in clients:
            client.close()


def test_without_inbound_http_a_path_cannot_be_registered(window) -> None:
    assert window("transport.ws.inbound")("ws_register", b"/ws")[0] == 99


# -- outbound


@pytest.fixture
def server():
    seen = []

    def handle(connection) -> None:
        seen.append(dict(connection.request.headers))
        for message in connection:
            if message == "bye":
                connection.close()
                return
            connection.send(message)

    with serve(handle, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        running.seen = seen
        running.url = f"ws://127.0.0.1:{running.socket.getsockname()[1]}"
        yield running
        running.shutdown()
        thread.join(5)


@pytest.fixture
def dialler(window):
    return window("transport.ws.outbound", settings={"HTTP_FETCH_ALLOW": "127.0.0.0/8"})


def test_a_cell_dials_sends_receives_and_closes(dialler, server) -> None:
    code, dialled = dialler.wsout_dial({"url": server.url, "headers": {"X-Mine": "1"}})
    assert code == 0
    number = dialled["conn_id"]
    assert dialler("wsout_send", number, b"hello")[0] == 0
    assert dialler("wsout_send", number, b"\xff\0")[0] == 0
    frames = dialler.events("wsout.frame", 2)
    assert [frame["data"] for frame in frames] == [b"hello", b"\xff\0"]
    assert {name.lower(): value for name, value in server.seen[0].items()}["x-mine"] == "1"
    assert {frame["conn_id"] for frame in frames} == {number}
    assert dialler("wsout_close", number)[0] == 0
    assert dialler("wsout_close", number)[0] == 6
    assert dialler("wsout_send", number, b"x")[0] == 6


def test_a_connection_that_the_server_ends_is_no_session_any_more(dialler, server) -> None:
    number = dialler.wsout_dial({"url": server.url})[1]["conn_id"]
    dialler("wsout_send", number, b"bye")
    until = time.monotonic() + 5
    while dialler("wsout_send", number, b"x")[0] != 6:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    "url", ["", "http://x/", "ws://", "ws://no.such.host.invalid/", "ws://127.0.0.1:1/", "ws://[::1"]
)
def test_what_cannot_be_dialled_is_4(dialler, url) -> None:
    assert dialler.wsout_dial({"url": url}) == (4, None)


def test_dialling_obeys_the_egress_guard(window, server) -> None:
    assert window("transport.ws.outbound").wsout_dial({"url": server.url}) == (4, None)
    assert not server.seen


@pytest.mark.parametrize(
    "target",
    ["ws://169.254.169.254/", "ws://localhost:{port}/echo", "/echo", "http://[::1]/", "file:///etc/passwd"],
)
def test_dialling_follows_no_redirect(window, target) -> None:
    with Server() as origin:
        dialler = window("transport.ws.outbound", settings={"HTTP_FETCH_ALLOW": f"127.0.0.1:{origin.port}"})
        url = f"{origin.url}/redirect?{target.format(port=origin.port)}".replace("http://127", "ws://127", 1)
        started = time.monotonic()
        assert dialler.wsout_dial({"url": url}) == (4, None)
        assert time.monotonic() - started < 8


def test_frames_from_a_server_are_bounded(window) -> None:
    def flood(connection) -> None:
        with suppress(ConnectionClosed):
            connection.send(bytes(9 << 20))
            connection.recv()

    with serve(flood, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        dialler = window("transport.ws.outbound", settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})
        url = f"ws://127.0.0.1:{running.socket.getsockname()[1]}"
        number = dialler.wsout_dial({"url": url})[1]["conn_id"]
        until = time.monotonic() + 20
        while dialler("wsout_send", number, b"x")[0] != 6:
            assert time.monotonic() < until
            time.sleep(0.01)
        running.shutdown()
        thread.join(5)
