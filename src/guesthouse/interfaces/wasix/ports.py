"""Network management, web sockets and HTTP requests: what the guest asks of the network as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.addresses import (
    CIDR,
    ROUTE,
    cidr_bytes,
    read_cidr,
    read_ip,
    route_bytes,
    time_from,
)
from guesthouse.interfaces.wasix.network import SocketHttpRequest, StreamSecurity
from guesthouse.interfaces.wasix.program import INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.sockets import NOTSOCK, TYPE_STREAM, Socket

OVERFLOW = 61


def port_bridge(
    thread: GuestThread, network: int, network_len: int, token: int, token_len: int, security: int
) -> int | None:
    """Connect to a remote network."""
    if security not in (1, 2, 4, 8):
        return INVAL
    name, secret = thread.text(network, network_len), thread.text(token, token_len)
    thread.program.runtime.networking().bridge(name, secret, StreamSecurity(security))
    return None


def port_unbridge(thread: GuestThread) -> None:
    """Leave the remote network."""
    thread.program.runtime.networking().unbridge()


def port_dhcp_acquire(thread: GuestThread) -> None:
    """Ask for addresses."""
    thread.program.runtime.networking().dhcp_acquire()


def port_addr_add(thread: GuestThread, cidr_at: int) -> None:
    """Add an address."""
    cidr = read_cidr(thread, cidr_at)
    thread.program.runtime.networking().ip_add(cidr.ip, cidr.prefix)


def port_addr_remove(thread: GuestThread, address_at: int) -> None:
    """Remove an address."""
    thread.program.runtime.networking().ip_remove(read_ip(thread, address_at))


def port_addr_clear(thread: GuestThread) -> None:
    """Remove all addresses."""
    thread.program.runtime.networking().ip_clear()


def port_mac(thread: GuestThread, result: int) -> None:
    """Write the hardware address."""
    thread.write(result, thread.program.runtime.networking().mac()[:6].ljust(6, b"\0"))


def _write_list(
    thread: GuestThread, pointer: int, count_at: int, items: Sequence[bytes], stride: int
) -> int | None:
    """Write a list whose length goes in and out; nothing when there is no room for all of it."""
    (room,) = thread.unpack("I", count_at)
    thread.pack("I", count_at, len(items))
    if room < len(items):
        return OVERFLOW
    for index, item in enumerate(items):
        thread.write(pointer + stride * index, item)
    return None


def port_addr_list(thread: GuestThread, pointer: int, count_at: int) -> int | None:
    """Write the addresses."""
    layout = thread.program.layout
    found = [cidr_bytes(cidr, layout) for cidr in thread.program.runtime.networking().ip_list()]
    return _write_list(thread, pointer, count_at, found, CIDR[layout][0])


def port_gateway_set(thread: GuestThread, address_at: int) -> None:
    """Set the default gateway."""
    thread.program.runtime.networking().gateway_set(read_ip(thread, address_at))


def port_route_add(
    thread: GuestThread, cidr_at: int, via_at: int, preferred_at: int, expires_at: int
) -> None:
    """Add a route."""
    thread.program.runtime.networking().route_add(
        read_cidr(thread, cidr_at),
        read_ip(thread, via_at),
        time_from(thread.read(preferred_at, 16)),
        time_from(thread.read(expires_at, 16)),
    )


def port_route_remove(thread: GuestThread, address_at: int) -> None:
    """Remove a route."""
    thread.program.runtime.networking().route_remove(read_ip(thread, address_at))


def port_route_clear(thread: GuestThread) -> None:
    """Remove all routes."""
    thread.program.runtime.networking().route_clear()


def port_route_list(thread: GuestThread, pointer: int, count_at: int) -> int | None:
    """Write the routes."""
    layout = thread.program.layout
    found = [route_bytes(route, layout) for route in thread.program.runtime.networking().route_list()]
    return _write_list(thread, pointer, count_at, found, ROUTE[layout][0])


# --- web sockets and HTTP (G1 and G2) ----------------------------------------------------------------


def ws_connect(thread: GuestThread, url: int, length: int, result: int) -> None:
    """Open a web socket; its messages go through a descriptor."""
    thread.read(result, 4)
    inner = thread.program.runtime.networking().ws_connect(thread.text(url, length))
    socket = Socket(0, "stream", 0)
    socket.become("stream", inner)
    thread.pack("I", result, descriptors.open_object(thread.program.process, socket, TYPE_STREAM))


def _requests(thread: GuestThread) -> dict[int, SocketHttpRequest]:
    """Requests under way, by each of their descriptors."""
    return thread.program.service("http", dict)


def http_request(
    thread: GuestThread,
    url: int,
    url_len: int,
    method: int,
    method_len: int,
    headers: int,
    headers_len: int,
    gzip: int,
    handles_at: int,
) -> int | None:
    """Start a request; its body, its answer and the answer's headers go through three descriptors."""
    if gzip > 1:
        return INVAL
    thread.read(handles_at, 12)
    request = thread.program.runtime.networking().http_request(
        thread.text(url, url_len),
        thread.text(method, method_len),
        thread.text(headers, headers_len),
        bool(gzip),
    )
    process = thread.program.process
    numbers = [
        descriptors.open_payload(process, b"") if host is None else descriptors.open_host(process, host)
        for host in (request.request, request.response, request.headers)
    ]
    requests = _requests(thread)
    for number in numbers:
        requests[number] = request
    thread.pack("3I", handles_at, *numbers)
    return None


def http_status(thread: GuestThread, fd: int, result: int) -> None:
    """Wait for a request's status and write it."""
    request = _requests(thread).get(fd)
    if request is None:
        raise Refusal(NOTSOCK)
    thread.read(result, 24)
    status = thread.wait(request.status)
    assert status is not None
    thread.pack("BB6xQH6x", result, 200 <= status.status < 300, status.redirected, status.size, status.status)


def http_status_silent(thread: GuestThread, fd: int, result: int) -> None:
    """As :func:`http_status`, in the form of June 2022 that answers nothing."""
    http_status(thread, fd, result)
