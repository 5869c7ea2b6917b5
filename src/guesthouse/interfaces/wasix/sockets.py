"""Sockets: from an unbound one to a listener, a connection or a datagram socket (spec wasix 3.7).

Each is a descriptor with a :class:`Socket` behind it.  Where the network's own object has a host descriptor,
the data goes through that natively, and this module is asked for set-up only.
"""

from __future__ import annotations

import time
from typing import Any

from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.addresses import (
    INET4,
    INET6,
    family_of,
    read_address,
    unspecified,
    write_address,
)
from guesthouse.interfaces.wasix.generations import Generation
from guesthouse.interfaces.wasix.hostnet import HostNetworking
from guesthouse.interfaces.wasix.network import (
    Address,
    NetworkError,
    NetworkErrorKind,
    Shutdown,
    SocketStatus,
    TimeType,
)
from guesthouse.interfaces.wasix.program import AGAIN, INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal

INPROGRESS, IO, NOTCONN, NOTSOCK, NOTSUP, TIMEDOUT = 26, 29, 53, 57, 58, 73
TYPE_DGRAM, TYPE_STREAM = 5, 6
NONBLOCK = 4

STREAM, DATAGRAM = "stream", "datagram"


class Socket:
    """What stands behind a socket's descriptor.

    Attributes:
        family: number of its address family.
        kind: stream or datagram.
        state: ``pre``, ``listener``, ``stream``, ``udp`` or ``closed``.
        inner: the network's object, once there is one.
        local: the address that was bound before there was one.
        flags: options set before there was one.
        times: the five times, in seconds.
    """

    def __init__(self, family: int, kind: str, protocol: int) -> None:
        self.family, self.kind, self.protocol = family, kind, protocol
        self.state = "pre"
        self.inner: Any = None
        self.local: Address | None = None
        self.flags = {"only_v6": False, "reuse_port": False, "reuse_addr": False}
        self.times: dict[TimeType, float | None] = {}
        self.status = SocketStatus.OPENING
        self._tail = b""

    def become(self, state: str, inner: Any) -> None:
        """Go from a plain socket to what it is used as."""
        self.state, self.inner, self.status = state, inner, SocketStatus.OPENED

    @property
    def peer(self) -> Address | None:
        """Who is at the other end, if anybody."""
        if self.state not in ("stream", "udp"):
            return None
        found: Address | None = self.inner.addr_peer()
        return found

    # -- what `descriptors` asks of the object behind a descriptor

    @property
    def read_timeout(self) -> float | None:
        """Seconds that receiving may take."""
        return self.times.get(TimeType.READ_TIMEOUT)

    @property
    def write_timeout(self) -> float | None:
        """Seconds that sending may take."""
        return self.times.get(TimeType.WRITE_TIMEOUT)

    def _connected(self) -> None:
        if self.state == "pre":
            raise Refusal(NOTCONN)
        if self.state == "closed":
            raise Refusal(IO)
        if self.state == "listener":
            raise Refusal(NOTSUP)

    def receive(self, limit: int, peek: bool) -> tuple[bytes, bool] | None:
        """Take what has come in; ``None`` where it would block."""
        self._connected()
        if self._tail:
            data, rest = self._tail[:limit], self._tail[limit:]
            if not peek:
                self._tail = rest
            return data, False
        try:
            if not self.inner.wait(True, False, 0):
                return None
            got = self.inner.recv()
        except NetworkError as error:
            return self._gone(error)
        if self.state == "stream" or peek:
            self._tail = bytes(got.data) if peek else bytes(got.data[limit:])
            return bytes(got.data[:limit]), False
        return bytes(got.data[:limit]), got.truncated or len(got.data) > limit

    @staticmethod
    def _gone(error: NetworkError) -> tuple[bytes, bool] | None:
        if error.kind is NetworkErrorKind.WOULD_BLOCK:
            return None
        if error.kind is NetworkErrorKind.UNEXPECTED_EOF:
            return b"", False
        raise error

    def receive_from(self, limit: int, peek: bool) -> tuple[bytes, bool, Address] | None:
        """Take a datagram and learn where it is from; ``None`` where it would block."""
        self._connected()
        if self.state != "udp":
            raise Refusal(NOTSUP)
        try:
            if not self.inner.wait(True, False, 0):
                return None
            got = self.inner.peek_from() if peek else self.inner.recv_from()
        except NetworkError as error:
            if error.kind is NetworkErrorKind.WOULD_BLOCK:
                return None
            raise
        return bytes(got.data[:limit]), got.truncated or len(got.data) > limit, got.addr

    def send(self, data: bytes) -> int | None:
        """Send what can be sent; ``None`` where it would block."""
        self._connected()
        return self._sent(lambda: self.inner.send(data))

    def send_to(self, data: bytes, address: Address) -> int | None:
        """Send a datagram; ``None`` where it would block."""
        self._connected()
        if self.state != "udp":
            raise Refusal(NOTSUP)
        return self._sent(lambda: self.inner.send_to(data, address))

    def _sent(self, send: Any) -> int | None:
        try:
            if not self.inner.wait(False, True, 0):
                return None
            return int(send())
        except NetworkError as error:
            if error.kind is NetworkErrorKind.WOULD_BLOCK:
                return None
            raise

    def shutdown(self, how: int) -> None:
        """End one or both directions of a connection."""
        self._connected()
        if self.state == "udp":
            raise Refusal(NOTSUP)
        self.inner.shutdown(Shutdown(how))

    def ready(self, writing: bool) -> bool:
        """Say whether reading or writing would not block."""
        if self.inner is None or self._tail:
            return True
        return bool(self.inner.wait(not writing, writing, 0))

    def wait(self, writing: bool, seconds: float) -> None:
        """Wait until it is ready, for a while."""
        self.inner.wait(not writing, writing, seconds)

    def close(self) -> None:
        """Let go of the network's object."""
        inner, self.inner, self.state = self.inner, None, "closed"
        self.status = SocketStatus.CLOSED
        if inner is not None and hasattr(inner, "close"):
            inner.close()


