"""``transport.http.inbound``: cells that answer HTTP requests (spec/pulp.md 3.4)."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.errors import MESSAGE_LIMIT
from guesthouse.interfaces.pulp.extension import (
    Drops,
    Environment,
    Event,
    Extension,
    Posted,
    Refused,
    request,
)
from guesthouse.interfaces.pulp.http import headers
from guesthouse.interfaces.pulp.http.server import HTTPServer, LoopThread, Soon, listen_address
from guesthouse.interfaces.pulp.http.site import REPLY_SECONDS, Reply, Site, plain
from guesthouse.interfaces.pulp.routes import BadPattern, RouteConflict, RouteTable
from guesthouse.interfaces.pulp.structs import (
    HTTPRequest,
    HTTPRespondStream,
    HTTPResponse,
    ListenRequest,
    RouteRegistration,
)
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

DEFAULT_PORT = "8080"

#: Bytes that an event has around its payload, with some to spare.
ENVELOPE = 128

NO_SERVER = 5
ALREADY_BOUND = 6
NO_REQUEST = 4

#: Opens the body of a fetch stream of a cell for splicing; ``None`` when the cell has no such stream.
Splice = Callable[[str, int], AsyncIterator[bytes] | None]


class _Pending:
    """A request that waits for its cell's reply."""

    __slots__ = ("cell_id", "future", "soon")

    def __init__(self, cell_id: str, soon: Soon) -> None:
        self.cell_id, self.soon = cell_id, soon
        self.future: asyncio.Future[Reply | None] = soon.loop.create_future()

    def resolve(self, reply: Reply) -> None:
        """Answer, from any thread; the first answer counts."""
        self.soon(self.settle, reply)

    def settle(self, reply: Reply | None) -> None:
        """Answer, on the event loop; ``None`` says that the time is over."""
        if not self.future.done():
            self.future.set_result(reply)


