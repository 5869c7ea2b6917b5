"""Fetches and the egress guard (spec/pulp.md 3.5, acceptance case 23)."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import httpx
import pytest
from tests.pulp.conftest import Window
from tests.pulp.servers import Server

from guesthouse.interfaces.pulp.http import egress, outbound
from guesthouse.testing.guests import wat

OUT = "transport.http.outbound"


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def fetcher(window, server):
    return window(OUT, settings={"HTTP_FETCH_ALLOW": f"127.0.0.1:{server.port}"})


def test_case_23_a_fetch_brings_status_headers_and_body(fetcher, server) -> None:
    request = {"method": "post", "url": f"{server.url}/echo", "headers": {"x-mine": "1"}, "body": b"\0body"}
    code, reply = fetcher.http_fetch(request)
    assert code == 0
    assert (reply["id"], reply["status"]) == (0, 200)
    assert reply["headers"]["Set-Cookie"] == "a=1\nb=2"
    assert reply["headers"]["X-Lower"] == "v"
    assert reply["body"].startswith(b"POST /echo")
    assert b"X-Mine: 1" in reply["body"]
    assert reply["body"].endswith(b"\n\n\0body")


def test_the_method_is_get_by_default_and_errors_have_bodies_too(fetcher, server) -> None:
    assert fetcher.http_fetch({"url": f"{server.url}/echo"})[1]["body"].startswith(b"GET /echo")
    code, reply = fetcher.http_fetch({"url": f"{server.url}/nowhere"})
    assert (code, reply["status"], reply["body"]) == (0, 404, b"missing")


def test_compression_is_undone_unless_the_cell_asked_for_it(fetcher, server) -> None:
    _, reply = fetcher.http_fetch({"url": f"{server.url}/gzip"})
    assert reply["body"] == b"squeezed" * 100
    assert "Content-Encoding" not in reply["headers"]
    _, reply = fetcher.http_fetch({"url": f"{server.url}/gzip", "headers": {"accept-encoding": "gzip"}})
    assert reply["headers"]["Content-Encoding"] == "gzip"
    assert reply["body"][:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "/relative",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://no.such.host.invalid/",
        "http://127.0.0.1:1/",
        "http://a b/",
    ],
)
def test_what_cannot_be_fetched_is_code_4(fetcher, url) -> None:
    assert fetcher.http_fetch({"url": url}) == (4, None)


def test_malformed_requests_have_their_codes(fetcher) -> None:
    assert fetcher("http_fetch", b"")[0] == 1
    assert fetcher("http_fetch", b"\xc1")[0] == 3
    assert fetcher("http_fetch", 0xFFFFFFF0, 64)[0] == 2


def test_a_body_beyond_the_limit_is_an_error_not_a_part(fetcher, server, monkeypatch) -> None:
    monkeypatch.setattr(outbound, "BODY_LIMIT", 1000)
    assert fetcher.http_fetch({"url": f"{server.url}/large?1000"})[0] == 0
    assert fetcher.http_fetch({"url": f"{server.url}/large?1001"}) == (4, None)
    assert fetcher.http_fetch({"url": f"{server.url}/gzip"})[0] == 0


def test_a_fetch_has_one_deadline_for_all_of_it(fetcher, server) -> None:
    for path in ("slow?5", "drip?100,0.05"):
        started = time.monotonic()
        assert fetcher.http_fetch({"url": f"{server.url}/{path}", "timeout": 200_000_000}) == (4, None)
        assert 0.15 < time.monotonic() - started < 2


def test_the_time_of_a_fetch_is_not_the_cells_own(window, server) -> None:
    cell = window(OUT, settings={"HTTP_FETCH_ALLOW": "127.0.0.0/8"}, call_timeout_ms=150, restart="never")
    code, reply = cell.http_fetch({"url": f"{server.url}/slow?0.4"})
    assert (code, reply["body"]) == (0, b"late")
    assert cell.cell.usable


def test_interrupting_a_cell_ends_its_fetch(window, server) -> None:
    cell = window(OUT, settings={"HTTP_FETCH_ALLOW": "127.0.0.1"}, restart="never")
    threading.Timer(0.1, lambda: cell.cell.interrupt("stop")).start()
    started = time.monotonic()
    with pytest.raises(Exception, match="stop"):
        cell.http_fetch({"url": f"{server.url}/slow?20"})
    assert time.monotonic() - started < 2


def test_cookies_of_one_request_do_not_get_into_another(application, server) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": [OUT]} for name in ("a", "b")]
    app = application(*tables, settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    login = {"url": f"{server.url}/login?/echo"}
    assert b"session" not in a.http_fetch(login)[1]["body"]
    for cell in (a, b):
        for path in ("echo", "redirect?/echo"):
            assert b"Cookie" not in cell.http_fetch({"url": f"{server.url}/{path}"})[1]["body"]
    own = {"headers": {"cookie": "mine=1"}}
    assert b"Cookie: mine=1" in a.http_fetch({**own, "url": f"{server.url}/redirect?/echo"})[1]["body"]
    other = f"{server.url}/redirect?http://localhost:{server.port}/echo"
    app = application(tables[0], settings={"HTTP_FETCH_ALLOW": "127.0.0.1,localhost"})
    assert b"mine" not in Window(app.runtime.cell("a")).http_fetch({**own, "url": other})[1]["body"]


def test_the_body_of_a_redirect_is_not_read(fetcher, server) -> None:
    code, reply = fetcher.http_fetch({"url": f"{server.url}/flood?/echo"})
    assert (code, reply["status"]) == (0, 200)
    assert server.taken < 64 << 20


def test_a_cell_that_keeps_its_servers_busy_takes_nobodys_connections(
    application, server, monkeypatch
) -> None:
    monkeypatch.setattr(outbound, "STREAMS_PER_CELL", 200)
    tables = [{"wasm": "any.c", "name": name, "capabilities": [OUT]} for name in ("a", "b")]
    app = application(*tables, settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    slow = {"url": f"{server.url}/drip?1000,0.2", "timeout": 20_000_000_000}
    assert [a.http_fetch_begin(slow)[0] for _ in range(100)] == [0] * 100
    assert b.http_fetch({"url": f"{server.url}/echo", "timeout": 5_000_000_000})[0] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nInjected: 1"},
        {"X\r\nInjected": "1"},
        {"": "x"},
    ],
)
def test_headers_that_would_break_the_request_are_refused(fetcher, server, headers) -> None:
    code, reply = fetcher.http_fetch({"url": f"{server.url}/echo", "headers": headers, "body": b"0123456789"})
    assert code == 4 or b"Injected" not in reply["body"]
    assert fetcher.http_fetch({"url": f"{server.url}/echo"})[0] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "5"},
        {"Content-Length": "-1"},
        {"Transfer-Encoding": "gzip, chunked"},
        {"Host": "evil"},
        {"Trailer": "x"},
    ],
)
def test_what_frames_and_addresses_a_request_is_not_the_cells_to_say(fetcher, server, headers) -> None:
    code, reply = fetcher.http_fetch({"url": f"{server.url}/echo", "headers": headers, "body": b"0123456789"})
    assert code == 0
    assert reply["body"].endswith(b"\n\n0123456789")
    assert b"Content-Length: 10\n" in reply["body"]
    assert f"Host: 127.0.0.1:{server.port}\n".encode() in reply["body"]


def test_a_cell_without_an_allocator_gets_the_code_of_this_family(application, tmp_path, server) -> None:
    (tmp_path / "bare.wasm").write_bytes(wat(BARE))
    app = application({"wasm": str(tmp_path / "bare.wasm"), "name": "bare", "capabilities": [OUT]},
                      settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})  # fmt: skip
    cell = app.runtime.cell("bare")
    assert cell.probe_last_call() == 6


BARE = """
(module
  (import "pulp" "http_fetch_read" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "pulp_init") (param i32 i32) (result i32) i32.const 0)
  (func (export "pulp_step") (param i32 i32) (result i32) i32.const 0)
  (func (export "pulp_shutdown") (result i32) i32.const 0)
  (func (export "probe_last_call") (result i64)
    (i64.extend_i32_u (call $read (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 16)))))
