"""Clients that mean harm: none of them reaches a cell twice, holds memory, or keeps others out (spec/pulp.md 3.4)."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
import time

import httpx
import pytest
from tests.pulp import folders
from tests.pulp.test_up import up  # noqa: F401 - a fixture
from tests.pulp.test_up_applications import ctl

from guesthouse.interfaces.pulp.http import site

HTTP = {"capabilities": ["transport.http.inbound"]}
GET = b"GET /show/a/b HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /show/a/b HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.fixture
def web(application):
    app = application({**HTTP, "wasm": "http.c", "name": "web"})
    with httpx.Client(base_url=app.url, timeout=20) as client:
        client.app = app
        client.address = client.base_url.host, client.base_url.port
        yield client
        assert client.get("/show/a/b").status_code == 200
        assert app.runtime.status()[0]["restarts"] == 0


def steps(web) -> int:
    """How many requests have reached the cell."""
    return next(web.app.http._ids)


def ask(web, raw: bytes, seconds: float = 5) -> bytes:
    """Send bytes and return everything that comes back."""
    answer = b""
    with socket.create_connection(web.address, timeout=seconds) as client, contextlib.suppress(OSError):
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    "raw",
    [
        # what two servers in a row may read differently
        POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\nGET /show/smuggled/x HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\nGET /show/smuggled/x HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        POST + b"Content-Length: 1, 2\r\n\r\nab",
        POST + b"Content-Length: +1\r\n\r\na",
        POST + b"Content-Length: 0x1\r\n\r\na",
        POST + b"Content-Length: 1_0\r\n\r\n0123456789",
        POST + b"Content-Length: 99999999999999999999\r\n\r\na",
        POST + b"Content-Length:\r\n\r\na",
        POST + b" Content-Length: 5\r\n\r\nabcde",
        POST + b"X: a\r\n Content-Length: 5\r\n\r\nabcde",
        # bodies in pieces that are none
        POST + CHUNKED + b"\r\nzz\r\nab\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\n-1\r\nab\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\nffffffffffffffffff\r\nab\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\n2\r\nabc\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\n2;" + b"x" * 100_000 + b"\r\nab\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\n2\r\nab\r\n0\r\n" + b"Trailer: x\r\n" * 10_000 + b"\r\n",
    ],
)  # fmt: skip
def test_bodies_whose_end_is_unclear_reach_no_cell_twice(web, raw) -> None:
    before = steps(web)
    answer = ask(web, raw)
    assert b"smuggled" not in answer
    assert steps(web) - before - 1 <= 1
    assert answer.count(b"HTTP/1.1 ") <= 2


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\0", b"\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1",
        b"G\xc3\x89T /show/a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /show/a/b\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /show/a b/c HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET show/a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //evil/show/a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /show/a/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /show/%00/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /show/a/b?" + b"a=b&" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"TRACE /show/a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        GET + b"Host: y\r\n\r\n", b"GET /show/a/b HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"GET /show/a/b HTTP/1.1\r\nHost: a b\r\n\r\n",
        GET + b"Bad Name: x\r\n\r\n", GET + b": x\r\n\r\n", GET + b"X\0: x\r\n\r\n", GET + b"X: a\0b\r\n\r\n",
        GET + b"X: a\rb\r\n\r\n", GET + b"X\r\n\r\n", GET + b"X: \xff\xfe\r\n\r\n",
        GET + b"X: x\r\n" * 50_000 + b"\r\n", GET + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        GET + b"Cookie: " + b"a=b; " * 20_000 + b"\r\n\r\n",
        GET + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", GET + b"Expect: magic\r\n\r\n",
        GET + b"Connection: " + b"x, " * 10_000 + b"\r\n\r\n", GET + b"Accept-Encoding: \x7f\r\n\r\n",
        GET + UPGRADE + b"\r\n", GET + UPGRADE + b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
        GET + UPGRADE + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 99\r\n\r\n",
        GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
)  # fmt: skip
def test_requests_that_are_none_harm_nobody(web, raw) -> None:
    answer = ask(web, raw)
    assert answer == b"" or answer.startswith((b"HTTP/1.", b"\0\0"))


def test_clients_that_never_finish_their_headers_keep_nobody_out(web) -> None:
    slow = [socket.create_connection(web.address, timeout=5) for _ in range(200)]
    try:
        for number, client in enumerate(slow):
            client.sendall(GET[: number % len(GET)])
        for _ in range(20):
            assert web.get("/show/a/b").status_code == 200
    finally:
        for client in slow:
            client.close()


def test_clients_that_send_their_bodies_slowly_keep_nobody_out_and_are_let_go(web, monkeypatch) -> None:
    monkeypatch.setattr(site, "BODY_SECONDS", 1.0)
    slow = [socket.create_connection(web.address, timeout=20) for _ in range(100)]
    try:
        for client in slow:
            client.sendall(POST + b"Content-Length: 1000\r\n\r\nx")
        for _ in range(20):
            assert web.get("/show/a/b").status_code == 200
        assert all(b" 408 " in client.recv(4096) for client in slow)
    finally:
        for client in slow:
            client.close()


def test_clients_that_do_not_read_their_answers_keep_nobody_out(web) -> None:
    slow = [socket.create_connection(web.address, timeout=20) for _ in range(30)]
    body = bytes(2 << 20)
    try:
        for client in slow:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(20):
            assert web.get("/show/a/b").status_code == 200
    finally:
        for client in slow:
            client.close()


def test_all_bodies_together_take_bounded_room(web, monkeypatch) -> None:
    monkeypatch.setattr(site, "BODIES_LIMIT", 3 << 20)
    held = [socket.create_connection(web.address, timeout=20) for _ in range(3)]
    listener = web.app.http.site
    try:
        for client in held:
            client.sendall(POST + b"Content-Length: 1048576\r\n\r\n" + bytes((1 << 20) - 1))
        until = time.monotonic() + 10
        while listener._held < 3 * (1 << 20) - 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert web.post("/show/a/b", content=bytes(1000)).status_code == 503
        assert web.get("/show/a/b").status_code == 200
        for client in held:
            client.sendall(b"x")
            assert b" 200 " in client.recv(4096)
    finally:
        for client in held:
            client.close()
    until = time.monotonic() + 10
    while listener._held:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert web.post("/show/a/b", content=bytes(1000)).status_code == 200


def test_a_flood_of_connections_that_are_dropped_at_once(web) -> None:
    def flood() -> None:
        for number in range(200):
            with socket.create_connection(web.address, timeout=5) as client:
                client.sendall((POST + b"Content-Length: 10\r\n\r\n123")[: number % 60])

    floods = [threading.Thread(target=flood) for _ in range(4)]
    for each in floods:
        each.start()
    while any(each.is_alive() for each in floods):
        assert web.get("/show/a/b").status_code == 200
    for each in floods:
        each.join()


def test_idle_connections_leave_descriptors_for_the_rest(up, tmp_path, build) -> None:  # noqa: F811
    path = folders.cell(
        tmp_path, "any", build("any.c"), capabilities=["transport.http.inbound", "storage.fs"]
    )
    process = up(path, folders.cell(tmp_path, "echo", build("echo.c"), **HTTP))
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (128, 128))
    port = int(process.wait_for(r'msg="http server started" addr=127\.0\.0\.1:(\d+)'))
    process.wait_for("serving at")
    idle = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(300)]
    try:
        time.sleep(0.5)
        code, told = ask_control(tmp_path)
        assert (code, {row["state"] for row in told["cells"]}) == (0, {"ready"})
    finally:
        for client in idle:
            client.close()
    assert httpx.get(f"http://127.0.0.1:{port}/echo/word", timeout=20).text == "word"
    assert "Too many open files" not in process.log.read_text()


def ask_control(folder) -> tuple[int, dict]:
    """Ask the running host for its status, which takes a few descriptors."""
    code, out = ctl(folder, "status", "--json")
    return code, json.loads(out)