# --- helpers -----------------------------------------------------------------------------------------


def socket_at(thread: GuestThread, fd: int) -> Socket:
    """Return the socket behind a descriptor.

    Raises:
        Refusal: 8 for a closed descriptor, 57 for one that is no socket.
    """
    found = descriptors.object_at(thread.program.process, fd)
    if not isinstance(found, Socket):
        raise Refusal(NOTSOCK)
    return found


def _install(thread: GuestThread, fd: int, socket: Socket) -> None:
    """Let the host's descriptor move the data, where the network's object has one."""
    fileno = getattr(socket.inner, "fileno", None)
    if fileno is not None and socket.state in ("stream", "udp"):
        filetype = TYPE_DGRAM if socket.state == "udp" else TYPE_STREAM
        descriptors.serve_natively(thread.program.process, fd, fileno(), filetype)
    _tell_times(thread, fd, socket)


def _tell_times(thread: GuestThread, fd: int, socket: Socket) -> None:
    descriptors.set_timeouts(thread.program.process, fd, socket.read_timeout, socket.write_timeout)


def _nonblocking(thread: GuestThread, fd: int) -> bool:
    return bool(descriptors.flags_of(thread.program.process, fd)[0] & NONBLOCK)


def check_family(socket: Socket, address: Address) -> None:
    """Refuse an address of another family than the socket's."""
    if family_of(address[0]) != socket.family:
        raise Refusal(INVAL)


# --- making and connecting ---------------------------------------------------------------------------


def sock_open(thread: GuestThread, family: int, kind: int, protocol: int, result: int) -> int | None:
    """Open a socket; it needs no network before it is used."""
    thread.read(result, 4)
    third = thread.program.generation is Generation.G3
    names = {1: STREAM, 2: DATAGRAM} if third else {0: DATAGRAM, 1: STREAM}
    if kind not in names:
        return NOTSUP if kind <= 4 else INVAL
    if family not in (INET4, INET6):
        return NOTSUP if family in (0, 3) else INVAL
    socket = Socket(family, names[kind], protocol)
    filetype = TYPE_STREAM if socket.kind == STREAM else TYPE_DGRAM
    thread.pack("I", result, descriptors.open_object(thread.program.process, socket, filetype))
    return None


