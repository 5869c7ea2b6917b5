"""``network.udp``: datagrams (spec/pulp.md 3.11).

A cell may send to whoever has sent to it, to public addresses, and to what ``UDP_ALLOW`` exempts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass
from socket import SO_RCVBUF, SOL_SOCKET
from typing import TYPE_CHECKING, ClassVar, cast

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import (
    Drops,
    Environment,
    Event,
    Extension,
    Posted,
    Refused,
    reply,
    request,
    wait,
)
from guesthouse.interfaces.pulp.http.egress import EgressPolicy, resolve
from guesthouse.interfaces.pulp.http.server import LoopThread, listen_address
from guesthouse.interfaces.pulp.structs import Message, UDPPacket, go
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

NOT_SET_UP = 10
FOREIGN = 11
RING = 1024
SOCKETS_PER_CELL = 16
PEERS = 4096
RECEIVE_BUFFER = 1 << 20
LARGEST_BUFFER = 16 << 20
_RETRY = 0.002


@dataclass(slots=True)
class UDPListen(Message):
    """The request of ``udp_listen``; ``buffer_size`` is the size of the receive buffer in bytes."""

    addr: str = go("str")
    buffer_size: int = go("uint32")


@dataclass(slots=True)
class UDPOpened(Message):
    """The reply of ``udp_listen`` and the request of ``udp_close``."""

    socket_id: int = go("uint64")


@dataclass(slots=True)
class UDPSend(Message):
    """The request of ``udp_send``."""

    socket_id: int = go("uint64")
    dst_addr: str = go("str")
    payload: bytes = go("bytes")


@dataclass(slots=True)
class UDPSent(Message):
    """The reply of ``udp_send``."""

    bytes_sent: int = go("int64")


class Socket(asyncio.DatagramProtocol):
    """One socket of a cell; lives on the event loop."""

    def __init__(self, number: int, cell_id: str, environment: Environment, drops: Drops) -> None:
        self.number, self.cell_id = number, cell_id
        self.peers: dict[tuple[str, int], None] = {}
        self.transport: asyncio.DatagramTransport | None = None
        self._environment = environment
        self._drops = drops
        self._ring: deque[bytes] = deque(maxlen=RING)
        self._pumping = False
        self._lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep a packet for the cell; the oldest one gives way when the ring is full."""
        peer = addr[0], addr[1]
        self.peers.pop(peer, None)
        self.peers[peer] = None
        if len(self.peers) > PEERS:
            del self.peers[next(iter(self.peers))]
        host = f"[{addr[0]}]" if ":" in addr[0] else addr[0]
        packet = UDPPacket(self.number, f"{host}:{addr[1]}", data, time.time_ns())
        if len(self._ring) == RING:
            self._lost += 1
            self._drops.add(self.cell_id, "datagrams")
        self._ring.append(packet.encode())
        if not self._pumping:
            self._pump()

    def _pump(self) -> None:
        """Move packets to the cell as far as it takes them."""
        self._pumping = False
        while self._ring:
            event = Event("udp.packet", self._ring[0], self.cell_id, self.number, UDP.name, patient=True)
            posted = self._environment.emit(event)
            if posted is Posted.FULL:
                self._pumping = True
                asyncio.get_running_loop().call_later(_RETRY, self._pump)
                return
            self._ring.popleft()
        if self._lost:
            log.warning("datagrams dropped", cell=self.cell_id, socket=self.number, dropped=self._lost)
            self._lost = 0


