"""``transport.sse``: server-sent events (spec/pulp.md 3.6)."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Drops, Extension, Refused, request, take
from guesthouse.interfaces.pulp.http.inbound import HTTPInbound
from guesthouse.interfaces.pulp.http.server import Receive, Scope, Send
from guesthouse.interfaces.pulp.http.site import Site
from guesthouse.interfaces.pulp.routes import Route
from guesthouse.interfaces.pulp.structs import SSEEmitRequest
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

QUEUE, QUEUE_BYTES = 32, 8 << 20
"""Events, and bytes of them, that may wait for one subscriber; one large event alone may always."""
KEEPALIVE_SECONDS = 15.0
_HEADERS = [
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache"),
    (b"X-Accel-Buffering", b"no"),
]


class Subscriber:
    """One client of an event stream; lives on the event loop."""

    def __init__(self, cell_id: str) -> None:
        self.cell_id = cell_id
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self.lost = self.waiting = 0

    def put(self, frame: bytes) -> None:
        """Queue a frame; a subscriber that does not keep up loses it."""
        if self.frames.full() or (self.waiting and self.waiting + len(frame) > QUEUE_BYTES):
            self.lost += 1
            return
        self.waiting += len(frame)
        self.frames.put_nowait(frame)

    async def get(self) -> bytes | None:
        """Wait for the next frame; ``None`` when the stream shall end."""
        frame = await self.frames.get()
        self.waiting -= len(frame or b"")
        return frame

    def end(self) -> None:
        """Ask the stream to end, whatever waits."""
        while self.frames.full():
            self.frames.get_nowait()
        self.frames.put_nowait(None)


class SSE(Extension):
    """Event streams that cells feed.

    Args:
        http: the listeners that subscribers come in by.
    """

    name: ClassVar[str] = "transport.sse"
    summary: ClassVar[str] = "Streams events to HTTP clients; needs transport.http.inbound."

    def __init__(self, http: HTTPInbound) -> None:
        self._http = http
        self._subscribers: defaultdict[tuple[str, str], set[Subscriber]] = defaultdict(set)
        self._lock = threading.Lock()
        self._drops = Drops()
        http.on_site.append(self._prepare)

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("sse_register", "ii", self.register, "Offer an event stream at a path pattern."),
            row("sse_emit", "ii", self.emit, "Send an event to the subscribers of a path."),
            row("sse_has_subscribers", "iii", self.has_subscribers, "Count the subscribers of a path."),
        )

    def release(self, cell: Cell) -> None:
        """End a cell's streams."""
        with self._lock:
            mine = [each for key, group in self._subscribers.items() if key[0] == cell.id for each in group]
        for subscriber in mine:
            self._http.threads.soon(subscriber.end)

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return how many events slow subscribers of a cell lost, those still connected included."""
        with self._lock:
            groups = [group for key, group in self._subscribers.items() if key[0] == cell_id]
            lost = sum(each.lost for group in groups for each in group)
        counted = self._drops.of(cell_id)
        return {"events": counted.get("events", 0) + lost} if counted or lost else {}

    # -- imports

    def register(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``sse_register``: 4 for a bad or foreign path, 99 without inbound HTTP."""
        path = take(call, pointer, length).decode("utf-8", "replace")
        self._http.offer(call, path, lambda site: site.streams)
        return memory.OK

    def emit(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``sse_emit``: 4 when no stream of this cell covers the path."""
        event = request(call, pointer, length, SSEEmitRequest)
        self._covered(call, event.path)
        key = call.cell.id, event.path
        with self._lock:
            group = list(self._subscribers.get(key, ()))
        if group:
            self._http.threads.soon(_publish, group, frame(event))
        return memory.OK

    def has_subscribers(self, call: CellCall, pointer: int, length: int, count_out: int) -> int:
        """Serve ``sse_has_subscribers``: 8 when the number cannot be written."""
        path = take(call, pointer, length).decode("utf-8", "replace")
        with self._lock:
            count = len(self._subscribers.get((call.cell.id, path), ()))
        if count_out + 4 > call.instance.memory_size:
            return memory.UNWRITABLE
        call.instance.write(count_out, count.to_bytes(4, "little"))
        return memory.OK

    def _covered(self, call: CellCall, path: str) -> None:
        found = None
        if self._http.ready:
            found = self._http.site_of(call.cell.id).streams.find("GET", path)
        if found is None or found[0].owner != call.cell.id:
            raise Refused(memory.FAILED, f"no stream of this cell covers {path!r}")

    # -- subscribers

    def _prepare(self, site: Site) -> None:
        site.on_stream = self._serve

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, route: Route[str], _: dict[str, str]
    ) -> None:
        """Serve one subscriber until it or the cell goes away."""
        key = route.owner, scope["path"]
        subscriber = Subscriber(route.owner)
        with self._lock:
            self._subscribers[key].add(subscriber)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            # Something at once, so that the client sees the stream open.
            await _write(send, b":ok\n\n")
            await _forward(subscriber, send, gone)
        finally:
            gone.cancel()
            with self._lock:
                self._subscribers[key].discard(subscriber)
                if not self._subscribers[key]:
                    del self._subscribers[key]
            if subscriber.lost:
                self._drops.add(route.owner, "events", subscriber.lost)
                log.warning("events lost by a slow subscriber", cell=route.owner, lost=subscriber.lost)
        if not gone.done() or gone.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def frame(event: SSEEmitRequest) -> bytes:
    """Write an event as the protocol wants it: one ``data`` line per line of data."""
    lines = [f"id: {_line(event.id)}"] if event.id else []
    lines += [f"event: {_line(event.event)}"] if event.event else []
    lines += [f"data: {line}" for line in event.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def _line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _publish(group: list[Subscriber], data: bytes) -> None:
    for subscriber in group:
        subscriber.put(data)


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _forward(subscriber: Subscriber, send: Send, gone: asyncio.Future[None]) -> None:
    """Write frames, and a comment when there was none for a while, until either side ends."""
    while not gone.done():
        waiting: asyncio.Future[Any] = asyncio.ensure_future(subscriber.get())
        await asyncio.wait({waiting, gone}, timeout=KEEPALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            if not gone.done():
                await _write(send, b":ping\n\n")
            continue
        data = waiting.result()
        if data is None:
            return
        await _write(send, data)
