"""Addresses, networks and routes in guest memory (spec wasix 3.5).

Tag, port and octets of an address sit at the same offsets in both layouts, so 20 bytes are read and at most
20 written; only lists of networks and routes have strides that differ.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from guesthouse.interfaces.wasix.network import Address, IpAddress, IpCidr, IpRoute
from guesthouse.interfaces.wasix.program import INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal

UNSPEC, INET4, INET6 = 0, 1, 2
NOTSUP = 58

#: Bytes of an address without a port, alike in both layouts as far as it matters.
IP_SIZE = 18
#: Bytes of a network by layout, and where the prefix of an IPv6 one is.
CIDR = {1: (20, 18), 2: (28, 26)}
#: Bytes of a route by layout, and where the router and the two times are.
ROUTE = {1: (72, 20, 40, 56), 2: (176, 28, 144, 160)}


def unspecified(family: int) -> Address:
    """Return the address that stands for none."""
    return (IPv6Address(0) if family == INET6 else IPv4Address(0)), 0


def family_of(ip: IpAddress) -> int:
    """Return the number of an address's family."""
    return INET6 if ip.version == 6 else INET4


def ip_bytes(ip: IpAddress) -> bytes:
    """Return an address without a port as 18 bytes."""
    return struct.pack("<Bx16s", family_of(ip), ip.packed)


def ip_from(data: bytes) -> IpAddress:
    """Return the address in 18 bytes.

    Raises:
        Refusal: it is of another family.
    """
    if data[0] == INET4:
        return IPv4Address(data[2:6])
    if data[0] == INET6:
        return IPv6Address(data[2:18])
    raise Refusal(NOTSUP if data[0] in (UNSPEC, 3) else INVAL)


def address_bytes(address: Address, *, network_order: bool) -> bytes:
    """Return an address and port as 20 bytes."""
    ip, port = address
    return struct.pack(
        "<Bx2s16s", family_of(ip), port.to_bytes(2, "big" if network_order else "little"), ip.packed
    )


def address_from(data: bytes, *, network_order: bool) -> Address:
    """Return the address and port in 20 bytes.

    Raises:
        Refusal: it is of another family.
    """
    port = int.from_bytes(data[2:4], "big" if network_order else "little")
    return ip_from(data[:2] + data[4:20]), port


def read_address(thread: GuestThread, pointer: int) -> Address:
    """Read an address and port."""
    return address_from(thread.read(pointer, 20), network_order=thread.program.network_order)


def write_address(thread: GuestThread, pointer: int, address: Address) -> None:
    """Write an address and port; an IPv4 one takes no more room than it needs."""
    data = address_bytes(address, network_order=thread.program.network_order)
    thread.write(pointer, data if address[0].version == 6 else data[:8])


def read_ip(thread: GuestThread, pointer: int) -> IpAddress:
    """Read an address."""
    return ip_from(thread.read(pointer, IP_SIZE))


def cidr_bytes(cidr: IpCidr, layout: int) -> bytes:
    """Return a network as the bytes of its structure."""
    size, prefix_at = CIDR[layout]
    data = bytearray(size)
    data[:IP_SIZE] = ip_bytes(cidr.ip)
    data[6 if cidr.ip.version == 4 else prefix_at] = cidr.prefix
    return bytes(data)


def cidr_from(data: bytes, layout: int) -> IpCidr:
    """Return the network in the bytes of its structure.

    Raises:
        Refusal: it is of another family, or the prefix is longer than the address.
    """
    ip = ip_from(data[:IP_SIZE])
    prefix = data[6 if ip.version == 4 else CIDR[layout][1]]
    if prefix > ip.max_prefixlen:
        raise Refusal(INVAL)
    return IpCidr(ip, prefix)


def read_cidr(thread: GuestThread, pointer: int) -> IpCidr:
    """Read a network."""
    layout = thread.program.layout
    # An IPv4 network ends with its prefix; what lies behind it may be beyond the guest's structure.
    (tag,) = thread.unpack("B", pointer)
    data = thread.read(pointer, 7).ljust(28, b"\0") if tag == INET4 else thread.read(pointer, CIDR[layout][0])
    return cidr_from(data, layout)


def time_bytes(seconds: float | None) -> bytes:
    """Return a time as an optional number of nanoseconds."""
    return struct.pack("<B7xQ", seconds is not None, int((seconds or 0) * 1e9))


def time_from(data: bytes) -> float | None:
    """Return the seconds in an optional number of nanoseconds.

    Raises:
        Refusal: the tag is neither none nor some.
    """
    tag, value = struct.unpack("<B7xQ", data)
    if tag > 1:
        raise Refusal(INVAL)
    return value / 1e9 if tag else None


def route_bytes(route: IpRoute, layout: int) -> bytes:
    """Return a route as the bytes of its structure."""
    size, via_at, preferred_at, expires_at = ROUTE[layout]
    data = bytearray(size)
    network = cidr_bytes(route.cidr, layout)
    data[: len(network)] = network
    data[via_at : via_at + IP_SIZE] = ip_bytes(route.via_router)
    data[preferred_at : preferred_at + 16] = time_bytes(route.preferred_until)
    data[expires_at : expires_at + 16] = time_bytes(route.expires_at)
    return bytes(data)
