"""``transport.ws.inbound``: WebSocket clients of cells (spec/pulp.md 3.6).

While a cell is behind, its clients' frames are not read, so they wait in the network; only a cell that
stays behind for seconds loses events, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import (
    Drops,
    Environment,
    Event,
    Extension,
    Posted,
    Refused,
    request,
    take,
)
from guesthouse.interfaces.pulp.http import headers
from guesthouse.interfaces.pulp.http.inbound import HTTPInbound
from guesthouse.interfaces.pulp.http.server import Receive, Scope, Send
from guesthouse.interfaces.pulp.http.site import Site
from guesthouse.interfaces.pulp.routes import Route
from guesthouse.interfaces.pulp.structs import WSClose, WSFrame, WSOpen
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

TEXT, BINARY = 1, 2
OUTGOING, OUTGOING_BYTES = 256, 32 << 20
"""Messages, and bytes of them, that may wait for a client; one that is slower is disconnected."""
CELL_BYTES = 256 << 20
"""Bytes that may wait for all clients of a cell; beyond that nothing more is taken from it."""

GOING_AWAY = 1001
TOO_SLOW = 1008
TRY_LATER = 1013
PATIENCE = 5.0
CLOSE_SECONDS = 1.0
_RETRY = 0.005


async def post_patiently(environment: Environment, event: Event) -> Posted:
    """Queue an event; when the cell is behind, wait for it for a while before giving up."""
    event.patient = True
    until = asyncio.get_running_loop().time() + PATIENCE
    while (posted := environment.emit(event)) is Posted.FULL:
        if asyncio.get_running_loop().time() > until:
            return posted
        await asyncio.sleep(_RETRY)
    return posted


class Connection:
    """One WebSocket client; lives on the event loop."""

    def __init__(self, number: int, cell_id: str) -> None:
        self.number, self.cell_id = number, cell_id
        self.outgoing: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
        self.waiting = self.waiting_bytes = 0
        self.gone = False
        self.closed_with: tuple[int, str] | None = None
        self.aborted = asyncio.Event()

    async def write(self, send: Send, sent: Callable[[int], object]) -> None:
        """Send what waits, up to the close, which is left to whoever also receives; tells what was sent."""
        while True:
            message, size = await self.outgoing.get()
            if message["type"] == "websocket.close":
                return
            await send(message)
            sent(size)

    def put(self, message: dict[str, Any], size: int) -> None:
        """Queue a message; runs on the event loop."""
        self.outgoing.put_nowait((message, size))


class WSInbound(Extension):
    """WebSockets that cells serve.

    Args:
        http: the listeners that connections come in by.
    """

    name: ClassVar[str] = "transport.ws.inbound"
    summary: ClassVar[str] = "Serves WebSocket clients; needs transport.http.inbound."

    def __init__(self, http: HTTPInbound) -> None:
        self._http = http
        self._environment = Environment()
        self._ids = itertools.count(1)
        self._connections: dict[int, Connection] = {}
        self._waiting_bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._drops = Drops()
        http.on_site.append(self._prepare)

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("ws_register", "ii", self.register, "Accept WebSocket clients at a path."),
            row("ws_send", "ii", self.send, "Send a message to a client."),
            row("ws_close", "ii", self.close, "Disconnect a client."),
        )

    def setup(self, environment: Environment) -> None:
        """Remember where events go."""
        self._environment = environment

    def release(self, cell: Cell) -> None:
        """Disconnect a cell's clients."""
        with self._lock:
            mine = [each for each in self._connections.values() if each.cell_id == cell.id]
        for connection in mine:
            self._finish(connection, GOING_AWAY, "cell shut down")

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return what was dropped for a cell."""
        return self._drops.of(cell_id)

    # -- imports

    def register(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``ws_register``: 4 for a bad or foreign path, 99 without inbound HTTP."""
        path = take(call, pointer, length).decode("utf-8", "replace")
        self._http.offer(call, path, lambda site: site.sockets)
        return memory.OK

    def send(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``ws_send``: 4 for an unknown or foreign connection, or another opcode than 1 and 2."""
        frame = request(call, pointer, length, WSFrame)
        if frame.opcode not in (TEXT, BINARY):
            raise Refused(memory.FAILED, f"opcode {frame.opcode}")
        connection, size = self._own(call, frame.conn_id), len(frame.payload)
        full = connection.waiting >= OUTGOING or connection.waiting_bytes + size > OUTGOING_BYTES
        if full and connection.waiting:
            self._drops.add(call.cell.id, "slow_clients")
            self._finish(connection, TOO_SLOW, "too slow")
            self._http.threads.soon(connection.aborted.set)
            raise Refused(memory.FAILED, "the client does not keep up and was disconnected")
        if self._waiting_bytes.get(call.cell.id, 0) + size > CELL_BYTES:
            self._drops.add(call.cell.id, "frames_out")
            raise Refused(memory.FAILED, f"{CELL_BYTES} bytes wait for the cell's clients")
        if frame.opcode == TEXT:
            text = frame.payload.decode("utf-8", "replace")
            self._put(connection, {"type": "websocket.send", "text": text}, size)
        else:
            self._put(connection, {"type": "websocket.send", "bytes": frame.payload}, size)
        return memory.OK

    def close(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``ws_close``; code 0 means 1000."""
        wanted = request(call, pointer, length, WSClose)
        self._finish(self._own(call, wanted.conn_id), wanted.code or 1000, wanted.reason)
        return memory.OK

    # -- connections

    def _own(self, call: CellCall, number: int) -> Connection:
        with self._lock:
            connection = self._connections.get(number)
        if connection is None or connection.cell_id != call.cell.id:
            raise Refused(memory.FAILED, f"no connection {number} of this cell")
        return connection

    def _put(self, connection: Connection, message: dict[str, Any], size: int = 0) -> None:
        self._count(connection, 1, size)
        self._http.threads.soon(connection.put, message, size)

    def _count(self, connection: Connection, messages: int, size: int) -> None:
        """Count what waits for a client, or is sent where negative; nothing once it is gone."""
        with self._lock:
            if not connection.gone:
                connection.waiting += messages
                connection.waiting_bytes += size
                self._count_bytes(connection.cell_id, size)

    def _count_bytes(self, cell_id: str, size: int) -> None:
        left = self._waiting_bytes.pop(cell_id, 0) + size
        if left:
            self._waiting_bytes[cell_id] = left

    def _forget(self, connection: Connection) -> None:
        """Let go of a client, and of what still waits for it."""
        with self._lock:
            self._connections.pop(connection.number, None)
            connection.gone = True
            self._count_bytes(connection.cell_id, -connection.waiting_bytes)

    def _finish(self, connection: Connection, code: int, reason: str) -> None:
        with self._lock:
            if self._connections.pop(connection.number, None) is None:
                return
        connection.closed_with = code, reason
        self._put(connection, {"type": "websocket.close"})

    def _prepare(self, site: Site) -> None:
        site.on_socket = self._serve

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, route: Route[str], _: dict[str, str]
    ) -> None:
        """Serve one client from upgrade to close."""
        await receive()
        seen = headers.inbound(scope["headers"])
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if not same_origin(seen.get("Origin", ""), host):
            await send({"type": "websocket.close", "code": 1008})
            return
        connection = Connection(next(self._ids), route.owner)
        opened = WSOpen(connection.number, scope["path"], headers.query(scope["query_string"]), seen)
        with self._lock:
            self._connections[connection.number] = connection
        await send({"type": "websocket.accept"})
        if await self._emit(connection, "ws.open", opened.encode()) is not Posted.QUEUED:
            self._finish(connection, TRY_LATER, "cell is not available")
        writer = asyncio.ensure_future(
            connection.write(send, lambda size: self._count(connection, -1, -size))
        )
        aborted = asyncio.ensure_future(connection.aborted.wait())
        try:
            code, reason = await self._read(connection, receive, {writer, aborted})
            if connection.closed_with is not None:
                await _close(send, code, reason)
        finally:
            writer.cancel()
            aborted.cancel()
            self._forget(connection)
        closed = WSClose(connection.number, code & 0xFFFF, reason)
        await self._emit(connection, "ws.close", closed.encode())

    async def _read(
        self, connection: Connection, receive: Receive, ends: set[asyncio.Future[Any]]
    ) -> tuple[int, str]:
        """Turn messages into events until either side closes; returns code and reason."""
        while True:
            incoming: asyncio.Future[Any] = asyncio.ensure_future(receive())
            await asyncio.wait({incoming, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not incoming.done():
                # granian cannot send a close while a receive waits.
                incoming.cancel()
                await asyncio.wait({incoming})
                return connection.closed_with or (1006, "")
            message = incoming.result()
            if message["type"] == "websocket.disconnect":
                return connection.closed_with or (message.get("code") or 1005, message.get("reason") or "")
            text = message.get("text")
            payload = text.encode() if text is not None else message.get("bytes") or b""
            frame = WSFrame(connection.number, TEXT if text is not None else BINARY, payload)
            if await self._emit(connection, "ws.frame", frame.encode()) is Posted.GONE:
                self._finish(connection, GOING_AWAY, "cell shut down")

    async def _emit(self, connection: Connection, kind: str, payload: bytes) -> Posted:
        posted = await post_patiently(
            self._environment, Event(kind, payload, connection.cell_id, connection.number, self.name)
        )
        if posted is Posted.FULL:
            self._drops.add(connection.cell_id, "events")
            log.warning("websocket event dropped", cell=connection.cell_id, kind=kind)
        return posted


async def _close(send: Send, code: int, reason: str) -> None:
    """Send a close; a client that does not even take that is left to the server."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await send({"type": "websocket.close", "code": code, "reason": reason[:120]})


def same_origin(origin: str, host: str) -> bool:
    """Say whether a browser's page comes from this very server; clients that are none send no origin."""
    if not origin:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
