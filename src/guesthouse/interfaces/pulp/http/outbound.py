"""``transport.http.outbound``: cells that fetch (spec/pulp.md 3.5)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, needs, reply, request, wait
from guesthouse.interfaces.pulp.http.egress import EgressPolicy
from guesthouse.interfaces.pulp.http.server import LoopThread
from guesthouse.interfaces.pulp.structs import (
    HTTPFetchChunk,
    HTTPFetchRequest,
    HTTPFetchStreamHeader,
    HTTPResponse,
    Message,
)

if TYPE_CHECKING:
    import ssl

    import httpx

    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell
    from guesthouse.interfaces.pulp.http.client import Client

BODY_LIMIT = 50 << 20
DEFAULT_SECONDS = 30.0
READ_LIMIT = 4 << 20
STREAMS_PER_CELL = 64
NO_ALLOC = 6


class FetchStream:
    """An answer whose body is read piece by piece; every method runs on the event loop."""

    def __init__(self, answer: httpx.Response, pieces: AsyncGenerator[bytes], until: float | None) -> None:
        self._answer, self._pieces, self._until = answer, pieces, until
        self._rest = b""

    async def read(self, most: int) -> HTTPFetchChunk:
        """Return what is there, at most ``most`` bytes; failures are told in the chunk."""
        from guesthouse.interfaces.pulp.http.client import FetchFailed

        if not self._rest:
            try:
                async with asyncio.timeout_at(self._until):
                    self._rest = await anext(self._pieces)
            except StopAsyncIteration:
                return HTTPFetchChunk(eof=True)
            except (FetchFailed, TimeoutError) as error:
                return HTTPFetchChunk(eof=True, err=str(error) or "deadline exceeded")
        piece, self._rest = self._rest[:most], self._rest[most:]
        return HTTPFetchChunk(bytes=piece)

    async def drain(self) -> AsyncIterator[bytes]:
        """Yield what is left and close the stream."""
        try:
            while True:
                chunk = await self.read(READ_LIMIT)
                if chunk.err:
                    raise OSError(chunk.err)
                if chunk.eof:
                    return
                yield chunk.bytes
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        with contextlib.suppress(RuntimeError):  # a read is still in it, and will see the end
            await self._pieces.aclose()
        await self._answer.aclose()


class HTTPOutbound(Extension):
    """Whole and streamed fetches, under the egress guard.

    Args:
        threads: the event loop that requests run on.
    """

    name: ClassVar[str] = "transport.http.outbound"
    summary: ClassVar[str] = "Sends HTTP requests to public addresses."

    def __init__(self, threads: LoopThread) -> None:
        self.threads = threads
        self.policy = EgressPolicy()
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[str, Client] = {}
        self._ids = itertools.count(1)
        self._streams: dict[tuple[str, int], FetchStream] = {}
        self._lock = threading.Lock()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("http_fetch", "iiii", self.fetch, "Send a request and return the whole answer."),
            row("http_fetch_begin", "iiii", self.begin, "Send a request and return the answer's head."),
            row("http_fetch_read", "iiiii", self.read, "Read a piece of an answer's body."),
            row("http_fetch_close", "ii", self.close, "Let go of an answer."),
        )

    def setup(self, environment: Environment) -> None:
        """Read the exemptions.

        Raises:
            ValueError: ``HTTP_FETCH_ALLOW`` is malformed.
            ImportError: httpx is not installed.
        """
        needs("httpx", self.name)
        self.policy = EgressPolicy.parse(environment.settings.get("HTTP_FETCH_ALLOW", ""))

    def release(self, cell: Cell) -> None:
        """Close a cell's streams."""
        with self._lock:
            keys = [key for key in self._streams if key[0] == cell.id]
            streams = [self._streams.pop(key) for key in keys]
        for stream in streams:
            self.threads.run(stream.close(), 5)
        client = self._clients.pop(cell.id, None)
        if client is not None:
            self.threads.run(client.close(), 5)

    def teardown(self) -> None:
        """Close all connections."""
        while self._clients:
            _, client = self._clients.popitem()
            self.threads.run(client.close(), 5)

    # -- imports

    def fetch(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``http_fetch``; 4 for whatever went wrong on the way."""
        wanted = request(call, pointer, length, HTTPFetchRequest)
        seconds = wanted.timeout / 1e9 if wanted.timeout > 0 else DEFAULT_SECONDS
        answer = wait(call, self.threads.start(self.fetched(call.cell.id, wanted, seconds)))
        return _delivered(call, answer, pointer_out, length_out)

    def begin(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``http_fetch_begin``; without a timeout there is none."""
        from guesthouse.interfaces.pulp.http.client import headers_of

        wanted = request(call, pointer, length, HTTPFetchRequest)
        with self._lock:
            if sum(key[0] == call.cell.id for key in self._streams) >= STREAMS_PER_CELL:
                raise Refused(memory.FAILED, f"{STREAMS_PER_CELL} streams are open")
        answer, stream = wait(call, self.threads.start(self._begun(call.cell.id, wanted)))
        number = next(self._ids)
        with self._lock:
            self._streams[call.cell.id, number] = stream
        head = HTTPFetchStreamHeader(number, answer.status_code, headers_of(answer, wanted))
        return _delivered(call, head, pointer_out, length_out)

    def read(self, call: CellCall, low: int, high: int, most: int, pointer_out: int, length_out: int) -> int:
        """Serve ``http_fetch_read``: 1 when nothing is asked for; other failures are in the chunk."""
        if most == 0:
            return memory.EMPTY
        with self._lock:
            stream = self._streams.get((call.cell.id, high << 32 | low))
        if stream is None:
            chunk = HTTPFetchChunk(eof=True, err="unknown stream")
        else:
            chunk = wait(call, self.threads.start(stream.read(min(most, READ_LIMIT))))
        return _delivered(call, chunk, pointer_out, length_out)

    def close(self, call: CellCall, low: int, high: int) -> int:
        """Serve ``http_fetch_close``; closing twice is fine."""
        with self._lock:
            stream = self._streams.pop((call.cell.id, high << 32 | low), None)
        if stream is not None:
            self.threads.run(stream.close(), 5)
        return memory.OK

    # -- what others of this package need

    def splice(self, cell_id: str, number: int) -> AsyncIterator[bytes] | None:
        """Take a stream out of a cell's table, for `HTTPInbound.respond_stream`."""
        with self._lock:
            stream = self._streams.pop((cell_id, number), None)
        return stream.drain() if stream is not None else None

    async def fetched(self, cell_id: str, wanted: HTTPFetchRequest, seconds: float) -> HTTPResponse:
        """Fetch for a cell within a time; raises `Refused` with code 4."""
        from guesthouse.interfaces.pulp.http.client import FetchFailed, headers_of

        try:
            async with asyncio.timeout(seconds):
                answer, body = await self._client(cell_id).fetch(wanted, BODY_LIMIT)
        except FetchFailed as error:
            raise Refused(memory.FAILED, str(error)) from None
        except TimeoutError:
            raise Refused(memory.FAILED, f"no answer within {seconds:g} s") from None
        return HTTPResponse(0, answer.status_code, headers_of(answer, wanted), body=body)

    async def _begun(self, cell_id: str, wanted: HTTPFetchRequest) -> tuple[httpx.Response, FetchStream]:
        from guesthouse.interfaces.pulp.http.client import FetchFailed, body_of

        loop = asyncio.get_running_loop()
        until = loop.time() + wanted.timeout / 1e9 if wanted.timeout > 0 else None
        try:
            async with asyncio.timeout_at(until):
                answer = await self._client(cell_id).open(wanted)
        except (FetchFailed, TimeoutError) as error:
            raise Refused(memory.FAILED, str(error) or "deadline exceeded") from None
        return answer, FetchStream(answer, body_of(answer, wanted), until)

    def _client(self, cell_id: str) -> Client:
        """Return a cell's client, made on first use; runs on the event loop only.

        Each cell has connections of its own: one that keeps its servers busy takes nobody's place.
        """
        import httpx

        from guesthouse.interfaces.pulp.http.client import Client

        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        if cell_id not in self._clients:
            self._clients[cell_id] = Client(self.policy, self._tls)
        return self._clients[cell_id]


def _delivered(call: CellCall, message: Message, pointer_out: int, length_out: int) -> int:
    """Deliver a reply; this family of imports has a code of its own for a cell that cannot take one."""
    if not call.instance.exports("pulp_alloc"):
        raise Refused(NO_ALLOC, "the cell does not export pulp_alloc")
    return reply(call, message, pointer_out, length_out)
