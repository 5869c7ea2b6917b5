"""One address for several applications: requests go by the longest path prefix (spec/pulp.md 5.8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from guesthouse.interfaces.pulp.http.server import HTTPServer, LoopThread, Receive, Scope, Send
from guesthouse.interfaces.pulp.http.site import Reply, answer, plain
from guesthouse.interfaces.pulp.manifest.host import Route

if TYPE_CHECKING:
    import httpx

_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"host", b"content-length",
    }
)  # fmt: skip
_OWN = frozenset({b"x-pulp-application", b"x-pulp-application-instance", b"x-forwarded-prefix"})


class PrefixGateway:
    """Listens, and passes requests on to application instances.

    Args:
        routes: in any order.
        url_of: where an application instance answers now, ``None`` while it does not.
        threads: the event loop.
        address: where to listen.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        url_of: Callable[[str, str], str | None],
        threads: LoopThread,
        address: tuple[str, int],
    ) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.path))
        self._url_of = url_of
        self._threads = threads
        self._client: httpx.AsyncClient | None = None
        self._server = HTTPServer(self._serve, threads, address)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def close(self) -> None:
        """Stop listening and let go of all connections."""
        self._server.close()
        if self._client is not None:
            self._threads.run(self._client.aclose(), 5)

    def route(self, path: str) -> Route | None:
        """Return the route for a path: the longest that is the path itself or a directory above it."""
        for route in self._routes:
            if path == route.path or path.startswith(route.path.rstrip("/") + "/"):
                return route
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        await answer(send, await self._reply(scope, receive), head=scope["method"] == "HEAD")

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        route = self.route(scope["path"])
        if route is None:
            return plain(404, "404 page not found")
        target = self._url_of(route.application, route.instance)
        if target is None:
            return plain(503, "application not ready")
        return await self._forwarded(route, target, scope, receive)

    async def _forwarded(self, route: Route, target: str, scope: Scope, receive: Receive) -> Reply:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(None, connect=5.0))
        path = scope["raw_path"].decode("latin-1")[len(route.path.rstrip("/")) :] or "/"
        query = scope["query_string"].decode("latin-1")
        headers = [
            (name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP and name not in _OWN
        ]
        headers += [
            (b"x-pulp-application", route.application.encode()),
            (b"x-pulp-application-instance", route.instance.encode()),
            (b"x-forwarded-prefix", route.path.encode()),
        ]
        request = httpx.Request(
            scope["method"],
            f"{target}{path}{'?' + query if query else ''}",
            headers=headers,
            content=_incoming(receive),
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError:
            return plain(502, "bad gateway")
        kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
        return Reply(response.status_code, kept, _outgoing(response))


async def _incoming(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _outgoing(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    finally:
        await response.aclose()