def sock_bind(thread: GuestThread, fd: int, address_at: int) -> int | None:
    """Give a socket its address: at once for datagrams, when it listens or connects for streams."""
    socket = socket_at(thread, fd)
    if socket.state != "pre" or socket.local is not None:
        return IO if socket.state == "closed" else NOTSUP
    if socket.family not in (INET4, INET6):
        return NOTSUP
    address = read_address(thread, address_at)
    check_family(socket, address)
    if socket.kind == STREAM:
        socket.local = address
        return None
    network = thread.program.runtime.networking()
    socket.become("udp", network.bind_udp(address, socket.flags["reuse_port"], socket.flags["reuse_addr"]))
    _install(thread, fd, socket)
    return None


def sock_listen(thread: GuestThread, fd: int, backlog: int) -> int | None:
    """Take connections at the address that was bound."""
    socket = socket_at(thread, fd)
    if socket.state == "closed":
        return IO
    if socket.kind != STREAM or socket.state != "pre":
        return NOTSUP
    if socket.local is None:
        return INVAL
    flags = socket.flags
    network = thread.program.runtime.networking()
    listener = network.listen_tcp(socket.local, flags["only_v6"], flags["reuse_port"], flags["reuse_addr"])
    socket.become("listener", listener)
    return None


def _accept(thread: GuestThread, fd: int, flags: int) -> tuple[int, Address]:
    socket = socket_at(thread, fd)
    if socket.state != "listener":
        raise Refusal({"pre": NOTCONN, "closed": IO}.get(socket.state, NOTSUP))
    if flags & ~NONBLOCK:
        raise Refusal(INVAL)
    timeout = 0 if _nonblocking(thread, fd) else socket.times.get(TimeType.ACCEPT_TIMEOUT)

    def take(seconds: float) -> tuple[Any, Address] | None:
        try:
            return socket.inner.accept() if socket.inner.wait(True, False, seconds) else None
        except NetworkError as error:
            if error.kind is NetworkErrorKind.WOULD_BLOCK:
                return None
            raise

    found = thread.wait(take, timeout)
    if found is None:
        raise Refusal(AGAIN if timeout == 0 else TIMEDOUT)
    inner, peer = found
    made = Socket(socket.family, STREAM, socket.protocol)
    made.become("stream", inner)
    number = descriptors.open_object(thread.program.process, made, TYPE_STREAM, flags)
    _install(thread, number, made)
    return number, peer


def sock_accept(thread: GuestThread, fd: int, flags: int, result: int, address_at: int) -> None:
    """Accept a connection; write its descriptor and who it is from."""
    thread.read(result, 4)
    thread.read(address_at, 8)
    number, peer = _accept(thread, fd, flags)
    thread.pack("I", result, number)
    write_address(thread, address_at, peer)


def sock_accept_plain(thread: GuestThread, fd: int, flags: int, result: int) -> None:
    """Accept a connection; write its descriptor (the form of preview 1)."""
    thread.read(result, 4)
    thread.pack("I", result, _accept(thread, fd, flags)[0])


def sock_connect(thread: GuestThread, fd: int, address_at: int) -> int | None:
    """Connect a stream, or fix the other end of a datagram socket."""
    socket = socket_at(thread, fd)
    peer = read_address(thread, address_at)
    check_family(socket, peer)
    if socket.state == "udp":
        socket.inner.connect(peer)
        return None
    if socket.state != "pre":
        return IO if socket.state == "closed" else 30 if socket.state == "stream" else NOTSUP
    if socket.kind != STREAM:
        return INVAL
    local = socket.local or unspecified(socket.family)
    network, connected = thread.program.runtime.networking(), True
    inner: Any
    timeout = socket.times.get(TimeType.CONNECT_TIMEOUT)
    if isinstance(network, HostNetworking) and _nonblocking(thread, fd):
        inner, connected = network.start_connecting(local, peer)
    elif isinstance(network, HostNetworking):
        inner = network.connect_tcp_in_slices(local, peer, timeout, thread.pause)
    else:
        inner = network.connect_tcp(local, peer, timeout)
    socket.become("stream", inner)
    for kind in (TimeType.READ_TIMEOUT, TimeType.WRITE_TIMEOUT):
        if socket.times.get(kind) is not None:
            inner.set_opt_time(kind, socket.times[kind])
    _install(thread, fd, socket)
    return None if connected else INPROGRESS