class UDP(Extension):
    """UDP sockets of cells.

    Args:
        threads: the event loop that they live on.
    """

    name: ClassVar[str] = "network.udp"
    summary: ClassVar[str] = "Sends and receives datagrams."

    def __init__(self, threads: LoopThread) -> None:
        self._threads = threads
        self._environment: Environment | None = None
        self._policy = EgressPolicy()
        self._ids = itertools.count(1)
        self._sockets: dict[int, Socket] = {}
        self._drops = Drops()
        self._lock = threading.Lock()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("udp_listen", "iiii", self.listen, "Open a socket at an address."),
            row("udp_send", "iiii", self.send, "Send a datagram."),
            row("udp_close", "ii", self.close, "Close a socket."),
        )

    def setup(self, environment: Environment) -> None:
        """Read the exemptions; raises ``ValueError`` when ``UDP_ALLOW`` is malformed."""
        self._environment = environment
        self._policy = EgressPolicy.parse(environment.settings.get("UDP_ALLOW", ""))

    def release(self, cell: Cell) -> None:
        """Close a cell's sockets."""
        with self._lock:
            mine = [each for each in self._sockets.values() if each.cell_id == cell.id]
            for socket in mine:
                del self._sockets[socket.number]
        for socket in mine:
            self._end(socket)

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return what was dropped for a cell."""
        return self._drops.of(cell_id)

    # -- imports

    def listen(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``udp_listen``: 4 when the address cannot be bound, 10 when nothing was set up."""
        wanted = request(call, pointer, length, UDPListen)
        environment = self._environment
        if environment is None:
            raise Refused(NOT_SET_UP, "the capability was not set up")
        with self._lock:
            if sum(each.cell_id == call.cell.id for each in self._sockets.values()) >= SOCKETS_PER_CELL:
                raise Refused(memory.FAILED, f"a cell has at most {SOCKETS_PER_CELL} sockets")
        settings = environment.settings
        try:
            address = listen_address(wanted.addr, settings.get("UDP_HOST") or settings.get("HTTP_HOST"))
            socket = Socket(next(self._ids), call.cell.id, environment, self._drops)
            wait(call, self._threads.start(self._open(socket, address, wanted.buffer_size or RECEIVE_BUFFER)))
        except (OSError, ValueError) as error:
            raise Refused(memory.FAILED, str(error)) from None
        with self._lock:
            self._sockets[socket.number] = socket
        return reply(call, UDPOpened(socket.number), pointer_out, length_out)

    def send(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``udp_send``: 4 when it cannot be sent there, 11 for a foreign socket."""
        wanted = request(call, pointer, length, UDPSend)
        socket = self._own(call, wanted.socket_id)
        try:
            wait(call, self._threads.start(self._sent(socket, wanted)))
        except (OSError, ValueError) as error:
            raise Refused(memory.FAILED, str(error)) from None
        return reply(call, UDPSent(len(wanted.payload)), pointer_out, length_out)

    def close(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``udp_close``."""
        socket = self._own(call, request(call, pointer, length, UDPOpened).socket_id)
        with self._lock:
            self._sockets.pop(socket.number, None)
        self._end(socket)
        return memory.OK

    # -- sockets

    def addresses(self, cell_id: str) -> list[tuple[str, int]]:
        """Return where a cell's sockets are bound."""
        with self._lock:
            mine = [each for each in self._sockets.values() if each.cell_id == cell_id]
        return [each.transport.get_extra_info("sockname")[:2] for each in mine if each.transport is not None]

    def _own(self, call: CellCall, number: int) -> Socket:
        with self._lock:
            socket = self._sockets.get(number)
        if socket is None:
            raise Refused(memory.FAILED, f"no socket {number}")
        if socket.cell_id != call.cell.id:
            raise Refused(FOREIGN, f"socket {number} is another cell's")
        return socket

    def _end(self, socket: Socket) -> None:
        if socket.transport is not None:
            self._threads.loop.call_soon_threadsafe(socket.transport.close)

    @staticmethod
    async def _open(socket: Socket, address: tuple[str, int], buffer: int) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: socket, local_addr=address)
        size = min(buffer, LARGEST_BUFFER)
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, size)

    async def _sent(self, socket: Socket, wanted: UDPSend) -> None:
        host, _, port = wanted.dst_addr.rpartition(":")
        host, number = host.strip("[]"), int(port)
        if not 0 < number < 65_536:
            raise ValueError(f"{wanted.dst_addr!r} has no port")
        assert socket.transport is not None
        target = await self._target(socket, host, number)
        socket.transport.sendto(wanted.payload, target)

    async def _target(self, socket: Socket, host: str, port: int) -> tuple[str, int]:
        """Resolve a destination; peers that have sent something are always answered."""
        try:
            known = str(ipaddress.ip_address(host)), port
        except ValueError:
            known = host, port
        if known in socket.peers:
            return known
        assert socket.transport is not None
        family = socket.transport.get_extra_info("socket").family
        for kind, address in await resolve(self._policy, host, port):
            if kind == family:
                return address[0], port
        raise OSError(f"{host} has no address of the socket's family")
