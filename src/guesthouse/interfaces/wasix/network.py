"""The network as the host sees it: 21 methods, all refused by default (spec wasix 2.4).

Addresses are ``(ip, port)`` pairs with an object of :mod:`ipaddress`; times are seconds or ``None``.  Every
socket and listener has ``wait(readable, writable, timeout) -> bool``: calls made after a true answer must not
block.  A socket whose data can be moved by its host descriptor offers ``fileno()``; the host then does so
natively, without asking the object.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NoReturn, Protocol

from guesthouse.errors import ResourceError

IpAddress = IPv4Address | IPv6Address
Address = tuple[IpAddress, int]


class NetworkErrorKind(enum.Enum):
    """What went wrong; :attr:`errno` is what the guest sees."""

    INVALID_FD = "InvalidFd"
    ALREADY_EXISTS = "AlreadyExists"
    LOCK = "Lock"
    IO_ERROR = "IOError"
    ADDRESS_IN_USE = "AddressInUse"
    ADDRESS_NOT_AVAILABLE = "AddressNotAvailable"
    BROKEN_PIPE = "BrokenPipe"
    CONNECTION_ABORTED = "ConnectionAborted"
    CONNECTION_REFUSED = "ConnectionRefused"
    CONNECTION_RESET = "ConnectionReset"
    INTERRUPTED = "Interrupted"
    INVALID_DATA = "InvalidData"
    INVALID_INPUT = "InvalidInput"
    NOT_CONNECTED = "NotConnected"
    NO_DEVICE = "NoDevice"
    PERMISSION_DENIED = "PermissionDenied"
    TIMED_OUT = "TimedOut"
    UNEXPECTED_EOF = "UnexpectedEof"
    WOULD_BLOCK = "WouldBlock"
    WRITE_ZERO = "WriteZero"
    UNSUPPORTED = "Unsupported"
    UNKNOWN_ERROR = "UnknownError"
    TOO_MANY_OPEN_FILES = "TooManyOpenFiles"
    INSUFFICIENT_MEMORY = "InsufficientMemory"

    @property
    def errno(self) -> int:
        """The WASI errno."""
        return _ERRNOS[self]


_Kind = NetworkErrorKind
_ERRNOS = dict(
    zip(
        NetworkErrorKind,
        (8, 20, 29, 29, 3, 4, 64, 13, 14, 15, 27, 29, 28, 53, 43, 63, 73, 65, 6, 51, 58, 29, 33, 48),
        strict=True,
    )
)

#: Kinds of the errno names of this host.
_FROM_HOST = {
    getattr(errno, name): kind
    for kind, names in {
        _Kind.INVALID_FD: "EBADF",
        _Kind.ALREADY_EXISTS: "EEXIST",
        _Kind.ADDRESS_IN_USE: "EADDRINUSE",
        _Kind.ADDRESS_NOT_AVAILABLE: "EADDRNOTAVAIL",
        _Kind.BROKEN_PIPE: "EPIPE",
        _Kind.CONNECTION_ABORTED: "ECONNABORTED",
        _Kind.CONNECTION_REFUSED: "ECONNREFUSED",
        _Kind.CONNECTION_RESET: "ECONNRESET",
        _Kind.INTERRUPTED: "EINTR",
        _Kind.INVALID_INPUT: "EINVAL",
        _Kind.NOT_CONNECTED: "ENOTCONN",
        _Kind.NO_DEVICE: "ENODEV",
        _Kind.PERMISSION_DENIED: "EACCES EPERM",
        _Kind.TIMED_OUT: "ETIMEDOUT",
        _Kind.WOULD_BLOCK: "EAGAIN EINPROGRESS",
        _Kind.UNSUPPORTED: "EOPNOTSUPP",
        _Kind.TOO_MANY_OPEN_FILES: "EMFILE ENFILE",
        _Kind.INSUFFICIENT_MEMORY: "ENOMEM ENOBUFS",
    }.items()
    for name in names.split()
}


class NetworkError(ResourceError):
    """The network refuses.

    Attributes:
        kind: why.
    """

    def __init__(self, kind: NetworkErrorKind | str, message: str = "") -> None:
        self.kind = NetworkErrorKind(kind)
        super().__init__(message or self.kind.value, resource="network")

    @property
    def errno(self) -> int:
        """The WASI errno that the guest sees."""
        return self.kind.errno

    @classmethod
    def of(cls, error: OSError) -> NetworkError:
        """Return what an error of the host means here."""
        if isinstance(error, TimeoutError):
            return cls(_Kind.TIMED_OUT, str(error))
        return cls(_FROM_HOST.get(error.errno or 0, _Kind.IO_ERROR), str(error))


class StreamSecurity(enum.IntFlag):
    """How a bridge is protected; one bit on the wire."""

    UNENCRYPTED = 1
    ANY_ENCRYPTION = 2
    CLASSIC_ENCRYPTION = 4
    DOUBLE_ENCRYPTION = 8


class SocketStatus(enum.IntEnum):
    """What state a socket is in."""

    OPENING = 0
    OPENED = 1
    CLOSED = 2
    FAILED = 3


class TimeType(enum.Enum):
    """Which time of a socket."""

    READ_TIMEOUT = "read"
    WRITE_TIMEOUT = "write"
    ACCEPT_TIMEOUT = "accept"
    CONNECT_TIMEOUT = "connect"
    LINGER = "linger"


class Shutdown(enum.IntEnum):
    """Which directions are shut down."""

    READ = 1
    WRITE = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class IpCidr:
    """An address and the length of its network's prefix."""

    ip: IpAddress
    prefix: int


