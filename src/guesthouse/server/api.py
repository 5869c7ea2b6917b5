"""The invoke API: list guests, call them, fetch results later, cancel.

=======================================  ==============================================================
``GET /v1/guests``                       the guests of the tenant
``GET /v1/guests/NAME``                  one of them
``POST /v1/guests/NAME/call``            call it with the body; waits; going away cancels the call
``POST /v1/guests/NAME/submit``          call it; answers 202 with the call's id at once
``GET /v1/calls/ID?wait=20s``            the result; 202 while it runs (waits up to ``wait``)
``DELETE /v1/calls/ID``                  cancel it
=======================================  ==============================================================

Query parameters of a call: ``entry``, ``wall``; of all: ``tenant``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guesthouse.calls import Call, CallFuture
from guesthouse.errors import Error, NotFound
from guesthouse.guest import Guest
from guesthouse.host import Host
from guesthouse.limits import parse_duration
from guesthouse.observe import log
from guesthouse.server import answers
from guesthouse.server.access import DEFAULT_TENANT, Access
from guesthouse.server.answers import BadRequest, TooLarge

#: Longest that a long poll is held, in seconds; proxies commonly cut off at 60.
LONGEST_WAIT = 55.0
#: Bytes of a body that is too large which are read before it is refused.
_MOST_DISCARDED = 8 << 20


_Value = TypeVar("_Value")


def parameter(request: Request, name: str, parse: Callable[[str], _Value]) -> _Value | None:
    """Return a query parameter, ``None`` when it is not there.

    Raises:
        BadRequest: it cannot be parsed.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadRequest(f"parameter {name!r}: {error}") from None


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body.

    Raises:
        TooLarge: it has more than ``most`` bytes; no more than that was read.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        await _discard(request)
        raise TooLarge(f"the body has {declared} bytes, {most} are accepted")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            await _discard(request)
            raise TooLarge(f"the body has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


async def _discard(request: Request) -> None:
    """Read on for a while: most clients look for an answer only when they have sent everything."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _MOST_DISCARDED:
            return


def describe(guest: Guest) -> dict[str, Any]:
    """Return what the API tells about a guest."""
    return {
        "name": guest.name,
        "tenant": guest.tenant,
        "interface": guest.interface,
        "capabilities": sorted(guest.granted),
        "limits": guest.limits.as_dict(),
        "size": guest.info.size,
        "sha256": guest.info.sha256,
    }


class InvokeApi:
    """Routes that call guests.

    Args:
        host: whose guests.
        access: who may act for which tenant.
    """

    def __init__(self, host: Host, access: Access) -> None:
        self.host, self.access = host, access

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/guests", self.list_guests),
            Route("/v1/guests/{name}", self.show_guest),
            Route("/v1/guests/{name}/call", self.call, methods=["POST"]),
            Route("/v1/guests/{name}/submit", self.submit, methods=["POST"]),
            Route("/v1/calls/{id:int}", self.result, methods=["GET"]),
            Route("/v1/calls/{id:int}", self.cancel, methods=["DELETE"]),
        ]

    def tenant(self, request: Request) -> str:
        """Return the tenant that a request acts for.

        Raises:
            NotFound: its token is another tenant's, which is told as if there were none.
        """
        own = self.access.tenant(request.headers)
        wanted = request.query_params.get("tenant")
        if own is None:
            return wanted or DEFAULT_TENANT
        if not isinstance(own, str) or wanted not in (None, own):
            raise NotFound("tenant", wanted or "")
        return own

    async def list_guests(self, request: Request) -> Response:
        """Answer ``GET /v1/guests``."""
        tenant = self.tenant(request)
        return JSONResponse([describe(guest) for guest in self.host.guests if guest.tenant == tenant])

    async def show_guest(self, request: Request) -> Response:
        """Answer ``GET /v1/guests/NAME``."""
        return JSONResponse(describe(self.guest(request)))

    def guest(self, request: Request) -> Guest:
        """Return the guest in a request's path.

        Raises:
            NotFound: the tenant has no such guest.
        """
        return self.host.guest(request.path_params["name"], tenant=self.tenant(request))

    async def call(self, request: Request) -> Response:
        """Answer ``POST /v1/guests/NAME/call``."""
        started = await self.start(request)
        ended = asyncio.ensure_future(asyncio.wrap_future(started))
        left = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self.host.scheduler.cancel(started.call, "the client went away")
            result = await ended
        finally:
            left.cancel()
        if result.error is not None and not isinstance(result.error, Error):
            log.error(
                "host function failed",
                guest=started.call.guest,
                call=started.call.id,
                error=repr(result.error),
            )
        return answers.of_result(result)

    async def submit(self, request: Request) -> Response:
        """Answer ``POST /v1/guests/NAME/submit``."""
        call = (await self.start(request)).call
        headers = {answers.CALL_HEADER: str(call.id), "Location": f"/v1/calls/{call.id}"}
        return JSONResponse({"call": call.id, "state": "running"}, 202, headers)

    async def start(self, request: Request) -> CallFuture:
        """Start the call that a request asks for.

        Raises:
            Error: there is no such guest, the body is too large, a parameter is wrong, or the host is full.
        """
        guest = self.guest(request)
        wall = parameter(request, "wall", parse_duration)
        data = await read_body(request, guest.limits.input)
        future = guest.submit(data, entry=request.query_params.get("entry"), wall=wall)
        assert isinstance(future, CallFuture)
        return future

    def find(self, request: Request) -> Call:
        """Return the call in a request's path.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        call = self.host.scheduler.find(request.path_params["id"])
        if call is None or call.tenant != self.tenant(request):
            raise NotFound("call", str(request.path_params["id"]))
        return call

    async def result(self, request: Request) -> Response:
        """Answer ``GET /v1/calls/ID``."""
        call = self.find(request)
        wait = min(parameter(request, "wait", parse_duration) or 0.0, LONGEST_WAIT)
        ended = asyncio.wrap_future(self.host.scheduler.future(call))
        # Shielded by `asyncio.wait`: giving up waiting must not cancel the call.
        done, _ = await asyncio.wait((ended,), timeout=wait)
        if not done:
            headers = {answers.CALL_HEADER: str(call.id), "Retry-After": "1"}
            return JSONResponse({"call": call.id, "state": "running"}, 202, headers)
        return answers.of_result(ended.result())

    async def cancel(self, request: Request) -> Response:
        """Answer ``DELETE /v1/calls/ID``."""
        self.host.scheduler.cancel(self.find(request), "cancelled through the invoke API")
        return Response(status_code=204)


async def _disconnected(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
