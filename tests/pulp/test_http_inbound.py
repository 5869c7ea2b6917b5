"""Inbound HTTP over real sockets (spec/pulp.md 3.4, acceptance cases 2 and 23)."""

from __future__ import annotations

import gc
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.errors import MESSAGE_LIMIT
from guesthouse.interfaces.pulp.http import inbound, site

HTTP = {"capabilities": ["transport.http.inbound"]}


@pytest.fixture
def web(application):
    app = application({**HTTP, "wasm": "http.c", "name": "web"}, {**HTTP, "wasm": "echo.c", "name": "echo"})
    with httpx.Client(base_url=app.url, timeout=20) as client:
        client.app = app
        yield client


@pytest.mark.parametrize("guest", ["echo.c", "goecho"])
def test_case_02_echo_returns_the_capture_the_body_and_404(application, guest) -> None:
    app = application({**HTTP, "wasm": guest})
    with httpx.Client(base_url=app.url) as client:
        got = client.get("/echo/hello%20there?x=1")
        assert (got.status_code, got.text) == (200, "hello there")
        assert got.headers["content-type"] == "text/plain"
        body = bytes(range(256)) * 300
        assert client.post("/echo", content=body).content == body
        missing = client.get("/nowhere")
        assert (missing.status_code, missing.text) == (404, "404 page not found")
        assert missing.headers["content-type"] == "text/plain"
        assert client.put("/echo").status_code == 404


def test_a_cell_sees_the_whole_request(web) -> None:
    sent = [("X-Twice", "1"), ("x-twice", "2"), ("x-lower-CASE", "v"), ("Content-Type", "a/b")]
    got = web.post("/show/one/tw%2Fo?q=1&q=2&empty=&sp=a+b%20c", headers=sent, content=b"\0body")
    # An encoded slash separates segments, as in Go's decoded path: this is another, longer path.
    assert got.status_code == 404
    got = web.post("/show/one/tw%C3%B6?q=1&q=2&empty=&sp=a+b%20c", headers=sent, content=b"\0body")
    request = codec.decode(got.content)
    assert list(request) == ["id", "method", "path", "params", "query", "headers", "body", "remote_addr"]
    assert request["method"] == "POST"
    assert request["path"] == "/show/one/twö"
    assert request["params"] == {"a": "one", "b": "twö"}
    assert request["query"] == {"q": "1", "empty": "", "sp": "a b c"}
    assert request["headers"]["X-Twice"] == "1"
    assert request["headers"]["X-Lower-Case"] == "v"
    assert request["headers"]["Content-Type"] == "a/b"
    assert "Host" not in request["headers"]
    assert request["body"] == b"\0body"
    assert request["remote_addr"].startswith("127.0.0.1:")


def test_a_catch_all_takes_the_rest(web) -> None:
    assert codec.decode(web.get("/files/a/b/c.txt").content)["params"] == {"rest": "a/b/c.txt"}
    assert codec.decode(web.get("/files/").content)["params"] == {"rest": ""}


def test_a_request_that_its_step_leaves_open_is_500(web) -> None:
    got = web.get("/silent")
    assert (got.status_code, got.text) == (500, "cell did not respond")
    assert web.get("/wrong").status_code == 500
    assert web.get("/twice").text == "1"


def test_a_crash_is_500_and_the_next_request_meets_a_fresh_cell(web) -> None:
    got = web.get("/trap")
    assert (got.status_code, got.text) == (500, "cell did not respond")
    assert web.get("/show/a/b").status_code == 200


def test_broken_reply_headers_break_nothing(web) -> None:
    got = web.get("/raw")
    assert (got.status_code, got.text) == (200, "text, not bin")
    assert got.headers["x-split"] == "a Injected: yes"
    assert got.headers["x-fine"] == "yes"
    assert "injected" not in got.headers
    assert "bad name" not in got.headers
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2; HttpOnly"]
    head = web.head("/raw")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("given", "seen"), [(201, 201), (404, 404), (0, 200), (99, 500), (1000, 500), (150, 500)]
)
def test_status_codes(web, given, seen) -> None:
    assert web.get(f"/status/{given}").status_code == seen


@pytest.mark.parametrize("status", [204, 304])
def test_replies_without_body_by_rule(web, status) -> None:
    got = web.get(f"/status/{status}")
    assert (got.status_code, got.content) == (status, b"")
    assert web.get("/show/a/b").status_code == 200


def test_case_23_two_cells_on_one_listener_keep_routes_apart(web) -> None:
    assert web.get("/echo/word").text == "word"
    web.app.runtime.shut_down("echo")
    assert web.get("/echo/word").status_code == 404
    assert web.get("/show/a/b").status_code == 200
    web.app.runtime.reload("echo")
    assert web.get("/echo/word").text == "word"


def test_a_route_of_another_cell_cannot_be_taken(application) -> None:
    app = application(
        {**HTTP, "wasm": "echo.c", "name": "first"},
        {
            **HTTP,
            "wasm": "http.c",
            "name": "second",
            "config": {"route": "/echo/:else"},
            "depends_on": ["first"],
        },
    )
    second = app.runtime.status()[1]
    assert second["state"] == "failed"
    assert "pulp_init returned 4" in second["error"]


def test_undeclared_http_is_99(application) -> None:
    app = application({"wasm": "echo.c", "name": "plain"}, {"wasm": "kit.c", "name": "other"})
    assert "pulp_init returned 1" in app.runtime.status()[0]["error"]


