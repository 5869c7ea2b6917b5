"""The upload server: functions, state and shared files by HTTP (spec faasm 6.2).

=====================  ================================================================================
``PUT /f/USER/FUNC``   load a function; the next call runs it
``PUT /p/USER/FUNC``   store Python source for the Python runtime function
``PUT /s/USER/KEY``    set a state value and push it; ``GET`` reads it
``PUT /file``          store a shared file, named by the header ``FilePath``; ``GET`` reads it
``GET /ping``          ``PONG``
=====================  ================================================================================

A user is a tenant; a shared file is its tenant's own (``?tenant=``, the token's, or the default one), where
the reference shares it with everybody.  Mounted only where the operator allows uploads; a function gets what
of the Faasm interface the operator grants to uploads.  Everything is size-limited, and the gateway's token
rule applies.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from guesthouse.engine import read
from guesthouse.interfaces.faasm import ZYGOTE, interface
from guesthouse.manifest import valid_name
from guesthouse.observe import log
from guesthouse.resources.files import FileError, FileTrees, Tree
from guesthouse.resources.state.errors import InvalidKey
from guesthouse.server.answers import BadRequest, TooLarge
from guesthouse.server.api import read_body
from guesthouse.server.faasm.planner import PlannerApi
from guesthouse.server.shelf import Shelf
from guesthouse.snapshots import SnapshotRefused


class FaasmUploads:
    """The upload server's endpoints.

    Args:
        planner: whose host and access rules.
        shelf: where uploaded guests are kept.
        grants: capabilities, or bare interface names, that uploads may get.
        most: bytes that one body may have.
    """

    def __init__(self, planner: PlannerApi, shelf: Shelf, grants: Collection[str], most: int) -> None:
        self.planner, self.host, self.most = planner, planner.host, most
        self.shelf = shelf
        self.granted = self.host.registry.expand(grants)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/ping", self.ping),
            Route("/f/{user}/{name}", self.put_function, methods=["PUT"]),
            Route("/p/{user}/{name}", self.put_python, methods=["PUT"]),
            Route("/file", self.put_file, methods=["PUT"]),
            Route("/file", self.get_file, methods=["GET"]),
            Route("/s/{user}/{name:path}", self.put_state, methods=["PUT"]),
            Route("/s/{user}/{name:path}", self.get_state, methods=["GET"]),
        ]

    async def ping(self, request: Request) -> Response:
        """Answer ``GET /ping``."""
        return PlainTextResponse("PONG")

    async def put_function(self, request: Request) -> Response:
        """Answer ``PUT /f/USER/FUNC``.

        Raises:
            LoadError: the module is refused; nothing of it is kept, an older version stays.
        """
        user, name = self._target(request)
        wasm = await read_body(request, self.most)
        await run_in_threadpool(self._load, wasm, user, name)
        return PlainTextResponse("Function upload complete")

    def _load(self, wasm: bytes, user: str, name: str) -> None:
        info = read(wasm)
        # A module without an import of this interface is a function all the same when it comes this way.
        kind = None if interface.owns(info) else interface.name
        if ZYGOTE in info.exports:
            try:  # the zygote runs once, now, and its image is what every call starts from (spec 5.3)
                self.shelf.load(wasm, name, user, grant=self.granted, interface=kind, snapshot=True)
                return
            except SnapshotRefused as refused:
                log.info("zygote runs with every call", guest=name, tenant=user, reason=refused.reason)
        self.shelf.load(wasm, name, user, grant=self.granted, interface=kind)

    async def put_state(self, request: Request) -> Response:
        """Answer ``PUT /s/USER/KEY``.

        Raises:
            BadRequest: the key cannot be one.
            ResourceError: the tenant's quota is used up.
        """
        user, key = self._target(request)
        data = await read_body(request, self.most)
        await self._state("put", user, key, data)
        return PlainTextResponse("State set complete")

    async def get_state(self, request: Request) -> Response:
        """Answer ``GET /s/USER/KEY``; a value that does not exist is 404."""
        user, key = self._target(request)
        value = await self._state("get", user, key)
        if value is None:
            return PlainTextResponse("no such value", 404)
        return Response(value, media_type="application/octet-stream")

    async def _state(self, operation: str, user: str, key: str, *rest: bytes) -> Any:
        """Work on a value of the global tier."""
        state = self.host.service("state")
        try:
            return await run_in_threadpool(getattr(state, operation), user, key.encode(), *rest)
        except InvalidKey as error:
            raise BadRequest(str(error)) from None

    async def put_python(self, request: Request) -> Response:
        """Answer ``PUT /p/USER/FUNC``."""
        user, name = self._target(request)
        source = await read_body(request, self.most)
        await run_in_threadpool(self._store, user, f"pyfuncs/{user}/{name}/function.py", source)
        return PlainTextResponse("Python function upload complete")

    async def put_file(self, request: Request) -> Response:
        """Answer ``PUT /file``.

        Raises:
            BadRequest: the path leaves the shared files.
            TooLarge: the tenant's files would take more than they may.
        """
        path = request.headers.get("FilePath")
        if not path:
            return PlainTextResponse("Missing header FilePath", 400)
        data = await read_body(request, self.most)
        try:
            await run_in_threadpool(self._store, self.planner.api.tenant(request), path, data)
        except FileError as error:
            raise BadRequest(str(error)) from None
        return PlainTextResponse("Shared file upload complete")

    async def get_file(self, request: Request) -> Response:
        """Answer ``GET /file``; a file that is empty or does not exist is 500, as in the reference."""
        path = request.headers.get("FilePath")
        if not path:
            return PlainTextResponse("Missing header FilePath", 400)
        try:
            data = await run_in_threadpool(self._tree(self.planner.api.tenant(request)).get, path)
        except FileError as error:
            raise BadRequest(str(error)) from None
        if not data:
            return PlainTextResponse("Empty response", 500)
        return Response(data, media_type="application/octet-stream")

    def _store(self, tenant: str, path: str, data: bytes) -> None:
        """Keep a shared file.

        Raises:
            TooLarge: the tenant's files would take more than they may.
            FileError: the path leaves the shared files.
        """
        tree, host = self._tree(tenant), self.host
        most = host.limits.at_most((host.tenants or {}).get(tenant, host.limits)).disk
        if tree.usage() + len(data) > most:
            raise TooLarge(
                f"{len(data)} bytes more and the tenant's files take over {most}; delete some first"
            )
        tree.put(path, data)

    def _tree(self, tenant: str) -> Tree:
        trees: FileTrees = self.host.service("files")
        try:
            return trees.tree(tenant)
        except OSError as error:
            raise BadRequest(f"user {tenant[:80]!r} cannot have files: {error.strerror}") from None

    def _target(self, request: Request) -> tuple[str, str]:
        """Return user and name out of a request's path.

        Raises:
            NotFound: its token is another tenant's.
            BadRequest: no tenant can have that name.
        """
        user, name = request.path_params["user"], request.path_params["name"]
        self.planner.permit(request, user)
        if not valid_name(user):
            raise BadRequest(f"{user[:80]!r} cannot be a user: no space, slash or @, at most 200 characters")
        return user, name
