"""Who may talk to the gateway (DESIGN section 8, invariant 5).

On loopback no token is needed, but a web page in the user's browser can reach loopback too: so the
``Host`` header must name a loopback host (no name changes under our feet) and an ``Origin`` must be our own.
On any other address every request needs a token.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, URLPath
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

DEFAULT_TENANT = "default"
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """True for a loopback address or a name that always means one."""
    host = host.strip("[]").rstrip(".").lower()
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[V6]:PORT`` or ``:PORT`` (loopback).

    Raises:
        ValueError: the address has no port or is malformed.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        host, port = "", None
    if port is None or parts.path or parts.query or parts.username is not None:
        raise ValueError(f"{address!r} is no address to listen on; write HOST:PORT, such as 127.0.0.1:8640")
    return host, port


@dataclass(frozen=True)
class Access:
    """Tokens, and the tenants they stand for.

    Attributes:
        tokens: the tenant that each token may act for, ``None`` for any.
        loopback: whether the gateway is reachable from this machine alone.
    """

    tokens: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    loopback: bool = True

    def check_bind(self, host: str) -> None:
        """Refuse to be reachable from outside without a token.

        Raises:
            ValueError: the host is no loopback address and there is no token.
        """
        if not self.tokens and not is_loopback(host):
            raise ValueError(
                f"listening on {host} would let other machines in; give a token (--token, GUESTHOUSE_TOKEN),"
                " or listen on 127.0.0.1"
            )

    def refusal(self, headers: Headers) -> tuple[int, str] | None:
        """Return status and message for a request that must not pass, ``None`` for one that may."""
        if self.tokens:
            if self.tenant(headers) is _NOBODY:
                return 401, "a token is needed: Authorization: Bearer TOKEN"
            return None
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self.loopback and not is_loopback(name):
            return 403, f"{name!r} is not a name of this machine's loopback address"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "requests of other web sites are not accepted"
        return None

    def tenant(self, headers: Headers) -> str | _Nobody | None:
        """Return the tenant that a request may act for: one, ``None`` for any, or nobody's."""
        if not self.tokens:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found: str | _Nobody | None = _NOBODY
        # All are compared, in constant time, so that the time taken tells nothing.
        for token, tenant in self.tokens.items():
            if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
                found = tenant
        return found


class _Nobody:
    """The tenant of a request without a valid token."""


_NOBODY = _Nobody()


class AccessMiddleware:
    """Answers what must not pass, before anything else sees it."""

    def __init__(self, app: ASGIApp, access: Access, public: frozenset[str] = frozenset()) -> None:
        self.app, self.access, self.public = app, access, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket") and scope["path"] not in self.public:
            try:
                refusal = self.access.refusal(Headers(scope=scope))
            except ValueError:  # a Host or Origin that is no authority at all
                refusal = 400, "malformed Host or Origin header"
            if refusal is not None:
                status, message = refusal
                await answer(scope, receive, send, status, message)
                return
        await self.app(scope, receive, send)


class WithoutToken(BaseRoute):
    """A route that leads to guests, who must not learn the token that let the request in."""

    def __init__(self, route: BaseRoute) -> None:
        self.route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what the route matches."""
        return self.route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Find what the route finds."""
        return self.route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request without its ``Authorization``."""
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
        await self.route.handle({**scope, "headers": headers}, receive, send)


async def answer(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    """Send a refusal, as the API's error object; a WebSocket is closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    response = JSONResponse({"error": {"kind": "Refused", "message": message}}, status, headers=headers)
    await response(scope, receive, send)
