"""What is served at one address: routes of cells, and how a request becomes a reply (spec/pulp.md 3.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guesthouse.interfaces.pulp.errors import MESSAGE_LIMIT
from guesthouse.interfaces.pulp.http import headers
from guesthouse.interfaces.pulp.http.server import Receive, Scope, Send
from guesthouse.interfaces.pulp.routes import Route, RouteTable
from guesthouse.interfaces.pulp.structs import HTTPRequest

#: Bytes of a request body. Pulp reads up to 50 MiB, but hands no cell a message beyond 8 MiB: what lies
#: between would be read for nothing and answered with 500.
BODY_LIMIT = MESSAGE_LIMIT
#: Bytes of all bodies of one address that are read or wait for their reply.
BODIES_LIMIT = 256 << 20
REPLY_SECONDS = 30.0
BODY_SECONDS = 30.0

#: Serves a connection that is no plain request: a WebSocket or an event stream.
Special: TypeAlias = Callable[[Scope, Receive, Send, Route[str], dict[str, str]], Awaitable[None]]


@dataclass(slots=True)
class Reply:
    """An answer to a request: a status, headers, and a body or a stream of pieces of one."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""


def plain(status: int, text: str) -> Reply:
    """Return one of the host's own answers."""
    return Reply(status, [(b"Content-Type", b"text/plain")], text.encode())


class BodyTooLarge(Exception):
    """A request body is beyond `BODY_LIMIT`."""


class TooManyBodies(Exception):
    """The bodies of other requests take all the room there is."""


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Site:
    """The ASGI application of one address.

    Args:
        ask: hands a request to a cell and waits for the reply.

    Attributes:
        routes, sockets, streams: patterns of plain requests, WebSockets and event streams.
        on_socket, on_stream: who serves WebSockets and event streams, where somebody does.
    """

    def __init__(self, ask: Callable[[str, HTTPRequest], Awaitable[Reply]]) -> None:
        self._ask = ask
        self.routes: RouteTable[str] = RouteTable()
        self.sockets: RouteTable[str] = RouteTable()
        self.streams: RouteTable[str] = RouteTable()
        self.on_socket: Special | None = None
        self.on_stream: Special | None = None
        self._held = 0  # bytes of bodies; touched on the event loop only

    def drop(self, cell_id: str) -> None:
        """Forget everything that a cell registered."""
        for table in (self.routes, self.sockets, self.streams):
            table.drop(lambda owner: owner == cell_id)

    @contextmanager
    def renewing(self, cell_id: str) -> Iterator[None]:
        """Keep what a cell registered while it starts anew; see `RouteTable.renewing`."""
        with ExitStack() as stack:
            for table in (self.routes, self.sockets, self.streams):
                stack.enter_context(table.renewing(cell_id))
            yield

    def serves(self, scope: Scope) -> bool:
        """Whether a cell answers a connection or request."""
        path = scope["path"]
        if scope["type"] == "websocket":
            return self.sockets.find("GET", path) is not None
        method = scope["method"].upper()
        streamed = method == "GET" and self.streams.find(method, path) is not None
        return streamed or self.routes.find(method, path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request: WebSocket upgrades, then event streams, then plain routes."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            method = scope["method"].upper()
            if method == "GET" and self.on_stream is not None:
                found = self.streams.find(method, scope["path"])
                if found is not None:
                    await self.on_stream(scope, receive, send, *found)
                    return
            await answer(send, await self._reply(method, scope, receive), head=method == "HEAD")

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.sockets.find("GET", scope["path"])
        if found is not None and self.on_socket is not None:
            await self.on_socket(scope, receive, send, *found)
            return
        await receive()
        await send({"type": "websocket.close", "code": 1000})

    async def _reply(self, method: str, scope: Scope, receive: Receive) -> Reply:
        found = self.routes.find(method, scope["path"])
        if found is None:
            return plain(404, "404 page not found")
        body: list[bytes] = []
        try:
            try:
                if announces_body(scope):
                    async with asyncio.timeout(BODY_SECONDS):
                        async for piece in body_of(scope, receive):
                            body.append(piece)
                            self._hold(len(piece))
            except BodyTooLarge:
                return plain(413, "request body too large")
            except TooManyBodies:
                return plain(503, "too many request bodies at once")
            except (TimeoutError, Disconnected):
                return plain(408, "request body incomplete")
            route, captures = found
            return await self._ask(route.owner, described(method, scope, captures, b"".join(body)))
        finally:
            self._held -= sum(map(len, body))

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > BODIES_LIMIT:
            raise TooManyBodies


def described(method: str, scope: Scope, captures: dict[str, str], body: bytes) -> HTTPRequest:
    """Return a request as cells see it; its id is filled in later."""
    client = scope.get("client") or ("", "")
    host = f"[{client[0]}]" if ":" in client[0] else client[0]
    return HTTPRequest(
        method=method,
        path=scope["path"],
        params=captures,
        query=headers.query(scope["query_string"]),
        headers=headers.inbound(scope["headers"]),
        body=body,
        remote_addr=f"{host}:{client[1]}" if host else "",
    )


def announces_body(scope: Scope) -> bool:
    """Whether a request may have a body, as its head says; most have none and need not be waited for."""
    if scope["http_version"] not in ("1.0", "1.1"):
        return True  # later ones bring a body unannounced
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def body_of(scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body of a request, piece by piece.

    Raises:
        BodyTooLarge: it is, or is announced to be, larger than `BODY_LIMIT`.
        Disconnected: the client went away in the middle.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > BODY_LIMIT:
            raise BodyTooLarge
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > BODY_LIMIT:
            raise BodyTooLarge
        yield piece
        more = message.get("more_body", False)


async def answer(send: Send, reply: Reply, *, head: bool = False) -> None:
    """Send a reply; one to HEAD, and those that have none by rule, go without body."""
    bodiless = head or reply.status in (204, 304)
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": reply.status,
        "headers": reply.headers,
    }
    await send(start)
    if isinstance(reply.body, bytes):
        await send({"type": "http.response.body", "body": b"" if bodiless else reply.body})
        return
    async with aclosing(reply.body) as pieces:  # type: ignore[type-var]  # an asynchronous generator
        if not bodiless:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
