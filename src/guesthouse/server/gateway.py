"""The gateway: one application out of the invoke API, uploads, the page and what interfaces mount."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Collection, Sequence
from typing import Self

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from guesthouse import native_threads
from guesthouse.errors import Error
from guesthouse.host import Host
from guesthouse.interfaces import available
from guesthouse.limits import Size, parse_size
from guesthouse.observe import log
from guesthouse.server import answers
from guesthouse.server.access import Access, AccessMiddleware, WithoutToken, is_loopback, split_address
from guesthouse.server.api import InvokeApi
from guesthouse.server.faasm import FaasmUploads, PlannerApi
from guesthouse.server.page import StatusPage
from guesthouse.server.shelf import Shelf
from guesthouse.server.uploads import UploadApi

DEFAULT_LISTEN = "127.0.0.1:8640"


async def _refuse(request: Request, error: Exception) -> Response:
    return answers.of_error(error)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


class Gateway:
    """Serves a host over HTTP; a context manager that serves in the background while it is entered.

    An interface that has HTTP routes of its own offers ``http_routes(host)`` on its ``interface`` object
    and returns Starlette routes; the same rules of access apply to them.

    Args:
        host: whose guests are served.
        listen: ``HOST:PORT``; loopback by default; port 0 picks a free one.
        tokens: a token, or the tenant that each token may act for (``None`` for any).
        uploads: capabilities that uploaded guests may ask for; ``None`` switches uploads off.
        upload_limit: bytes that an uploaded module may have.
        mounts: further routes, such as those of cells that a manifest of Pulp's runs.

    Raises:
        ValueError: the address is malformed, or not loopback and there is no token.
    """

    def __init__(
        self,
        host: Host,
        listen: str = DEFAULT_LISTEN,
        *,
        tokens: str | dict[str, str | None] | None = None,
        uploads: Collection[str] | None = None,
        upload_limit: Size = "64MiB",
        mounts: Sequence[BaseRoute] = (),
    ) -> None:
        self.address, self.port = split_address(listen)
        given = {tokens: None} if isinstance(tokens, str) else dict(tokens or {})
        if any(len(token) < 8 for token in given):
            raise ValueError("a token needs at least 8 characters")
        self.access = Access(given, is_loopback(self.address))
        self.access.check_bind(self.address)
        self.host = host
        self.app = self._application(uploads, parse_size(upload_limit), mounts)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._native: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None

    def _application(
        self, uploads: Collection[str] | None, upload_limit: int, mounts: Sequence[BaseRoute]
    ) -> Starlette:
        api = InvokeApi(self.host, self.access)
        page = StatusPage(api)
        routes: list[BaseRoute] = [Route("/healthz", page.health)]
        planner = PlannerApi(api)
        routes += planner.routes()
        if uploads is not None:
            shelf = Shelf(self.host)
            routes += UploadApi(api, shelf, uploads, upload_limit).routes()
            routes += FaasmUploads(planner, shelf, uploads, upload_limit).routes()
        routes += api.routes()
        mounted = list(mounts)
        for interface in available():
            offered = getattr(interface, "http_routes", None)
            mounted += offered(self.host) if offered is not None else []
        routes += [WithoutToken(route) for route in mounted] if self.access.tokens else mounted
        routes.append(Route("/", page.page))  # a cell's own comes before it
        guard = Middleware(AccessMiddleware, access=self.access, public=frozenset({"/healthz"}))
        return Starlette(
            routes=routes, middleware=[guard], exception_handlers={Error: _refuse, ClientDisconnect: _gone}
        )

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{shown}:{self.port}"

    # -- serving ------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve until :meth:`stop` is called.

        Raises:
            OSError: the address is in use or cannot be bound.
        """
        bound = self._reserve()
        self._loop = asyncio.get_running_loop()
        logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns that embedding is new
        self._server = Server(
            self.app, address=bound, port=self.port, interface=Interfaces.ASGINL, websockets=True,
            log_enabled=False, http1_settings=HTTP1Settings(header_read_timeout=15_000),
        )  # fmt: skip
        log.info("gateway listens", url=self.url, guarded=bool(self.access.tokens))
        await self._server.serve()

    def _reserve(self) -> str:
        """Return the address to bind; finds a port for 0, refuses one that the server would share."""
        family, _, _, _, where = socket.getaddrinfo(self.address, self.port, type=socket.SOCK_STREAM)[0]
        bound = str(where[0])
        self.access.check_bind(bound)  # what a name stands for is not for the name to say
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bound, self.port))
                probe.listen()
            except OSError as error:
                raise OSError(error.errno, f"cannot listen on {self.url}: {error.strerror}") from None
            self.port = probe.getsockname()[1]
        return bound

    def start(self, timeout: float = 10.0) -> Self:
        """Serve on a thread of its own; returns once connections are accepted.

        Args:
            timeout: seconds to wait for that.

        Raises:
            OSError: as :meth:`serve`.
            Error: it did not start in time.
        """
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._serve_in_thread, args=(ready,), name="guesthouse-http", daemon=True
        )
        self._thread.start()
        if not ready.wait(timeout):
            raise Error(f"the gateway did not start within {timeout:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def _serve_in_thread(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._native = native_threads.name_this_thread("gh-http-")
            serving = asyncio.ensure_future(self.serve())
            while not serving.done() and not await self._answers():  # noqa: ASYNC110 - nobody tells when it listens
                await asyncio.sleep(0.01)
            if not serving.done():
                ready.set()
            await serving

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to whoever started it
            self._failure = error
        finally:
            ready.set()

    async def _answers(self) -> bool:
        if self._server is None:
            return False
        try:
            _, writer = await asyncio.open_connection(self.address, self.port)
        except OSError:
            return False
        writer.close()
        return True

    def refuse(self) -> None:
        """Accept no more connections; requests under way are answered, then :meth:`serve` ends."""
        server, loop = self._server, self._loop
        if server is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(server.stop)

    def stop(self) -> None:
        """End :meth:`serve`; from any thread, harmless when it does not run."""
        self.refuse()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)
            if self._native is not None:
                native_threads.wait_for_end(self._native)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
