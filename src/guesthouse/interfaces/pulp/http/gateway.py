"""One address in front of several applications (spec/pulp.md 5.8).

A request goes to the application whose route is the longest prefix of its path; the application sees the
rest of the path.  Nothing is sent over the network a second time: the request is handed to the
application's own listener within this process, WebSockets and event streams included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from guesthouse.interfaces.pulp.http.forwarding import Forwarding
from guesthouse.interfaces.pulp.http.server import Receive, Scope, Send
from guesthouse.interfaces.pulp.http.site import Site, answer, plain
from guesthouse.interfaces.pulp.manifest.routing import Route
from guesthouse.observe import log

APPLICATION = b"x-pulp-application"
INSTANCE = b"x-pulp-application-instance"
PREFIX = b"x-forwarded-prefix"
_OWN = {APPLICATION, INSTANCE}


class NotReady(Exception):
    """The application is not running now."""


#: Finds the site of an application's instance: ``None`` when it serves no HTTP; raises `NotReady`.
Find = Callable[[str, str], Site | None]


@dataclass(slots=True)
class _Sent:
    """Whether an answer has begun."""

    send: Send
    begun: bool = False

    async def __call__(self, message: dict[str, Any]) -> None:
        self.begun = True
        await self.send(message)


class Gateway:
    """The ASGI application in front of all applications.

    Args:
        routes: which instance answers below which path.
        find: finds an instance's own site.
        forwarding: writes what applications are told about who asked.
    """

    def __init__(self, routes: Sequence[Route], find: Find, forwarding: Forwarding | None = None) -> None:
        self._routes = sorted(routes, key=lambda route: len(route.path), reverse=True)
        self._find = find
        self._forwarding = forwarding or Forwarding()

    def serves(self, scope: Scope) -> bool:
        """Whether an application answers below a path."""
        return self.route(scope["path"]) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: 404 without a route, 503 while its application is not ready, 502 beyond."""
        if scope["type"] not in ("http", "websocket"):
            return
        route = self.route(scope["path"])
        if route is None:
            await _refuse(scope, receive, send, 404, "404 page not found")
            return
        try:
            site = self._find(route.application, route.instance)
        except NotReady:
            await _refuse(scope, receive, send, 503, "application not ready")
            return
        if site is None:
            await _refuse(scope, receive, send, 502, "the application serves no HTTP")
            return
        sent = _Sent(send)
        try:
            await site(self.forwarded(scope, route), receive, sent)
        except Exception:
            log.exception("application failed to answer", application=route.application)
            if sent.begun:
                raise
            await _refuse(scope, receive, send, 502, "the application failed to answer")

    def forwarded(self, scope: Scope, route: Route) -> Scope:
        """Return a request as the application sees it: without the prefix, with headers that say so."""
        prefix = "" if route.path == "/" else route.path
        path = scope["path"][len(prefix) :] or "/"
        headers = [(n, value) for n, value in self._forwarding.headers(scope) if n.lower() not in _OWN]
        headers += [
            (APPLICATION, route.application.encode()),
            (INSTANCE, route.instance.encode()),
            (PREFIX, (self._forwarding.prefix(scope) + prefix or "/").encode()),
        ]
        return {**scope, "path": path, "raw_path": quote(path).encode(), "headers": headers}

    def route(self, path: str) -> Route | None:
        """Return the longest route that is a prefix of a path, by whole segments."""
        for route in self._routes:
            if route.path in ("/", path) or path.startswith(route.path + "/"):
                return route
        return None


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    await answer(send, plain(status, text), head=scope["method"] == "HEAD")