class HTTPInbound(Extension):
    """Listeners, routes, and the requests under way.

    Args:
        threads: the event loop that connections live on.
        splice: where ``http_respond_stream`` finds fetch streams.

    Attributes:
        ready: whether `setup` has run; WebSockets and event streams need that.
    """

    name: ClassVar[str] = "transport.http.inbound"
    summary: ClassVar[str] = "Listens for HTTP requests and routes them to cells."

    def __init__(self, threads: LoopThread | None = None, splice: Splice | None = None) -> None:
        self.threads = threads or LoopThread()
        self.splice = splice
        self.ready = False
        self.on_site: list[Callable[[Site], None]] = []
        self._environment = Environment()
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._lock = threading.Lock()
        self._listening: dict[str, tuple[HTTPServer, Site]] = {}
        self._chosen: dict[str, str] = {}
        self._default = ""
        self._renewing: set[str] = set()
        self._soon: Soon | None = None
        self._drops = Drops()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        row = self.row
        return (
            row("http_listen", "ii", self.listen, "Listen at an address of the cell's own."),
            row("http_register", "ii", self.register, "Route a method and a path pattern to the cell."),
            row("http_respond", "ii", self.respond, "Answer a request within the step that brought it."),
            row("http_respond_stream", "ii", self.respond_stream, "Answer with the body of a fetch stream."),
        )

    # -- life

    def setup(self, environment: Environment) -> None:
        """Listen at ``HTTP_PORT``; raises ``OSError`` when that is not possible."""
        self._environment = environment
        self.ready = True
        self._default = f":{environment.settings.get('HTTP_PORT') or DEFAULT_PORT}"
        self._site(self._default)

    def release(self, cell: Cell) -> None:
        """Drop a cell's routes and answer what waits for it with 503."""
        with self._lock:
            for _, site in self._listening.values():
                site.drop(cell.id)
            self._chosen.pop(cell.id, None)
            gone = [key for key, pending in self._pending.items() if pending.cell_id == cell.id]
            pendings = [self._pending.pop(key) for key in gone]
        for pending in pendings:
            pending.resolve(plain(503, "cell shut down"))

    @contextmanager
    def renew(self, cell: Cell) -> Iterator[None]:
        """Keep a cell's routes while its instance is replaced, so that requests wait instead of failing.

        What the new instance does not register again is dropped once it is up.
        """
        with self._lock:
            self._renewing.add(cell.id)
            chosen = self._chosen.pop(cell.id, None)
            sites = [site for _, site in self._listening.values()]
        try:
            with ExitStack() as stack:
                for site in sites:
                    stack.enter_context(site.renewing(cell.id))
                yield
        except BaseException:
            if chosen is not None:
                self._chosen.setdefault(cell.id, chosen)
            raise
        finally:
            self._renewing.discard(cell.id)

    def finalize(self, event_id: int) -> None:
        """Answer a request that its step left open with 500."""
        with self._lock:
            pending = self._pending.pop(event_id, None)
        if pending is not None:
            self._drops.add(pending.cell_id, "unanswered")
            pending.resolve(plain(500, "cell did not respond"))

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return what was dropped for a cell."""
        return self._drops.of(cell_id)

    def teardown(self) -> None:
        """Close all listeners."""
        with self._lock:
            servers = [server for server, _ in self._listening.values()]
            self._listening.clear()
            pendings = list(self._pending.values())
            self._pending.clear()
        for pending in pendings:
            pending.resolve(plain(503, "cell shut down"))
        for server in servers:
            server.close()
        self.ready = False

    # -- what others of this package need

    @property
    def urls(self) -> dict[str, str]:
        """Where each address that was asked for answers."""
        with self._lock:
            return {address: server.url for address, (server, _) in self._listening.items()}

    @property
    def url(self) -> str:
        """Where the default listener answers."""
        return self.urls[self._default]

    @property
    def site(self) -> Site | None:
        """What answers at the default listener, once it is set up."""
        with self._lock:
            found = self._listening.get(self._default)
            return found[1] if found else None

    def site_of(self, cell_id: str) -> Site:
        """Return the site of the address that a cell uses; raises ``OSError`` if it cannot be bound."""
        return self._site(self._chosen.get(cell_id, self._default))

    # -- imports

    def listen(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``http_listen``: 4 empty, 5 cannot bind, 6 too late."""
        address = request(call, pointer, length, ListenRequest).addr.strip()
        if not address:
            raise Refused(memory.FAILED, "addr is empty")
        cell_id = call.cell.id
        with self._lock:
            chosen = self._chosen.get(cell_id)
            has_routes = cell_id not in self._renewing and any(
                route.owner == cell_id
                for _, site in self._listening.values()
                for route in site.routes.routes()
            )
            # Again at the same address is fine: every instance of a cell does that.
            if chosen not in (None, address) or (chosen is None and has_routes):
                raise Refused(ALREADY_BOUND, f"the cell uses {chosen or 'the default address'} already")
            self._chosen[cell_id] = address
        try:
            self._site(address)
        except (OSError, ValueError) as error:
            with self._lock:
                self._chosen.pop(cell_id, None)
            log.warning("http listen failed", cell=call.guest, addr=address, error=str(error))
            raise Refused(NO_SERVER, str(error)) from None
        return memory.OK

    def register(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``http_register``: 4 bad or foreign pattern, 5 no server."""
        wanted = request(call, pointer, length, RouteRegistration)
        try:
            site = self.site_of(call.cell.id)
            new = site.routes.register(wanted.method, wanted.path, call.cell.id)
        except (OSError, ValueError) as error:
            if isinstance(error, BadPattern | RouteConflict):
                log.warning("http route refused", cell=call.guest, path=wanted.path, reason=str(error))
                raise Refused(memory.FAILED, str(error)) from None
            raise Refused(NO_SERVER, str(error)) from None
        if new:
            log.info("http route registered", cell=call.guest, method=wanted.method.upper(), path=wanted.path)
        return memory.OK

    def offer(self, call: CellCall, path: str, table: Callable[[Site], RouteTable[str]]) -> None:
        """Route a path to the cell in one of its listener's other tables: WebSockets or event streams.

        Raises:
            Refused: 4 for a bad or foreign path, 99 without inbound HTTP.
        """
        if not self.ready:
            raise Refused(memory.ABSENT, "transport.http.inbound was not set up; declare it as well")
        try:
            table(self.site_of(call.cell.id)).register("GET", path, call.cell.id)
        except (OSError, ValueError) as error:
            raise Refused(memory.FAILED, str(error)) from None

    def respond(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``http_respond``: 4 when no request of that id waits for this cell."""
        given = request(call, pointer, length, HTTPResponse)
        reply = Reply(_status(given.status), headers.outbound(given.headers, given.cookies), given.body)
        self._take(given.id, call, NO_REQUEST).resolve(reply)
        return memory.OK

    def respond_stream(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``http_respond_stream``: 4 no such fetch stream, 5 no such request."""
        given = request(call, pointer, length, HTTPRespondStream)
        with self._lock:
            pending = self._pending.get(given.id)
        if pending is None or pending.cell_id != call.cell.id:
            raise Refused(5, f"no request {given.id} waits")
        pieces = self.splice(call.cell.id, given.stream_id) if self.splice else None
        if pieces is None:
            raise Refused(memory.FAILED, f"no fetch stream {given.stream_id}")
        reply = Reply(_status(given.status), headers.outbound(given.headers, given.cookies), pieces)
        self._take(given.id, call, 5).resolve(reply)
        return memory.OK

    # -- requests under way

    def _take(self, request_id: int, call: CellCall, code: int) -> _Pending:
        with self._lock:
            pending = self._pending.get(request_id)
            if pending is None or pending.cell_id != call.cell.id:
                raise Refused(code, f"no request {request_id} waits for this cell")
            return self._pending.pop(request_id)

    async def _ask(self, cell_id: str, asked: HTTPRequest) -> Reply:
        """Queue a request for its cell and wait for the reply; runs on the event loop."""
        loop = asyncio.get_running_loop()
        if self._soon is None or self._soon.loop is not loop:
            self._soon = Soon(loop)
        pending = _Pending(cell_id, self._soon)
        asked.id = next(self._ids)
        payload = asked.encode()
        if len(payload) > MESSAGE_LIMIT - ENVELOPE:
            return plain(413, "request body too large")
        event = Event("http.request", payload, cell_id, asked.id, self.name)
        with self._lock:
            self._pending[asked.id] = pending
        posted = self._environment.emit(event)
        if posted is not Posted.QUEUED:
            with self._lock:
                self._pending.pop(asked.id, None)
            self._drops.add(cell_id, "queue_full" if posted is Posted.FULL else "shut_down")
            return plain(503, "queue full" if posted is Posted.FULL else "cell shut down")
        late = loop.call_later(REPLY_SECONDS, pending.settle, None)
        try:
            reply = await pending.future
        finally:
            late.cancel()
            with self._lock:
                self._pending.pop(asked.id, None)
        if reply is None:
            self._drops.add(cell_id, "timeout")
            return plain(504, "cell timeout")
        return reply

    # -- listeners

    def _site(self, address: str) -> Site:
        """Return the site at an address, listening first if nobody does yet."""
        with self._lock:
            found = self._listening.get(address)
            if found is not None:
                return found[1]
            site = Site(self._ask)
            for prepare in self.on_site:
                prepare(site)
            settings = self._environment.settings
            cert, key = settings.get("HTTP_CERT"), settings.get("HTTP_KEY")
            certificate = (Path(cert), Path(key)) if cert and key else None
            server = HTTPServer(
                site, self.threads, listen_address(address, settings.get("HTTP_HOST")), certificate
            )
            self._listening[address] = server, site
        log.info("http server started", addr=f"{server.host}:{server.port}", tls=server.tls)
        return site


def _status(status: int) -> int:
    """The status to send: 0 means 200, and what is no final status becomes 500."""
    return 200 if status == 0 else status if 200 <= status <= 999 else 500
