"""Uploading guests into a running host: off unless asked for, bounded, and checked before use.

``PUT /v1/guests/NAME?grant=faasm.state&grant=…`` with the module as body loads it, ``DELETE`` unloads it.
What an uploaded guest may be granted is a list that the operator gives; nothing by default.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guesthouse.errors import UnknownCapability
from guesthouse.limits import Limits, parse_duration, parse_size
from guesthouse.server.answers import BadRequest
from guesthouse.server.api import InvokeApi, describe, parameter, read_body
from guesthouse.server.shelf import Shelf


class UploadApi:
    """Routes that load and unload guests.

    Args:
        api: whose host and access rules.
        shelf: where uploaded guests are kept.
        grants: capabilities, or bare interface names, that an upload may ask for.
        most: bytes that a module may have.
    """

    def __init__(self, api: InvokeApi, shelf: Shelf, grants: Collection[str], most: int) -> None:
        self.api, self.host, self.most = api, api.host, most
        self.shelf = shelf
        self.allowed = self.host.registry.expand(grants)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/guests/{name}", self.put, methods=["PUT"]),
            Route("/v1/guests/{name}", self.delete, methods=["DELETE"]),
        ]

    async def put(self, request: Request) -> Response:
        """Answer ``PUT /v1/guests/NAME``."""
        name, query = request.path_params["name"], request.query_params
        tenant = self.api.tenant(request)
        granted = self.host.registry.expand(query.getlist("grant"), guest=name)
        if refused := sorted(granted - self.allowed):
            raise UnknownCapability(refused[0], guest=name)
        limits = self._limits(request)
        wasm = await read_body(request, self.most)
        guest = await run_in_threadpool(
            self.shelf.load, wasm, name, tenant, grant=granted, limits=limits,
            interface=query.get("interface"), sha256=query.get("sha256"),
        )  # fmt: skip
        return JSONResponse(describe(guest), 201, {"Location": f"/v1/guests/{quote(name)}"})

    def _limits(self, request: Request) -> Limits:
        """Return the limits a request asks for, never above the host's own."""
        given = {
            "memory": parameter(request, "memory", parse_size),
            "wall": parameter(request, "wall", parse_duration),
            "fuel": parameter(request, "fuel", int),
            "output": parameter(request, "output", parse_size),
        }
        try:
            wanted = self.host.limits.replace(
                **{name: value for name, value in given.items() if value is not None}
            )
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return wanted.at_most(self.host.limits)

    async def delete(self, request: Request) -> Response:
        """Answer ``DELETE /v1/guests/NAME``."""
        name, tenant = request.path_params["name"], self.api.tenant(request)
        await run_in_threadpool(self.shelf.unload, name, tenant)
        return Response(status_code=204)