@dataclass(frozen=True, slots=True)
class IpRoute:
    """A route; times in seconds."""

    cidr: IpCidr
    via_router: IpAddress
    preferred_until: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class SocketReceive:
    """What was received; ``truncated`` when there was more in a datagram than was taken."""

    data: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class SocketReceiveFrom:
    """What was received, and from where."""

    data: bytes
    truncated: bool
    addr: Address


@dataclass(frozen=True, slots=True)
class HttpStatus:
    """How a request fared."""

    redirected: bool
    size: int
    status: int
    status_text: str = ""


class SocketHttpRequest(Protocol):
    """A request under way: host descriptors to write its body to and read the answer from, and its status."""

    request: int | None
    response: int | None
    headers: int | None

    def status(self, timeout: float = 0) -> HttpStatus | None:
        """Return how it fared, once that is known.

        Raises:
            NetworkError: it failed.
        """


class VirtualSocket(Protocol):
    """What every socket has."""

    def wait(self, readable: bool, writable: bool, timeout: float) -> bool:
        """Wait until the socket is ready, at most ``timeout`` seconds."""

    def close(self) -> None:
        """Let go of the socket."""

    def addr_local(self) -> Address:
        """Return where it is bound."""

    def ttl(self) -> int:
        """Return the time to live of its packets."""

    def set_ttl(self, ttl: int) -> None:
        """Set it."""


class VirtualTcpListener(VirtualSocket, Protocol):
    """A socket that takes connections."""

    def accept(self) -> tuple[VirtualTcpSocket, Address]:
        """Take a connection."""


class VirtualTcpSocket(VirtualSocket, Protocol):
    """A connection."""

    def send(self, data: bytes) -> int:
        """Send what can be sent now."""

    def recv(self) -> SocketReceive:
        """Return what has come in; nothing at the end of the stream."""

    def peek(self) -> SocketReceive:
        """Return what has come in, and leave it."""

    def shutdown(self, how: Shutdown) -> None:
        """End one or both directions."""

    def addr_peer(self) -> Address:
        """Return who is at the other end."""

    def set_opt_time(self, kind: TimeType, value: float | None) -> None:
        """Set a time."""

    def opt_time(self, kind: TimeType) -> float | None:
        """Return a time."""

    def set_nodelay(self, on: bool) -> None:
        """Send small pieces at once."""

    def nodelay(self) -> bool:
        """Say whether small pieces are sent at once."""


