"""Real sockets of this machine behind a list of rules; nothing is allowed that no rule allows."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from guesthouse.interfaces.wasix.network import (
    Address,
    IpAddress,
    IpCidr,
    NetworkError,
    NetworkErrorKind,
    Shutdown,
    SocketReceive,
    SocketReceiveFrom,
    SocketStatus,
    TimeType,
    VirtualNetworking,
)
from guesthouse.interfaces.wasix.rules import Rules

#: The longest that connecting blocks before it is asked whether it goes on.
SLICE = 0.05
LARGEST_DATAGRAM = 65536
#: Peers of a datagram socket that are remembered.
MOST_ASKED = 1024


def _host(address: Address) -> tuple[Any, ...]:
    ip, port = address
    return (str(ip), port) if ip.version == 4 else (str(ip), port, 0, 0)


def _address(pair: tuple[Any, ...]) -> Address:
    return ipaddress.ip_address(pair[0].partition("%")[0]), pair[1]


def _family(ip: IpAddress) -> socket.AddressFamily:
    return socket.AF_INET if ip.version == 4 else socket.AF_INET6


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except OSError as error:
        raise NetworkError.of(error) from None


class HostSocket:
    """What all sockets of this machine have.  Never blocks except in :meth:`wait`.

    Args:
        inner: the socket of Python, which is taken over.
    """

    def __init__(self, inner: socket.socket) -> None:
        inner.setblocking(False)
        self._inner = inner

    def fileno(self) -> int:
        """Return the host descriptor, through which the data is moved natively."""
        return self._inner.fileno()

    def wait(self, readable: bool, writable: bool, timeout: float) -> bool:
        """Wait until the socket is ready."""
        poll = select.poll()
        poll.register(self._inner, (select.POLLIN if readable else 0) | (select.POLLOUT if writable else 0))
        return bool(poll.poll(max(0.0, timeout) * 1000))

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()

    def addr_local(self) -> Address:
        """Return where it is bound."""
        with _translated():
            return _address(self._inner.getsockname())

    def status(self) -> SocketStatus:
        """Return what state it is in."""
        return SocketStatus.CLOSED if self._inner.fileno() < 0 else SocketStatus.OPENED

    def _get(self, level: int, option: int) -> int:
        with _translated():
            return self._inner.getsockopt(level, option)

    def _set(self, level: int, option: int, value: int | bytes) -> None:
        with _translated():
            self._inner.setsockopt(level, option, value)

    def _ttl_option(self) -> tuple[int, int]:
        if self._inner.family == socket.AF_INET:
            return socket.IPPROTO_IP, socket.IP_TTL
        return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS

    def ttl(self) -> int:
        """Return the time to live of its packets."""
        return self._get(*self._ttl_option())

    def set_ttl(self, ttl: int) -> None:
        """Set it."""
        self._set(*self._ttl_option(), ttl)


class HostListener(HostSocket):
    """Takes connections."""

    def __init__(self, inner: socket.socket, rules: Rules) -> None:
        super().__init__(inner)
        self._rules = rules

    def accept(self) -> tuple[HostTcpSocket, Address]:
        """Take a connection."""
        with _translated():
            inner, peer = self._inner.accept()
        return HostTcpSocket(inner), _address(peer)


class _Receiving(HostSocket):
    def send(self, data: bytes) -> int:
        """Send what can be sent now."""
        with _translated():
            return self._inner.send(data)

    def recv(self) -> SocketReceive:
        """Return what has come in."""
        with _translated():
            return SocketReceive(self._inner.recv(LARGEST_DATAGRAM))

    def peek(self) -> SocketReceive:
        """Return what has come in, and leave it."""
        with _translated():
            return SocketReceive(self._inner.recv(LARGEST_DATAGRAM, socket.MSG_PEEK))

    def flush(self) -> None:
        """Nothing is held back."""


class HostTcpSocket(_Receiving):
    """A connection."""

    def __init__(self, inner: socket.socket) -> None:
        super().__init__(inner)
        self._times: dict[TimeType, float | None] = {}

    @property
    def inner(self) -> socket.socket:
        """The socket of Python."""
        return self._inner

    def failure(self) -> NetworkError | None:
        """Return why connecting failed, if it did; asking clears it."""
        code = self._get(socket.SOL_SOCKET, socket.SO_ERROR)
        return NetworkError.of(OSError(code, "connect")) if code else None

    def status(self) -> SocketStatus:
        """Return what state it is in; one that still connects is opening."""
        if self._inner.fileno() < 0:
            return SocketStatus.CLOSED
        try:
            self._inner.getpeername()
        except OSError:
            return SocketStatus.FAILED if self.wait(False, True, 0) else SocketStatus.OPENING
        return SocketStatus.OPENED

    def addr_peer(self) -> Address:
        """Return who is at the other end."""
        with _translated():
            return _address(self._inner.getpeername())

    def shutdown(self, how: Shutdown) -> None:
        """End one or both directions."""
        with _translated():
            self._inner.shutdown(int(how) - 1)

    def set_opt_time(self, kind: TimeType, value: float | None) -> None:
        """Remember a time; the host applies it."""
        self._times[kind] = value

    def opt_time(self, kind: TimeType) -> float | None:
        """Return a time."""
        return self._times.get(kind)

    def set_nodelay(self, on: bool) -> None:
        """Send small pieces at once."""
        self._set(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(on))

    def nodelay(self) -> bool:
        """Say whether small pieces are sent at once."""
        return bool(self._get(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def set_linger(self, value: float | None) -> None:
        """Set how long closing waits for what was not sent."""
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", value is not None, int(value or 0)))

    def linger(self) -> float | None:
        """Return how long closing waits."""
        with _translated():
            on, seconds = struct.unpack("ii", self._inner.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        return float(seconds) if on else None

    def set_recv_buf_size(self, size: int) -> None:
        """Set the size of the buffer for what comes in."""
        self._set(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def recv_buf_size(self) -> int:
        """Return it."""
        return self._get(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def set_send_buf_size(self, size: int) -> None:
        """Set the size of the buffer for what goes out."""
        self._set(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def send_buf_size(self) -> int:
        """Return it."""
        return self._get(socket.SOL_SOCKET, socket.SO_SNDBUF)


class HostUdpSocket(_Receiving):
    """A datagram socket."""

    def __init__(self, inner: socket.socket, rules: Rules) -> None:
        super().__init__(inner)
        self._rules = rules
        self._asked: dict[Address, None] = {}  # who wrote to us, and may be answered

    def connect(self, addr: Address) -> None:
        """Fix the other end."""
        self._rules.demand(addr, "out")
        with _translated():
            self._inner.connect(_host(addr))

    def send_to(self, data: bytes, addr: Address) -> int:
        """Send a datagram; whoever wrote to us may be answered."""
        if addr not in self._asked:
            self._rules.demand(addr, "out")
        with _translated():
            return self._inner.sendto(data, _host(addr))

    def recv_from(self) -> SocketReceiveFrom:
        """Take a datagram."""
        return self._take(0)

    def peek_from(self) -> SocketReceiveFrom:
        """Look at a datagram and leave it."""
        return self._take(socket.MSG_PEEK)

    def _take(self, flags: int) -> SocketReceiveFrom:
        with _translated():
            data, _, bits, peer = self._inner.recvmsg(LARGEST_DATAGRAM, 0, flags)
        address = _address(peer)
        self._asked[address] = None
        if len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        return SocketReceiveFrom(data, bool(bits & socket.MSG_TRUNC), address)

    def addr_peer(self) -> Address | None:
        """Return the fixed other end, if there is one."""
        try:
            return _address(self._inner.getpeername())
        except OSError:
            return None

    def set_broadcast(self, on: bool) -> None:
        """Allow sending to everybody."""
        self._set(socket.SOL_SOCKET, socket.SO_BROADCAST, int(on))

    def broadcast(self) -> bool:
        """Say whether sending to everybody is allowed."""
        return bool(self._get(socket.SOL_SOCKET, socket.SO_BROADCAST))

    def set_multicast_loop_v4(self, on: bool) -> None:
        """Have what is sent to an IPv4 group come back."""
        self._set(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(on))

    def multicast_loop_v4(self) -> bool:
        """Say whether it comes back."""
        return bool(self._get(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP))

    def set_multicast_loop_v6(self, on: bool) -> None:
        """Have what is sent to an IPv6 group come back."""
        self._set(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, int(on))

    def multicast_loop_v6(self) -> bool:
        """Say whether it comes back."""
        return bool(self._get(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP))

    def set_multicast_ttl_v4(self, ttl: int) -> None:
        """Set how far datagrams to an IPv4 group go."""
        self._set(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)

    def multicast_ttl_v4(self) -> int:
        """Return how far they go."""
        return self._get(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL)

    def join_multicast_v4(self, group: IpAddress, interface: IpAddress) -> None:
        """Join an IPv4 group."""
        self._set(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + interface.packed)

    def leave_multicast_v4(self, group: IpAddress, interface: IpAddress) -> None:
        """Leave an IPv4 group."""
        self._set(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group.packed + interface.packed)

    def join_multicast_v6(self, group: IpAddress, interface: int) -> None:
        """Join an IPv6 group."""
        self._set(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + struct.pack("@I", interface))

    def leave_multicast_v6(self, group: IpAddress, interface: int) -> None:
        """Leave an IPv6 group."""
        self._set(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, group.packed + struct.pack("@I", interface))


class HostNetworking(VirtualNetworking):
    """The network of this machine.

    Args:
        rules: see :class:`~guesthouse.interfaces.wasix.rules.Rules`; nothing is allowed without one.

    Raises:
        ValueError: a rule cannot be read.
    """

    def __init__(self, rules: Iterable[str] | str = ()) -> None:
        self.rules = Rules(rules)

    def listen_tcp(self, addr: Address, only_v6: bool, reuse_port: bool, reuse_addr: bool) -> HostListener:
        """Take connections at an address."""
        self.rules.demand(addr, "in")
        inner = self._bound(socket.SOCK_STREAM, addr, reuse_port, reuse_addr, only_v6)
        with _translated():
            inner.listen(128)
        return HostListener(inner, self.rules)

    def bind_udp(self, addr: Address, reuse_port: bool, reuse_addr: bool) -> HostUdpSocket:
        """Open a datagram socket at an address."""
        if addr[1]:  # a port that nobody chose receives answers only
            self.rules.demand(addr, "in")
        elif not self.rules:
            self.rules.refuse(addr, "out")
        return HostUdpSocket(self._bound(socket.SOCK_DGRAM, addr, reuse_port, reuse_addr, False), self.rules)

    @staticmethod
    def _bound(kind: int, addr: Address, reuse_port: bool, reuse_addr: bool, only_v6: bool) -> socket.socket:
        with _translated():
            inner = socket.socket(_family(addr[0]), kind)
            try:
                if reuse_addr:
                    inner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    inner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if addr[0].version == 6:
                    inner.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
                inner.bind(_host(addr))
            except BaseException:
                inner.close()
                raise
        return inner

    def connect_tcp(self, addr: Address, peer: Address, timeout: float | None) -> HostTcpSocket:
        """Connect from a local address to a peer."""
        return self.connect_tcp_in_slices(addr, peer, timeout, lambda: None)

    def start_connecting(self, addr: Address, peer: Address) -> tuple[HostTcpSocket, bool]:
        """Begin to connect and return at once: the socket, and whether it is connected already.

        When it becomes writable, the connection stands or :meth:`HostTcpSocket.failure` says why not.
        """
        self.rules.demand(peer, "out")
        found = self._unconnected(addr, peer)
        try:
            with _translated():
                found.inner.connect(_host(peer))
        except NetworkError as error:
            if error.kind is not NetworkErrorKind.WOULD_BLOCK:
                found.close()
                raise
            return found, False
        return found, True

    @staticmethod
    def _unconnected(addr: Address, peer: Address) -> HostTcpSocket:
        with _translated():
            inner = socket.socket(_family(peer[0]), socket.SOCK_STREAM)
            try:
                if addr[1] or int(addr[0]):
                    inner.bind(_host(addr))
            except BaseException:
                inner.close()
                raise
        return HostTcpSocket(inner)

    def connect_tcp_in_slices(
        self, addr: Address, peer: Address, timeout: float | None, check: Callable[[], object]
    ) -> HostTcpSocket:
        """As :meth:`connect_tcp`, calling ``check`` at least every 50 ms; what that raises ends it."""
        until = None if timeout is None else time.monotonic() + timeout
        found, done = self.start_connecting(addr, peer)
        try:
            while not done:
                done = found.wait(False, True, SLICE)
                check()
                if not done and until is not None and time.monotonic() >= until:
                    raise NetworkError(NetworkErrorKind.TIMED_OUT)
            failure = found.failure()
            if failure is not None:
                raise failure
        except BaseException:
            found.close()
            raise
        return found

    def resolve(self, host: str, port: int | None, dns_server: IpAddress | None) -> Sequence[IpAddress]:
        """Return the addresses of a name."""
        with contextlib.suppress(ValueError):
            return [ipaddress.ip_address(host)]
        self.rules.demand_name(host)
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NetworkError(NetworkErrorKind.ADDRESS_NOT_AVAILABLE, f"no address of {host!r}") from None
        found = [_address((str(info[4][0]), 0))[0] for info in infos]
        return list(dict.fromkeys(found))

    def ip_list(self) -> Sequence[IpCidr]:
        """Return the loopback addresses; the machine's others are nobody's business."""
        return [IpCidr(ipaddress.IPv4Address("127.0.0.1"), 8), IpCidr(ipaddress.IPv6Address("::1"), 128)]

    def mac(self) -> bytes:
        """Return a hardware address that is made up."""
        return b"\x02" + uuid.uuid5(uuid.NAMESPACE_DNS, "guesthouse").bytes[:5]  # 2: locally administered
