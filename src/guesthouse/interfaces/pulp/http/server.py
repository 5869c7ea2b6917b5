"""A listening socket served by granian, inside this process (spec/pulp.md 3.4)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from guesthouse import native_threads

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Result = TypeVar("Result")

_BACKLOG = 1024


class Soon:
    """Runs calls of other threads on an event loop, in order; many of them for one wake-up.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called on the loop; nothing happens once that is closed."""
        self._calls.append((function, args))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._woken = False  # first, so that whoever comes after the last look wakes the loop again
        while self._calls:
            function, args = self._calls.popleft()
            try:
                function(*args)
            except Exception as error:  # noqa: BLE001 - one call must not cost the others
                self.loop.call_exception_handler({"message": f"{function} failed", "exception": error})


class LoopThread:
    """An event loop on a thread of its own, started on first use."""

    def __init__(self, name: str = "pulp-io") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._soon: Soon | None = None
        self._native: str | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    @property
    def soon(self) -> Soon:
        """Runs calls on the loop, from any thread."""
        loop = self.loop
        if self._soon is None or self._soon.loop is not loop:
            self._soon = Soon(loop)
        return self._soon

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, Result], timeout: float | None = None) -> Result:
        """Run a coroutine on the loop and wait for its result, from any other thread."""
        future = self.start(work)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what runs, stop the loop and wait for its thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            if self._native is not None:
                native_threads.wait_for_end(self._native)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = native_threads.name_this_thread(f"{self._name}-")
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


class HTTPServer:
    """One address that is being listened on.

    Args:
        application: ASGI application; runs on the loop.
        threads: the loop.
        address: host and port; port 0 picks a free one.
        certificate: PEM files of certificate and key for TLS.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        application: Application,
        threads: LoopThread,
        address: tuple[str, int],
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._threads = threads
        listening = _listening(address)
        bound = listening.getsockname()
        self.host, self.port = str(bound[0]), int(bound[1])
        self.tls = certificate is not None
        self._server = threads.run(self._made(application, listening.detach(), certificate))
        self._serving = asyncio.run_coroutine_threadsafe(self._server.serve(), threads.loop)

    @property
    def url(self) -> str:
        """Where the server answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def close(self) -> None:
        """Stop accepting, end the connections, release the port."""
        self._threads.loop.call_soon_threadsafe(self._server.stop)
        try:
            self._serving.result(5)
        except TimeoutError:
            self._serving.cancel()
        del self._server

    @staticmethod
    async def _made(application: Application, descriptor: int, certificate: tuple[Path, Path] | None) -> Any:
        from guesthouse.interfaces.pulp.http.embedded import EmbeddedServer

        return EmbeddedServer(application, descriptor, _BACKLOG, certificate)


def listen_address(text: str, opened: str | None) -> tuple[str, int]:
    """Split an address to listen at; without a host it means what the operator opened, else loopback.

    Args:
        text: ``host:port`` or ``:port``.
        opened: the address that the operator opened, such as ``0.0.0.0``; loopback by default.

    Raises:
        ValueError: no port, or a host that the operator did not open (DESIGN 8, invariant 5).
    """
    host, _, port = text.strip().rpartition(":")
    own = opened or "127.0.0.1"
    host = host.strip("[]") or own
    host = "127.0.0.1" if host == "localhost" else host
    if host != own and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"{host} is not a loopback address; set HTTP_HOST to open it")
    return host, int(port)


def _listening(address: tuple[str, int]) -> socket.socket:
    """Bind and listen; the port is never shared with a socket of another process."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
