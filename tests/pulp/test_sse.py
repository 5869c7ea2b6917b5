"""Server-sent events (spec/pulp.md 3.6)."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from tests.pulp.conftest import Window

from guesthouse.interfaces.pulp.http import sse
from guesthouse.interfaces.pulp.structs import SSEEmitRequest

BOTH = ("transport.http.inbound", "transport.sse")


@pytest.fixture
def stream(window):
    opened = window(*BOTH)
    assert opened("sse_register", b"/events/:topic")[0] == 0
    return opened


class Reader:
    """Reads a stream on a thread of its own."""

    def __init__(self, url: str) -> None:
        self.text = ""
        self.response: httpx.Response | None = None
        self.ended = threading.Event()
        self._client = httpx.Client(timeout=20)
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)
        self._thread.start()
        self.wait_for(":ok\n\n")

    def _read(self, url: str) -> None:
        try:
            with self._client.stream("GET", url) as response:
                self.response = response
                for text in response.iter_text():
                    self.text += text
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass
        self.ended.set()

    def wait_for(self, text: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < until, self.text
            time.sleep(0.002)

    def close(self) -> None:
        self._client.close()


def count(cell, path: bytes) -> int:
    code, raw = cell("sse_has_subscribers", path)
    assert code == 0
    return int.from_bytes(raw, "little")


def test_events_reach_the_subscribers_of_their_path(stream) -> None:
    assert count(stream, b"/events/a") == 0
    assert stream("sse_emit", {"path": "/events/a", "data": "nobody"})[0] == 0
    readers = [Reader(f"{stream.app.url}/events/{topic}") for topic in ("a", "a", "b")]
    assert readers[0].response.headers["content-type"] == "text/event-stream"
    assert (count(stream, b"/events/a"), count(stream, b"/events/b")) == (2, 1)
    assert stream("sse_emit", {"path": "/events/a", "id": "7", "event": "tick", "data": "one\ntwo"})[0] == 0
    for reader in readers[:2]:
        reader.wait_for("id: 7\nevent: tick\ndata: one\ndata: two\n\n")
    assert readers[2].text == ":ok\n\n"
    readers[0].close()
    until = time.monotonic() + 5
    while count(stream, b"/events/a") != 1:
        stream("sse_emit", {"path": "/events/a", "data": "x"})
        assert time.monotonic() < until
        time.sleep(0.01)
    for reader in readers[1:]:
        reader.close()


def test_codes(stream) -> None:
    assert stream("sse_register", b"")[0] == 1
    assert stream("sse_register", b"none")[0] == 4
    assert stream("sse_emit", {"path": "/elsewhere", "data": "x"})[0] == 4
    assert stream("sse_emit", b"\xc1")[0] == 3
    assert stream.cell.usable


def test_streams_are_a_cells_own_and_end_with_it(application) -> None:
    app = application(*({"wasm": "any.c", "name": name, "capabilities": list(BOTH)} for name in ("a", "b")))
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    a("sse_register", b"/s")
    assert b("sse_register", b"/s")[0] == 4
    assert b("sse_emit", {"path": "/s", "data": "x"})[0] == 4
    reader = Reader(f"{app.url}/s")
    assert count(b, b"/s") == 0
    app.runtime.shut_down("a")
    assert reader.ended.wait(5)
    reader.close()


def test_a_quiet_stream_is_kept_alive(stream, monkeypatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_SECONDS", 0.05)
    reader = Reader(f"{stream.app.url}/events/a")
    reader.wait_for(":ping\n\n:ping\n\n")
    reader.close()


def test_a_slow_subscriber_loses_events_and_the_others_do_not(stream) -> None:
    import socket

    host, port = stream.app.url.removeprefix("http://").split(":")
    slow = socket.create_connection((host, int(port)))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /events/a HTTP/1.1\r\nHost: x\r\n\r\n")
    reader = Reader(f"{stream.app.url}/events/a")
    while count(stream, b"/events/a") != 2:
        time.sleep(0.01)
    for number in range(60):
        stream("sse_emit", {"path": "/events/a", "id": str(number), "data": "x" * 60_000})
        reader.wait_for(f"id: {number}\n")
    slow.close()
    reader.close()


def test_what_waits_for_a_subscriber_is_bounded_in_bytes_too(monkeypatch) -> None:
    monkeypatch.setattr(sse, "QUEUE_BYTES", 1000)

    async def check() -> None:
        subscriber = sse.Subscriber("cell")
        subscriber.put(bytes(5000))  # one large event alone is fine
        subscriber.put(b"x")
        assert subscriber.lost == 1
        assert len(await subscriber.get() or b"") == 5000
        for _ in range(3):
            subscriber.put(bytes(400))
        assert subscriber.lost == 2

    asyncio.run(check())


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"data": ""}, "data: \n\n"),
        ({"data": "a\r\nb\rc\nd"}, "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (
            {"id": "1\n2", "event": "e\r\ndata: forged", "data": "x"},
            "id: 1 2\nevent: e  data: forged\ndata: x\n\n",
        ),
    ],
)
def test_frames_cannot_be_forged(event, text) -> None:
    assert sse.frame(SSEEmitRequest(path="/", **event)).decode() == text