class VirtualUdpSocket(VirtualSocket, Protocol):
    """A datagram socket."""

    def connect(self, addr: Address) -> None:
        """Fix the other end."""

    def send(self, data: bytes) -> int:
        """Send a datagram to the fixed other end."""

    def send_to(self, data: bytes, addr: Address) -> int:
        """Send a datagram."""

    def recv(self) -> SocketReceive:
        """Take a datagram."""

    def recv_from(self) -> SocketReceiveFrom:
        """Take a datagram and learn where it is from."""

    def addr_peer(self) -> Address | None:
        """Return the fixed other end."""


def _unsupported(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise NetworkError(NetworkErrorKind.UNSUPPORTED)


class VirtualNetworking:
    """A network; every method refuses, so an implementation brings what it has.

    The methods raise :class:`NetworkError`.
    """

    def ws_connect(self, url: str) -> Any:
        """Open a web socket."""
        _unsupported()

    def http_request(self, url: str, method: str, headers: str, gzip: bool) -> SocketHttpRequest:
        """Start a request; the headers are lines."""
        _unsupported()

    def bridge(self, network: str, access_token: str, security: StreamSecurity) -> None:
        """Connect to a remote network."""
        _unsupported()

    def unbridge(self) -> None:
        """Leave it."""
        _unsupported()

    def dhcp_acquire(self) -> Sequence[IpAddress]:
        """Ask for addresses."""
        _unsupported()

    def ip_add(self, ip: IpAddress, prefix: int) -> None:
        """Add an address."""
        _unsupported()

    def ip_remove(self, ip: IpAddress) -> None:
        """Remove an address."""
        _unsupported()

    def ip_clear(self) -> None:
        """Remove all addresses."""
        _unsupported()

    def ip_list(self) -> Sequence[IpCidr]:
        """Return the addresses."""
        _unsupported()

    def mac(self) -> bytes:
        """Return the six bytes of the hardware address."""
        _unsupported()

    def gateway_set(self, ip: IpAddress) -> None:
        """Set the default gateway."""
        _unsupported()

    def route_add(
        self,
        cidr: IpCidr,
        via_router: IpAddress,
        preferred_until: float | None,
        expires_at: float | None,
    ) -> None:
        """Add a route."""
        _unsupported()

    def route_remove(self, cidr: IpAddress) -> None:
        """Remove a route."""
        _unsupported()

    def route_clear(self) -> None:
        """Remove all routes."""
        _unsupported()

    def route_list(self) -> Sequence[IpRoute]:
        """Return the routes."""
        _unsupported()

    def bind_raw(self) -> Any:
        """Open a raw socket."""
        _unsupported()

    def bind_icmp(self, addr: IpAddress) -> Any:
        """Open a socket for ICMP."""
        _unsupported()

    def listen_tcp(
        self, addr: Address, only_v6: bool, reuse_port: bool, reuse_addr: bool
    ) -> VirtualTcpListener:
        """Take connections at an address."""
        _unsupported()

    def bind_udp(self, addr: Address, reuse_port: bool, reuse_addr: bool) -> VirtualUdpSocket:
        """Open a datagram socket at an address."""
        _unsupported()

    def connect_tcp(self, addr: Address, peer: Address, timeout: float | None) -> VirtualTcpSocket:
        """Connect from a local address to a peer."""
        _unsupported()

    def resolve(self, host: str, port: int | None, dns_server: IpAddress | None) -> Sequence[IpAddress]:
        """Return the addresses of a name."""
        _unsupported()


class UnsupportedVirtualNetworking(VirtualNetworking):
    """No network."""
