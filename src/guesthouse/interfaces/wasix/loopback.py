"""A network in memory: programs of one host reach one another, and nothing else."""

from __future__ import annotations

import ipaddress
import itertools
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence

from guesthouse.interfaces.wasix.hostnet import HostTcpSocket
from guesthouse.interfaces.wasix.network import (
    Address,
    IpAddress,
    IpCidr,
    NetworkError,
    NetworkErrorKind,
    SocketReceive,
    SocketReceiveFrom,
    SocketStatus,
    VirtualNetworking,
)

#: Connections that wait to be accepted, and datagrams that wait to be received.
MOST_WAITING = 256


class _Waiting:
    """Things that wait for a socket, and a descriptor that is readable while there are any."""

    def __init__(self) -> None:
        self._items: deque[object] = deque()
        self._signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        self._lock = threading.Lock()

    def put(self, item: object) -> bool:
        with self._lock:
            if self._signal < 0 or len(self._items) >= MOST_WAITING:
                return False
            self._items.append(item)
            os.eventfd_write(self._signal, 1)
            return True

    def take(self, *, leave: bool = False) -> object:
        with self._lock:
            if not self._items:
                raise NetworkError(NetworkErrorKind.WOULD_BLOCK)
            if leave:
                return self._items[0]
            os.eventfd_read(self._signal)
            return self._items.popleft()

    def wait(self, timeout: float) -> bool:
        if self._signal < 0:
            return True
        poll = select.poll()
        poll.register(self._signal, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> list[object]:
        with self._lock:
            signal, self._signal = self._signal, -1
            if signal >= 0:
                os.close(signal)
            left = list(self._items)
            self._items.clear()
            return left


class _Bound:
    """What has an address on the network."""

    def __init__(self, network: LoopbackNetworking, address: Address) -> None:
        self._network, self._address = network, address
        self._waiting = _Waiting()
        self._ttl = 64

    def addr_local(self) -> Address:
        """Return where it is bound."""
        return self._address

    def wait(self, readable: bool, writable: bool, timeout: float) -> bool:
        """Wait until something is there; writing never blocks."""
        return writable or self._waiting.wait(timeout)

    def status(self) -> SocketStatus:
        """Return what state it is in."""
        return SocketStatus.OPENED

    def ttl(self) -> int:
        """Return the time to live that was set."""
        return self._ttl

    def set_ttl(self, ttl: int) -> None:
        """Remember it; nothing here is far away."""
        self._ttl = ttl


class LoopbackListener(_Bound):
    """Takes connections."""

    def accept(self) -> tuple[LoopbackStream, Address]:
        """Take a connection."""
        stream = self._waiting.take()
        assert isinstance(stream, LoopbackStream)
        return stream, stream.addr_peer()

    def offer(self, stream: LoopbackStream) -> bool:
        """Let a connection wait to be accepted."""
        return self._waiting.put(stream)

    def close(self) -> None:
        """Give the address up; who waits to be accepted is disconnected."""
        self._network.release("tcp", self._address)
        for stream in self._waiting.close():
            assert isinstance(stream, LoopbackStream)
            stream.close()


class LoopbackStream(HostTcpSocket):
    """A connection: a pair of local sockets, with addresses of this network."""

    def __init__(self, inner: socket.socket, local: Address, peer: Address) -> None:
        super().__init__(inner)
        self._local, self._peer = local, peer
        self._nodelay, self._hops = False, 64

    def addr_local(self) -> Address:
        """Return this end's address."""
        return self._local

    def addr_peer(self) -> Address:
        """Return the other end's address."""
        return self._peer

    def set_nodelay(self, on: bool) -> None:
        """Remember it: nothing is ever held back."""
        self._nodelay = on

    def nodelay(self) -> bool:
        """Return what was set."""
        return self._nodelay

    def ttl(self) -> int:
        """Return what was set."""
        return self._hops

    def set_ttl(self, ttl: int) -> None:
        """Remember it."""
        self._hops = ttl


class LoopbackUdp(_Bound):
    """A datagram socket."""

    def __init__(self, network: LoopbackNetworking, address: Address) -> None:
        super().__init__(network, address)
        self._peer: Address | None = None

    def connect(self, addr: Address) -> None:
        """Fix the other end."""
        self._peer = addr

    def addr_peer(self) -> Address | None:
        """Return the fixed other end."""
        return self._peer

    def send(self, data: bytes) -> int:
        """Send a datagram to the fixed other end."""
        if self._peer is None:
            raise NetworkError(NetworkErrorKind.NOT_CONNECTED)
        return self.send_to(data, self._peer)

    def send_to(self, data: bytes, addr: Address) -> int:
        """Send a datagram; one that nobody waits for is lost, as on any network."""
        self._network.deliver(addr, SocketReceiveFrom(bytes(data), False, self._address))
        return len(data)

    def offer(self, datagram: SocketReceiveFrom) -> None:
        """Let a datagram wait to be received."""
        if self._peer is None or self._peer == datagram.addr:
            self._waiting.put(datagram)

    def recv_from(self) -> SocketReceiveFrom:
        """Take a datagram."""
        found = self._waiting.take()
        assert isinstance(found, SocketReceiveFrom)
        return found

    def peek_from(self) -> SocketReceiveFrom:
        """Look at a datagram and leave it."""
        found = self._waiting.take(leave=True)
        assert isinstance(found, SocketReceiveFrom)
        return found

    def recv(self) -> SocketReceive:
        """Take a datagram."""
        return SocketReceive(self.recv_from().data)

    def peek(self) -> SocketReceive:
        """Look at a datagram and leave it."""
        return SocketReceive(self.peek_from().data)

    def close(self) -> None:
        """Give the address up."""
        self._network.release("udp", self._address)
        self._waiting.close()


class LoopbackNetworking(VirtualNetworking):
    """A network in memory; share one object between the runtimes of the programs that are to meet."""

    def __init__(self, names: dict[str, Sequence[str]] | None = None) -> None:
        self._names = {"localhost": ["127.0.0.1", "::1"], **(names or {})}
        self._bound: dict[tuple[str, Address], LoopbackListener | LoopbackUdp] = {}
        self._lock = threading.Lock()
        self._ports = itertools.cycle(range(49152, 65536))

    def _claim(self, kind: str, addr: Address) -> Address:
        """Find a free port where none was asked for. The caller holds the lock."""
        ip, port = addr
        if port == 0:
            port = next(p for p in itertools.islice(self._ports, 16384) if (kind, (ip, p)) not in self._bound)
        elif (kind, addr) in self._bound:
            raise NetworkError(NetworkErrorKind.ADDRESS_IN_USE)
        return ip, port

    def _find(self, kind: str, addr: Address) -> LoopbackListener | LoopbackUdp | None:
        anywhere = ipaddress.IPv4Address(0) if addr[0].version == 4 else ipaddress.IPv6Address(0)
        return self._bound.get((kind, addr)) or self._bound.get((kind, (anywhere, addr[1])))

    def release(self, kind: str, addr: Address) -> None:
        """Give an address up."""
        with self._lock:
            self._bound.pop((kind, addr), None)

    def deliver(self, addr: Address, datagram: SocketReceiveFrom) -> None:
        """Hand a datagram to whoever is bound there."""
        with self._lock:
            found = self._find("udp", addr)
        if isinstance(found, LoopbackUdp):
            found.offer(datagram)

    def listen_tcp(
        self, addr: Address, only_v6: bool, reuse_port: bool, reuse_addr: bool
    ) -> LoopbackListener:
        """Take connections at an address."""
        with self._lock:
            addr = self._claim("tcp", addr)
            listener = LoopbackListener(self, addr)
            self._bound["tcp", addr] = listener
            return listener

    def bind_udp(self, addr: Address, reuse_port: bool, reuse_addr: bool) -> LoopbackUdp:
        """Open a datagram socket at an address."""
        with self._lock:
            addr = self._claim("udp", addr)
            found = LoopbackUdp(self, addr)
            self._bound["udp", addr] = found
            return found

    def connect_tcp(self, addr: Address, peer: Address, timeout: float | None) -> LoopbackStream:
        """Connect to a listener of this network."""
        with self._lock:
            listener = self._find("tcp", peer)
            local = (peer[0], addr[1] or next(self._ports))
        if not isinstance(listener, LoopbackListener):
            raise NetworkError(NetworkErrorKind.CONNECTION_REFUSED)
        ours, theirs = socket.socketpair()
        stream, other = LoopbackStream(ours, local, peer), LoopbackStream(theirs, peer, local)
        if not listener.offer(other):
            stream.close()
            other.close()
            raise NetworkError(NetworkErrorKind.CONNECTION_REFUSED)
        return stream

    def resolve(self, host: str, port: int | None, dns_server: IpAddress | None) -> Sequence[IpAddress]:
        """Return the addresses of a name that this network was given."""
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        if host not in self._names:
            raise NetworkError(NetworkErrorKind.ADDRESS_NOT_AVAILABLE)
        return [ipaddress.ip_address(text) for text in self._names[host]]

    def ip_list(self) -> Sequence[IpCidr]:
        """Return the loopback addresses."""
        return [IpCidr(ipaddress.IPv4Address("127.0.0.1"), 8), IpCidr(ipaddress.IPv6Address("::1"), 128)]
