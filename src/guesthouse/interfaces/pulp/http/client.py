"""The HTTP client of cells: httpx over connections that the egress policy has checked."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from http.cookiejar import CookieJar
from typing import Any

import httpcore
import httpx

from guesthouse.interfaces.pulp.http.egress import EgressDenied, EgressPolicy, resolve
from guesthouse.interfaces.pulp.http.headers import canonical
from guesthouse.interfaces.pulp.structs import HTTPFetchRequest

REDIRECTS = 10
#: What the address and the body say already; as Go's client, ours does not let a request contradict them.
_NOT_TAKEN = frozenset({"Host", "Content-Length", "Transfer-Encoding", "Trailer"})
_OWN_HEADERS = {"User-Agent": "guesthouse-pulp"}


class FetchFailed(Exception):
    """A request could not be made, was refused, or its answer was too large or too late."""


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections only to addresses that the policy permits, to the very address it has checked."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await resolve(self._policy, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for _, address in found:
            try:
                return await self._inner.connect_tcp(address[0], port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise EgressDenied("cells do not reach Unix sockets")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, its failures in httpx's words."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx.AsyncBaseTransport):
    """A transport for httpx whose connections obey an egress policy."""

    def __init__(self, policy: EgressPolicy, tls: ssl.SSLContext | None = None) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=100,
            keepalive_expiry=15.0,
            network_backend=_GuardedBackend(policy),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects come here again, each with a connection checked anew."""
        url = request.url
        raw = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            answer = await self._pool.handle_async_request(raw)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise httpx.TransportError(str(error)) from error
    except (httpcore.UnsupportedProtocol, httpcore.ConnectionNotAvailable) as error:
        raise httpx.TransportError(str(error)) from error


class _NoCookies(CookieJar):
    """Cookies are the cells' own business: none is kept, so none gets into another request."""

    def extract_cookies(self, *_: object) -> None:
        """Keep nothing."""


class Client:
    """Sends requests for one cell; every method runs on one event loop.

    Args:
        policy: what may be reached.
        tls: trust for https; the system's own by default.
    """

    def __init__(self, policy: EgressPolicy, tls: ssl.SSLContext | None = None) -> None:
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(policy, tls),
            timeout=None,  # noqa: S113 - the whole fetch has one deadline
            trust_env=False,
            cookies=_NoCookies(),
        )

    async def open(self, wanted: HTTPFetchRequest) -> httpx.Response:
        """Send a request and return the answer with its body unread.

        Raises:
            FetchFailed: a malformed request, an address that is not permitted, a network failure.
        """
        named = ((canonical(name), value) for name, value in wanted.headers.items())
        given = {name: value for name, value in named if name not in _NOT_TAKEN}
        headers = {**_OWN_HEADERS, "Accept-Encoding": "gzip", **given}
        try:
            url = httpx.URL(wanted.url)
            if url.scheme not in ("http", "https") or not url.host:
                raise FetchFailed(f"only http and https URLs can be fetched, not {wanted.url!r}")
            request = httpx.Request(
                wanted.method.strip().upper() or "GET", url, headers=headers, content=wanted.body or None
            )
            return await self._followed(request)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError, OSError) as error:
            raise FetchFailed(str(error) or type(error).__name__) from error

    async def _followed(self, request: httpx.Request) -> httpx.Response:
        """Send a request and follow redirects; their bodies are never read, whatever their length."""
        for _ in range(REDIRECTS + 1):
            answer = await self._client.send(request, stream=True)
            following = answer.next_request
            if following is None:
                return answer
            await answer.aclose()
            cookie = request.headers.get("Cookie")
            if cookie is not None and following.url.host == request.url.host:
                following.headers["Cookie"] = cookie
            request = following
        raise FetchFailed(f"redirected more than {REDIRECTS} times")

    async def fetch(self, wanted: HTTPFetchRequest, limit: int) -> tuple[httpx.Response, bytes]:
        """Send a request and read the whole answer.

        Raises:
            FetchFailed: as `open`; or the body is larger than ``limit`` bytes.
        """
        answer = await self.open(wanted)
        pieces, size = [], 0
        try:
            async with contextlib.aclosing(body_of(answer, wanted)) as body:
                async for piece in body:
                    size += len(piece)
                    if size > limit:
                        raise FetchFailed(f"the body is larger than {limit} bytes")
                    pieces.append(piece)
        finally:
            await answer.aclose()
        return answer, b"".join(pieces)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def body_of(answer: httpx.Response, wanted: HTTPFetchRequest) -> AsyncGenerator[bytes]:
    """Yield the body: decoded when the encoding was our idea, as it came when the cell asked for it.

    Raises:
        FetchFailed: the connection broke.
    """
    asked = any(name.lower() == "accept-encoding" for name in wanted.headers)
    try:
        async for piece in answer.aiter_raw() if asked else answer.aiter_bytes():
            if piece:
                yield piece
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from error


def headers_of(answer: httpx.Response, wanted: HTTPFetchRequest) -> dict[str, str]:
    """Return the headers of an answer as cells get them: cookies one per line, others joined by commas."""
    asked = any(name.lower() == "accept-encoding" for name in wanted.headers)
    joined: dict[str, str] = {}
    for name, value in answer.headers.multi_items():
        key = canonical(name)
        separator = "\n" if key == "Set-Cookie" else ", "
        joined[key] = f"{joined[key]}{separator}{value}" if key in joined else value
    if not asked and "Content-Encoding" in joined:
        del joined["Content-Encoding"]
        joined.pop("Content-Length", None)
    return joined
