"""Socket options: flags, times and sizes, each in the states that have it (spec wasix 3.7)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.addresses import time_bytes, time_from
from guesthouse.interfaces.wasix.network import TimeType
from guesthouse.interfaces.wasix.program import INVAL, Body, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.sockets import IO, NOTSUP, Socket, socket_at

REUSE_PORT, REUSE_ADDR, NO_DELAY, ONLY_V6, BROADCAST, LOOP_V4, LOOP_V6, PROMISCUOUS = 1, 2, 3, 5, 6, 7, 8, 9
LINGER, RECV_BUF, SEND_BUF = 13, 15, 16
RECV_TIMEOUT, SEND_TIMEOUT, CONNECT_TIMEOUT, ACCEPT_TIMEOUT, TTL, MULTICAST_TTL = 19, 20, 21, 22, 23, 24

#: Flags of a socket that is nothing yet.
_PLAIN = {REUSE_PORT: "reuse_port", REUSE_ADDR: "reuse_addr", ONLY_V6: "only_v6"}
#: Flags of the network's objects, by state: the name of the getter.
_FLAGS = {
    "stream": {NO_DELAY: "nodelay"},
    "udp": {BROADCAST: "broadcast", LOOP_V4: "multicast_loop_v4", LOOP_V6: "multicast_loop_v6"},
    "raw": {PROMISCUOUS: "promiscuous"},
}
_TIMES = {
    RECV_TIMEOUT: TimeType.READ_TIMEOUT,
    SEND_TIMEOUT: TimeType.WRITE_TIMEOUT,
    CONNECT_TIMEOUT: TimeType.CONNECT_TIMEOUT,
    ACCEPT_TIMEOUT: TimeType.ACCEPT_TIMEOUT,
    LINGER: TimeType.LINGER,
}
#: Sizes by option: the getter's name and the states that have it.
_SIZES = {
    RECV_BUF: ("recv_buf_size", ("stream",)),
    SEND_BUF: ("send_buf_size", ("stream",)),
    TTL: ("ttl", ("stream", "udp", "listener")),
    MULTICAST_TTL: ("multicast_ttl_v4", ("udp",)),
}


def _flag_name(socket: Socket, option: int) -> str | None:
    name = _FLAGS.get(socket.state, {}).get(option)
    if name is None and not (socket.state == "pre" and option in _PLAIN):
        raise Refusal(INVAL)
    return name


def sock_set_opt_flag(thread: GuestThread, fd: int, option: int, value: int) -> int | None:
    """Set a flag of a socket."""
    socket = socket_at(thread, fd)
    if value > 1:
        return INVAL
    name = _flag_name(socket, option)
    if name is None:
        socket.flags[_PLAIN[option]] = bool(value)
    else:
        _call(socket.inner, f"set_{name}", bool(value))
    return None


def sock_get_opt_flag(thread: GuestThread, fd: int, option: int, result: int) -> None:
    """Write a flag of a socket."""
    socket = socket_at(thread, fd)
    name = _flag_name(socket, option)
    value = socket.flags[_PLAIN[option]] if name is None else _call(socket.inner, name)
    thread.pack("B", result, bool(value))


def _call(inner: Any, name: str, *arguments: Any) -> Any:
    method = getattr(inner, name, None)
    if method is None:
        raise Refusal(NOTSUP)
    return method(*arguments)


def _time(socket: Socket, option: int) -> TimeType:
    if option not in _TIMES:
        raise Refusal(INVAL)
    if option == LINGER and socket.state != "stream":
        raise Refusal(IO if socket.state == "pre" else INVAL)
    return _TIMES[option]


def sock_set_opt_time(thread: GuestThread, fd: int, option: int, value_at: int) -> None:
    """Set a time of a socket."""
    socket = socket_at(thread, fd)
    kind = _time(socket, option)
    value = time_from(thread.read(value_at, 16))
    if kind is TimeType.LINGER:
        _call(socket.inner, "set_linger", value)
        return
    socket.times[kind] = value
    if socket.state == "stream" and kind in (TimeType.READ_TIMEOUT, TimeType.WRITE_TIMEOUT):
        socket.inner.set_opt_time(kind, value)
    descriptors.set_timeouts(thread.program.process, fd, socket.read_timeout, socket.write_timeout)


def sock_get_opt_time(thread: GuestThread, fd: int, option: int, result: int) -> None:
    """Write a time of a socket."""
    socket = socket_at(thread, fd)
    kind = _time(socket, option)
    value = _call(socket.inner, "linger") if kind is TimeType.LINGER else socket.times.get(kind)
    thread.write(result, time_bytes(value))


def _size(socket: Socket, option: int) -> str:
    if option not in _SIZES:
        raise Refusal(INVAL)
    name, states = _SIZES[option]
    if socket.state not in states:
        raise Refusal(IO if socket.state == "pre" and option == TTL else INVAL)
    return name


def sock_set_opt_size(thread: GuestThread, fd: int, option: int, value: int) -> None:
    """Set a size of a socket."""
    socket = socket_at(thread, fd)
    name = _size(socket, option)
    if value > (0xFF if option in (TTL, MULTICAST_TTL) else 0x7FFFFFFF):
        raise Refusal(INVAL)
    _call(socket.inner, f"set_{name}", value)


def sock_get_opt_size(thread: GuestThread, fd: int, option: int, result: int) -> None:
    """Write a size of a socket."""
    socket = socket_at(thread, fd)
    thread.pack("Q", result, _call(socket.inner, _size(socket, option)))


def _multicast(name: str) -> Body:
    version = name[-1]

    def body(thread: GuestThread, fd: int, group_at: int, interface: int) -> int | None:
        socket = socket_at(thread, fd)
        if socket.state != "udp":
            return IO if socket.state == "pre" else NOTSUP
        # Both are bare octets, without a tag: 4 of each, or 16 and the number of an interface.
        if version == "4":
            group, via = (IPv4Address(thread.read(at, 4)) for at in (group_at, interface))
            _call(socket.inner, name, group, via)
        else:
            _call(socket.inner, name, IPv6Address(thread.read(group_at, 16)), interface)
        return None

    verb = "Join" if name.startswith("join") else "Leave"
    body.__name__, body.__doc__ = f"sock_{name}", f"{verb} an IPv{version} multicast group."
    return body


sock_join_multicast_v4 = _multicast("join_multicast_v4")
sock_leave_multicast_v4 = _multicast("leave_multicast_v4")
sock_join_multicast_v6 = _multicast("join_multicast_v6")
sock_leave_multicast_v6 = _multicast("leave_multicast_v6")
