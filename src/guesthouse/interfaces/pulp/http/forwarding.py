"""What an application behind the gateway is told about who asked (RFC 7239, and the older headers).

The contract names ``X-Forwarded-Prefix`` alone; the others are what every proxy adds.  What a client says
about itself in them is thrown away, unless it is a proxy that the operator trusts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, TypeAlias

from guesthouse.errors import LoadError

Header: TypeAlias = tuple[bytes, bytes]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Comma list of addresses or CIDR of proxies in front of the gateway.
TRUSTED_PROXIES = "HTTP_TRUSTED_PROXIES"
_FOR, _HOST, _PROTO = b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"
_FORWARDED = b"forwarded"
_OTHERS = (b"x-real-ip",)


class Forwarding:
    """Writes the headers.

    Args:
        trusted: see :data:`TRUSTED_PROXIES`.

    Raises:
        LoadError: an entry is neither an address nor a CIDR.
    """

    def __init__(self, trusted: str = "") -> None:
        entries = (entry.strip() for entry in trusted.split(","))
        try:
            found = [ipaddress.ip_network(entry, strict=False) for entry in entries if entry]
        except ValueError as error:
            raise LoadError(f"{TRUSTED_PROXIES}: {error}; name addresses or CIDR") from None
        self._trusted: tuple[Network, ...] = tuple(found)

    def headers(self, scope: dict[str, Any]) -> list[Header]:
        """Return a request's headers, those about forwarding written anew.

        Args:
            scope: the ASGI scope of the request or WebSocket.
        """
        given: list[Header] = list(scope["headers"])
        kept = [(name, value) for name, value in given if not _about_forwarding(name)]
        client = str((scope.get("client") or ("", 0))[0])
        host = _last(given, b"host").decode("latin-1")
        proto = "https" if scope.get("scheme") in ("https", "wss") else "http"
        element = f"for={_node(client)};host={_quoted(host)};proto={proto}".encode("latin-1", "replace")
        chain: list[bytes] = [client.encode()]
        elements = [element]
        if self._trusts(client):
            chain = [*_all(given, _FOR), *chain]
            elements = [*_all(given, _FORWARDED), *elements]
            host = _last(given, _HOST).decode("latin-1") or host
            proto = _last(given, _PROTO).decode("latin-1") or proto
        return [
            *kept,
            (_FOR, b", ".join(chain)),
            (_HOST, host.encode("latin-1")),
            (_PROTO, proto.encode("latin-1")),
            (_FORWARDED, b", ".join(elements)),
        ]

    def prefix(self, scope: dict[str, Any]) -> str:
        """Return the prefix that a trusted proxy has taken off the path already; blank without one."""
        if not self._trusts(str((scope.get("client") or ("", 0))[0])):
            return ""
        return _last(scope["headers"], b"x-forwarded-prefix").decode("latin-1").rstrip("/")

    def _trusts(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._trusted if network.version == address.version)


def _about_forwarding(name: bytes) -> bool:
    lower = name.lower()
    return lower == _FORWARDED or lower.startswith(b"x-forwarded-") or lower in _OTHERS


def _all(given: Iterable[Header], wanted: bytes) -> list[bytes]:
    return [value for name, value in given if name.lower() == wanted and value.strip()]


def _last(given: Iterable[Header], wanted: bytes) -> bytes:
    found = _all(given, wanted)
    return found[-1] if found else b""


def _node(address: str) -> str:
    """An address as RFC 7239 writes it."""
    return f'"[{address}]"' if ":" in address else address or "unknown"


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'
