"""``transport.ws.outbound``: WebSockets that cells dial (spec/pulp.md 3.11), under the egress guard."""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.errors import MESSAGE_LIMIT
from guesthouse.interfaces.pulp.extension import (
    Drops,
    Environment,
    Event,
    Extension,
    Posted,
    Refused,
    needs,
    reply,
    request,
    wait,
)
from guesthouse.interfaces.pulp.http.egress import EgressPolicy, resolve
from guesthouse.interfaces.pulp.http.server import LoopThread
from guesthouse.interfaces.pulp.http.websockets import post_patiently
from guesthouse.interfaces.pulp.structs import Message, OutboundFrame, go
from guesthouse.observe import log

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

NO_SESSION = 6
DIAL_SECONDS = 10.0
SEND_SECONDS = 10.0
CONNECTIONS_PER_CELL = 64


@dataclass(slots=True)
class DialRequest(Message):
    """The request of ``wsout_dial``."""

    url: str = go("str")
    headers: dict[str, str] = go("map")


@dataclass(slots=True)
class DialReply(Message):
    """The reply of ``wsout_dial``."""

    conn_id: int = go("uint32")


class WSOutbound(Extension):
    """WebSocket connections that cells open.

    Args:
        threads: the event loop that they live on.
    """

    name: ClassVar[str] = "transport.ws.outbound"
    summary: ClassVar[str] = "Dials WebSocket servers at public addresses."

    def __init__(self, threads: LoopThread) -> None:
        self._threads = threads
        self._environment = Environment()
        self._policy = EgressPolicy()
        self._ids = itertools.count(1)
        self._connections: dict[tuple[str, int], ClientConnection] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._drops = Drops()
        self._lock = threading.Lock()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("wsout_dial", "iiii", self.dial, "Connect to a WebSocket server."),
            row("wsout_send", "iii", self.send, "Send a message; text where it is UTF-8, else binary."),
            row("wsout_close", "i", self.close, "Disconnect."),
        )

    def setup(self, environment: Environment) -> None:
        """Read the exemptions, which are those of ``transport.http.outbound``.

        Raises:
            ValueError: ``HTTP_FETCH_ALLOW`` is malformed.
            ImportError: websockets is not installed.
        """
        needs("websockets", self.name)
        self._environment = environment
        self._policy = EgressPolicy.parse(environment.settings.get("HTTP_FETCH_ALLOW", ""))

    def release(self, cell: Cell) -> None:
        """Disconnect what a cell has dialled."""
        with self._lock:
            keys = [key for key in self._connections if key[0] == cell.id]
            mine = [self._connections.pop(key) for key in keys]
        for connection in mine:
            self._threads.start(_closed(connection))

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return what was dropped for a cell."""
        return self._drops.of(cell_id)

    # -- imports

    def dial(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``wsout_dial``; 4 for whatever went wrong on the way."""
        wanted = request(call, pointer, length, DialRequest)
        with self._lock:
            if sum(key[0] == call.cell.id for key in self._connections) >= CONNECTIONS_PER_CELL:
                raise Refused(memory.FAILED, f"{CONNECTIONS_PER_CELL} connections are open")
        number = next(self._ids)
        wait(call, self._threads.start(self._dialled(call.cell.id, number, wanted)))
        return reply(call, DialReply(number), pointer_out, length_out)

    def send(self, call: CellCall, number: int, pointer: int, length: int) -> int:
        """Serve ``wsout_send``; 4 when it cannot be sent, 6 without such a connection."""
        connection = self._own(call, number)
        data: bytes = call.instance.read(pointer, length) if length else b""
        wait(call, self._threads.start(_sent(connection, data)))
        return memory.OK

    def close(self, call: CellCall, number: int) -> int:
        """Serve ``wsout_close``; 6 without such a connection."""
        connection = self._own(call, number)
        with self._lock:
            self._connections.pop((call.cell.id, number), None)
        self._threads.start(_closed(connection))
        return memory.OK

    # -- connections

    def _own(self, call: CellCall, number: int) -> ClientConnection:
        with self._lock:
            connection = self._connections.get((call.cell.id, number))
        if connection is None:
            raise Refused(NO_SESSION, f"no connection {number}")
        return connection

    async def _dialled(self, cell_id: str, number: int, wanted: DialRequest) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        plain: socket.socket | None = None
        try:
            parts = urlsplit(wanted.url)
            if parts.scheme not in ("ws", "wss") or not parts.hostname:
                raise Refused(memory.FAILED, f"only ws and wss URLs can be dialled, not {wanted.url!r}")
            async with asyncio.timeout(DIAL_SECONDS):
                plain = await self._connected(
                    parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
                )
                options: dict[str, Any] = {"server_hostname": parts.hostname} if parts.scheme == "wss" else {}
                connection = await connect(
                    wanted.url,
                    additional_headers=wanted.headers,
                    sock=plain,
                    proxy=None,
                    max_size=MESSAGE_LIMIT,
                    **options,
                )
        except (OSError, ValueError, WebSocketException, TimeoutError) as error:
            if plain is not None:
                plain.close()
            raise Refused(memory.FAILED, str(error) or type(error).__name__) from None
        with self._lock:
            self._connections[cell_id, number] = connection
        reader = asyncio.ensure_future(self._read(cell_id, number, connection))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _connected(self, host: str, port: int) -> socket.socket:
        """Connect to one of the addresses that the policy permits."""
        failure = OSError(f"{host} has no address")
        for family, address in await resolve(self._policy, host, port):
            plain = socket.socket(family, socket.SOCK_STREAM)
            plain.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(plain, address)
            except OSError as error:
                plain.close()
                failure = error
            except BaseException:
                plain.close()
                raise
            else:
                return plain
        raise failure

    async def _read(self, cell_id: str, number: int, connection: ClientConnection) -> None:
        """Turn messages into events until the connection ends."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await connection.recv()
                data = message.encode() if isinstance(message, str) else message
                event = Event("wsout.frame", OutboundFrame(number, data).encode(), cell_id, number, self.name)
                posted = await post_patiently(self._environment, event)
                if posted is Posted.FULL:
                    self._drops.add(cell_id, "events")
                    log.warning("websocket event dropped", cell=cell_id, kind=event.kind)
        with self._lock:
            self._connections.pop((cell_id, number), None)


async def _sent(connection: ClientConnection, data: bytes) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        text: str | bytes = data.decode()
    except UnicodeDecodeError:
        text = data
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await connection.send(text)
    except (ConnectionClosed, TimeoutError) as error:
        raise Refused(memory.FAILED, str(error) or "the server does not keep up") from None


async def _closed(connection: ClientConnection) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await connection.close()