"""


# -- the guard


ATTACKS = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:0:0:0:0:80ff:fffe]",
]


@pytest.mark.parametrize("host", ATTACKS)
def test_case_23_private_addresses_are_not_reached_in_any_spelling(window, server, host) -> None:
    cell = window(OUT)
    assert cell.http_fetch({"url": f"http://{host}:{server.port}/echo", "timeout": 2_000_000_000}) == (
        4,
        None,
    )
    assert cell.http_fetch_begin({"url": f"http://{host}:{server.port}/echo", "timeout": 2_000_000_000}) == (
        4,
        None,
    )


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("::ffff:8.8.8.8", True),
        ("2002:808:808::", True),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("240.0.0.1", False),
        ("198.18.0.1", False),
    ],
)
def test_what_is_public(address, public) -> None:
    assert egress.is_public(ipaddress.ip_address(address)) is public


def test_case_23_redirects_are_checked_like_first_requests(window, server) -> None:
    # The name is exempt, the address it redirects to is not.
    cell = window(OUT, settings={"HTTP_FETCH_ALLOW": f"localhost:{server.port}"})
    start = f"http://localhost:{server.port}/redirect?"
    code, reply = cell.http_fetch({"url": start + f"http://localhost:{server.port}/echo"})
    assert (code, reply["status"]) == (0, 200)
    for target in (
        f"{server.url}/echo",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
    ):
        assert cell.http_fetch({"url": start + target}) == (4, None)
    assert cell.http_fetch({"url": f"http://localhost:{server.port}/loop"}) == (4, None)


def test_case_23_a_name_that_changes_its_mind_is_checked_where_it_is_connected_to(
    window, server, monkeypatch
) -> None:
    answers = iter(["8.8.8.8", "127.0.0.1", "127.0.0.1"])
    real = socket.getaddrinfo

    def rebinding(host, port, *args, **keys):
        if host in ("rebind.test", b"rebind.test"):
            return real(next(answers, "127.0.0.1"), port, *args, **keys)
        return real(host, port, *args, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    cell = window(OUT)
    url = f"http://rebind.test:{server.port}/echo"
    for _ in range(3):
        assert cell.http_fetch({"url": url, "timeout": 300_000_000}) == (4, None)


def test_a_name_with_a_public_and_a_private_address_only_reaches_the_public_one() -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80)),
    ]
    kept = egress.permitted(egress.EgressPolicy(), "mixed.test", 80, found)
    assert kept == [(socket.AF_INET, ("8.8.8.8", 80))]


@pytest.mark.parametrize(
    ("allow", "host", "port", "address", "permitted"),
    [
        ("db.local", "db.local", 5, "10.0.0.1", True),
        ("db.local", "DB.local.", 5, "10.0.0.1", True),
        ("db.local:5", "db.local", 5, "10.0.0.1", True),
        ("db.local:5", "db.local", 6, "10.0.0.1", False),
        ("10.0.0.0/8", "anything", 1, "10.9.9.9", True),
        ("10.0.0.0/8", "anything", 1, "11.0.0.1", True),
        ("10.0.0.0/8", "anything", 1, "192.168.0.1", False),
        ("[::1]:80", "::1", 80, "::1", True),
        ("::1", "[::1]", 80, "::1", True),
        (" , a , b:1 ", "b", 1, "127.0.0.1", True),
        ("", "a", 1, "127.0.0.1", False),
    ],
)
def test_exemptions(allow, host, port, address, permitted) -> None:
    policy = egress.EgressPolicy.parse(allow)
    assert policy.permits(host, port, ipaddress.ip_address(address)) is permitted


def test_a_malformed_exemption_fails_the_start(application) -> None:
    app = application(
        {"wasm": "any.c", "capabilities": [OUT]}, settings={"HTTP_FETCH_ALLOW": "10.0.0.0/99"}, run=False
    )
    with pytest.raises(Exception, match=r"transport.http.outbound.*could not be set up"):
        app.runtime.start()


# -- streams


def read_all(cell, number: int, most: int = 5) -> bytes:
    body = b""
    while True:
        _, chunk = cell.http_fetch_read(number & 0xFFFFFFFF, number >> 32, most)
        assert len(chunk["bytes"]) <= most
        assert not chunk.get("err")
        body += chunk["bytes"]
        if chunk["eof"]:
            return body


def test_case_23_a_streamed_fetch_is_read_in_pieces(fetcher, server) -> None:
    code, head = fetcher.http_fetch_begin({"url": f"{server.url}/drip?4,0.01"})
    assert (code, head["status"]) == (0, 200)
    assert read_all(fetcher, head["id"]) == b"piece 0;piece 1;piece 2;piece 3;"
    for _ in range(2):
        assert fetcher("http_fetch_close", head["id"], 0)[0] == 0
    code, chunk = fetcher.http_fetch_read(head["id"], 0, 5)
    assert (code, chunk["err"]) == (0, "unknown stream")
    assert fetcher.http_fetch_read(head["id"], 0, 0)[0] == 1


def test_a_stream_that_breaks_says_so_in_the_chunk(fetcher, server) -> None:
    _, head = fetcher.http_fetch_begin({"url": f"{server.url}/cut"})
    assert fetcher.http_fetch_read(head["id"], 0, 100)[1]["bytes"] == b"only this"
    code, chunk = fetcher.http_fetch_read(head["id"], 0, 100)
    assert code == 0
    assert chunk["err"]


def test_streams_of_a_cell_are_its_own_and_bounded(application, server) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": [OUT]} for name in ("a", "b")]
    app = application(*tables, settings={"HTTP_FETCH_ALLOW": "127.0.0.1"})
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    _, head = a.http_fetch_begin({"url": f"{server.url}/drip?3,0"})
    assert b.http_fetch_read(head["id"], 0, 5)[1]["err"] == "unknown stream"
    opened = [a.http_fetch_begin({"url": f"{server.url}/echo"})[0] for _ in range(outbound.STREAMS_PER_CELL)]
    assert opened.count(0) == outbound.STREAMS_PER_CELL - 1
    assert opened[-1] == 4
    app.runtime.shut_down("a")
    assert not app.catalogue.fetch._streams


def test_a_fetch_stream_is_spliced_into_a_reply(application, server) -> None:
    app = application(
        {
            "wasm": "proxy.c",
            "capabilities": [OUT, "transport.http.inbound"],
            "config": {"url": f"{server.url}/drip?20,0.01"},
        },
        settings={"HTTP_FETCH_ALLOW": "127.0.0.1"},
    )
    with httpx.stream("GET", f"{app.url}/proxy") as got:
        assert got.status_code == 203
        assert got.headers["x-from"] == "proxy"
        pieces = list(got.iter_raw())
    assert b"".join(pieces) == b"".join(b"piece %d;" % number for number in range(20))
    assert len(pieces) > 3
    assert httpx.get(f"{app.url}/unknown").text == "4"
    assert not app.catalogue.fetch._streams