def test_an_address_of_its_own(application) -> None:
    app = application(
        {**HTTP, "wasm": "http.c", "name": "own", "config": {"listen": "127.0.0.1:0"}},
        {**HTTP, "wasm": "echo.c", "name": "shared"},
    )
    urls = app.http.urls
    assert httpx.get(f"{urls['127.0.0.1:0']}/show/a/b").status_code == 200
    assert httpx.get(f"{urls['127.0.0.1:0']}/echo/a").status_code == 404
    assert httpx.get(f"{app.url}/echo/a").text == "a"
    assert httpx.get(f"{app.url}/show/a/b").status_code == 404


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "127.0.0.1:none", "noport", "a.example:80"]
)
def test_a_cell_cannot_listen_beyond_loopback_nor_at_nonsense(application, address) -> None:
    app = application(
        {**HTTP, "wasm": "http.c", "name": "bold", "config": {"listen": address}},
        {"wasm": "kit.c", "name": "other"},
    )
    assert "pulp_init returned 105" in app.runtime.status()[0]["error"]


def test_the_operator_opens_other_addresses(application) -> None:
    app = application({**HTTP, "wasm": "echo.c"}, settings={"HTTP_HOST": "0.0.0.0"})
    assert app.url.startswith("http://0.0.0.0:")


def test_a_full_queue_is_503_and_a_late_reply_504(web, monkeypatch) -> None:
    cell = web.app.runtime.cell("web")
    cell._turn.take()
    try:
        monkeypatch.setattr(inbound, "REPLY_SECONDS", 0.5)
        with ThreadPoolExecutor(80) as pool:
            replies = list(pool.map(lambda _: httpx.get(f"{web.base_url}/show/a/b", timeout=20), range(80)))
    finally:
        cell._turn.release()
    seen = [(reply.status_code, reply.text) for reply in replies]
    assert seen.count((504, "cell timeout")) in (64, 65)
    assert seen.count((503, "queue full")) == 80 - seen.count((504, "cell timeout"))
    assert web.get("/show/a/b").status_code == 200


def test_requests_under_way_when_the_cell_is_torn_down_are_503(web) -> None:
    cell = web.app.runtime.cell("web")
    cell._turn.take()
    replies = []
    clients = [
        threading.Thread(target=lambda: replies.append(httpx.get(f"{web.base_url}/show/a/b")))
        for _ in range(3)
    ]
    for client in clients:
        client.start()
    while len(web.app.runtime.units["web"].mailbox) < 2:
        time.sleep(0.005)
    stopping = threading.Thread(target=lambda: web.app.runtime.shut_down("web"))
    stopping.start()
    time.sleep(0.1)
    cell._turn.release()
    stopping.join(10)
    for client in clients:
        client.join(10)
    assert {reply.status_code for reply in replies} <= {200, 500, 503}
    assert len(replies) == 3
    assert web.get("/show/a/b").status_code == 404


def test_a_large_body_is_413(web, monkeypatch) -> None:
    monkeypatch.setattr(site, "BODY_LIMIT", 1 << 20)
    assert web.post("/show/a/b", content=bytes(1 << 20)).status_code == 200

    def chunks():
        for _ in range(20):
            yield bytes(1 << 16)

    for body in (bytes((1 << 20) + 1), chunks()):
        try:
            assert httpx.post(f"{web.base_url}/show/a/b", content=body).status_code == 413
        except httpx.TransportError:
            pass  # the server may close while the client still sends
    # On a connection of its own: the server closes one whose request it did not read to the end.
    assert httpx.get(f"{web.base_url}/show/a/b").status_code == 200


def test_the_largest_body_that_a_cell_can_be_handed_arrives_and_more_is_413(web) -> None:
    most = MESSAGE_LIMIT - 1000
    got = web.post("/show/a/b", content=bytes(most))
    assert (got.status_code, len(codec.decode(got.content)["body"])) == (200, most)
    assert httpx.post(f"{web.base_url}/show/a/b", content=bytes(MESSAGE_LIMIT - 10)).status_code == 413
    assert web.app.runtime.units["web"].restarts == 0


def test_a_client_that_never_finishes_its_body_is_let_go(web, monkeypatch) -> None:
    monkeypatch.setattr(site, "BODY_SECONDS", 0.2)
    address = (web.base_url.host, web.base_url.port)
    with socket.create_connection(address, timeout=10) as slow:
        slow.sendall(b"POST /show/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        assert b" 408 " in slow.recv(4096)
    assert web.get("/show/a/b").status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /show/a/b HTTP/1.1\r\n\r\n",
        b"GET /show/a/b HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"GET /show/a/b HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /show/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /show/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /show/%ff/%zz HTTP/1.1\r\nHost: x\r\nX-Latin: \xe9\r\n\r\n",
        b"GET /show/a/b?%ff=%zz&&=&;=; HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1/show HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_broken_requests_harm_nobody(web, raw) -> None:
    with socket.create_connection((web.base_url.host, web.base_url.port), timeout=5) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert web.get("/show/a/b").status_code == 200


def test_tls(application, tmp_path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
    ]
    try:
        subprocess.run(
            [
                *(*command, "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(cert)),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    app = application({**HTTP, "wasm": "echo.c"}, settings={"HTTP_CERT": str(cert), "HTTP_KEY": str(key)})
    assert app.url.startswith("https://")
    assert httpx.get(f"{app.url}/echo/safe", verify=ssl.create_default_context(cafile=cert)).text == "safe"


def test_a_port_is_free_again_after_the_runtime_stopped_and_no_descriptor_is_left(application) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    table = {**HTTP, "wasm": "echo.c"}
    app = application(table)
    port = app.url.rpartition(":")[2]
    httpx.get(f"{app.url}/echo/a")
    app.runtime.stop()
    gc.collect()
    before = descriptors()
    for _ in range(5):
        app = application(table, settings={"HTTP_PORT": port})
        assert httpx.get(f"http://127.0.0.1:{port}/echo/a").text == "a"
        app.runtime.stop()
    gc.collect()
    assert descriptors() <= before + 1
