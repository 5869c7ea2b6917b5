"""What cells answer over HTTP, at the address of the host's own gateway as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from guesthouse.interfaces.pulp.http.server import LoopThread

Result = TypeVar("Result")

_FRONT = "guesthouse.cells"


class Front(Protocol):
    """An ASGI application that knows beforehand what it answers."""

    def serves(self, scope: Any) -> bool:
        """Whether there is a route for a connection or request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve it."""


class CellRoutes(BaseRoute):
    """A Starlette route to all that cells registered; it matches nothing else.

    Args:
        front: returns what answers, ``None`` while nobody does.
        threads: returns the loop that it lives on; connections of the mounting server live on another.
    """

    def __init__(self, front: Callable[[], Front | None], threads: Callable[[], LoopThread]) -> None:
        self._front, self._threads = front, threads

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a cell answers this request."""
        front = self._front() if scope["type"] in ("http", "websocket") else None
        if front is None or not front.serves(scope):
            return Match.NONE, {}
        return Match.FULL, {_FRONT: front}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Find no name: patterns of cells have none."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on the cells' loop; each message crosses between the loops."""
        here, there = asyncio.get_running_loop(), self._threads().loop
        await _on(there, scope[_FRONT], scope, partial(_on, here, receive), partial(_on, here, send))


async def _on(
    loop: asyncio.AbstractEventLoop, function: Callable[..., Awaitable[Result]], *args: Any
) -> Result:
    """Await what runs on another loop; cancelling goes along."""

    async def work() -> Result:
        return await function(*args)

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))