# --- what is known of a socket -----------------------------------------------------------------------


def sock_status(thread: GuestThread, fd: int, result: int) -> None:
    """Write what state a socket is in."""
    socket = socket_at(thread, fd)
    status = socket.status
    if socket.state in ("stream", "udp") and hasattr(socket.inner, "status"):
        status = SocketStatus(socket.inner.status())
    thread.pack("B", result, status)


def sock_addr_local(thread: GuestThread, fd: int, result: int) -> None:
    """Write where a socket is bound."""
    socket = socket_at(thread, fd)
    if socket.inner is None:
        address = socket.local or unspecified(socket.family)
    else:
        address = socket.inner.addr_local()
    write_address(thread, result, address)


def sock_addr_peer(thread: GuestThread, fd: int, result: int) -> None:
    """Write who is at the other end; unspecified where nobody is."""
    socket = socket_at(thread, fd)
    if socket.state == "listener":
        raise Refusal(NOTSUP)
    write_address(thread, result, socket.peer or unspecified(socket.family))


# --- datagrams with addresses, and files ---------------------------------------------------------------


def _until(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def sock_recv_from(
    thread: GuestThread,
    fd: int,
    vectors: int,
    count: int,
    flags: int,
    size_at: int,
    flags_at: int,
    address_at: int,
) -> int | None:
    """Receive a datagram and learn where it is from."""
    socket = socket_at(thread, fd)
    parts = _parts(thread, vectors, count)
    for pointer, length in ((size_at, 4), (flags_at, 2), (address_at, 8), *parts):
        thread.read(pointer, min(length, 1))
    limit = sum(length for _, length in parts)
    never = flags & 8 or _nonblocking(thread, fd)
    timeout = 0 if never else socket.read_timeout

    def take(seconds: float) -> tuple[bytes, bool, Address] | None:
        found = socket.receive_from(limit, bool(flags & 1))
        if found is None and seconds:
            socket.wait(False, seconds)
        return found

    found = thread.wait(take, timeout)
    if found is None:
        return AGAIN if never else TIMEDOUT
    data, cut, address = found
    position = 0
    for pointer, length in parts:
        thread.write(pointer, data[position : position + length])
        position += length
    thread.pack("I", size_at, len(data))
    thread.pack("H", flags_at, int(cut))
    write_address(thread, address_at, address)
    return None


def _parts(thread: GuestThread, vectors: int, count: int) -> list[tuple[int, int]]:
    if count > 1024:
        raise Refusal(INVAL)
    numbers = thread.unpack(f"{2 * count}I", vectors)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def sock_send_to(
    thread: GuestThread, fd: int, vectors: int, count: int, flags: int, address_at: int, size_at: int
) -> int | None:
    """Send a datagram to an address."""
    socket = socket_at(thread, fd)
    thread.read(size_at, 4)
    data = b"".join(thread.read(*part) for part in _parts(thread, vectors, count))
    address = read_address(thread, address_at)
    check_family(socket, address)
    never = flags & 1 or _nonblocking(thread, fd)

    def give(seconds: float) -> int | None:
        sent = socket.send_to(data, address)
        if sent is None and seconds:
            socket.wait(True, seconds)
        return sent

    sent = thread.wait(give, 0 if never else socket.write_timeout)
    if sent is None:
        return AGAIN if never else TIMEDOUT
    thread.pack("I", size_at, sent)
    return None


def resolve(
    thread: GuestThread, host: int, length: int, port: int, addresses: int, room: int, count_at: int
) -> None:
    """Write the addresses of a name, as many as there is room for."""
    from guesthouse.interfaces.wasix.addresses import IP_SIZE, ip_bytes

    name = thread.text(host, length)
    thread.read(count_at, 4)
    found = thread.program.runtime.networking().resolve(name, port or None, None)
    taken = found[:room]
    for index, ip in enumerate(taken):
        thread.write(addresses + IP_SIZE * index, ip_bytes(ip))
    thread.pack("I", count_at, len(taken))
