"""Which addresses cells may reach (spec/pulp.md 3.5): the guard against requests into private networks.

The check is made where the connection is opened, on the address that is connected to: what a name meant
a moment ago, or what a redirect says, does not matter.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")


class EgressDenied(OSError):
    """The policy keeps cells from an address."""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What is allowed beside public addresses.

    Attributes:
        hosts: names, or (name, port), that may resolve to anything.
        networks: addresses that may be reached under any name.
    """

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> EgressPolicy:
        """Read ``HTTP_FETCH_ALLOW``: a comma list of host[:port] or CIDR.

        Raises:
            ValueError: an entry is neither.
        """
        hosts: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for entry in filter(None, (part.strip() for part in text.split(","))):
            if "/" in entry:
                networks.append(ipaddress.ip_network(entry, strict=False))
                continue
            host, port = _split(entry)
            hosts.add((host.lower(), port))
        return cls(frozenset(hosts), tuple(networks))

    def permits(self, host: str, port: int, address: Address) -> bool:
        """Say whether a connection to ``address`` may be opened on behalf of ``host``."""
        name = host.strip("[]").lower().rstrip(".")
        if (name, None) in self.hosts or (name, port) in self.hosts:
            return True
        if any(address in network for network in self.networks if network.version == address.version):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Say whether an address, and any IPv4 address that it embeds, lies in the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        inner = embedded(address)
        if inner is not None:
            return is_public(inner)
        if address in _NAT64_LOCAL:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside of a mapped, compatible, 6to4, Teredo or NAT64 address."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


async def resolve(policy: EgressPolicy, host: str, port: int, kind: int = socket.SOCK_STREAM) -> list[Any]:
    """Resolve a name and return the socket addresses that the policy permits, as (family, address).

    Raises:
        EgressDenied: it resolves only to what is not permitted.
        OSError: it does not resolve.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=kind)
    return permitted(policy, host, port, found)


def permitted(policy: EgressPolicy, host: str, port: int, found: Iterable[Any]) -> list[Any]:
    """Keep what the policy permits out of the answers of ``getaddrinfo``; raises `EgressDenied` for none."""
    kept = [
        (family, address)
        for family, _, _, _, address in found
        if policy.permits(host, port, ipaddress.ip_address(address[0]))
    ]
    if not kept:
        raise EgressDenied(f"{host}:{port} is not a public address; HTTP_FETCH_ALLOW can exempt it")
    return kept


def _split(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, int(port.removeprefix(":")) if port else None
    host, colon, port = entry.partition(":")
    if ":" in port:  # a bare IPv6 address
        return entry, None
    return host, int(port) if colon else None
