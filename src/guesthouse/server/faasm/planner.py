"""The planner's endpoint: ``POST /`` with a numbered message, or the older single call (spec faasm 6.1).

====  ===========================  ====================================================================
type  name                         answer
====  ===========================  ====================================================================
1     RESET                        as 2 and 4 together
2     FLUSH_AVAILABLE_HOSTS        nothing to do: this host is there, and the only one
3     FLUSH_EXECUTORS              local copies of state and of shared files are dropped
4     FLUSH_SCHEDULING_STATE       applications are forgotten (their calls go on), policy is the default
5     GET_AVAILABLE_HOSTS          this host, with its slots
6     GET_CONFIG                   address and timeouts
7     GET_EXEC_GRAPH               which call made which
8     GET_IN_FLIGHT_APPS           batches that have not finished
10    EXECUTE_BATCH                starts calls; answers at once with the application's id
11    EXECUTE_BATCH_STATUS         what has finished
12    PRELOAD_SCHEDULING_DECISION  checked: calls can be placed on this host only
13    SET_POLICY                   kept and told; all calls run here, whatever it is
14    GET_POLICY                   its name
15    SET_NEXT_EVICTED_VM          with policy ``spot``; where it is this host, batches are refused
====  ===========================  ====================================================================

Nobody has to poll: with ``?wait=20s`` types 10 and 11 answer when the batch has finished, or after that
time.  The older body (``user``, ``function``, ``input_data`` as plain text) is a synchronous call.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from guesthouse.calls import Call, CallNode
from guesthouse.errors import NotFound
from guesthouse.interfaces.faasm import Message, output_of
from guesthouse.limits import parse_duration
from guesthouse.server.answers import BadRequest
from guesthouse.server.api import LONGEST_WAIT, InvokeApi, parameter, read_body
from guesthouse.server.faasm.applications import Application, Applications
from guesthouse.server.faasm.messages import HOSTNAME, BatchRequest, CallRef, graph, status
from guesthouse.server.faasm.placement import Placement, check_decision

TYPES = {
    "RESET": 1, "FLUSH_AVAILABLE_HOSTS": 2, "FLUSH_EXECUTORS": 3, "FLUSH_SCHEDULING_STATE": 4,
    "GET_AVAILABLE_HOSTS": 5, "GET_CONFIG": 6, "GET_EXEC_GRAPH": 7, "GET_IN_FLIGHT_APPS": 8,
    "EXECUTE_BATCH": 10, "EXECUTE_BATCH_STATUS": 11, "PRELOAD_SCHEDULING_DECISION": 12, "SET_POLICY": 13,
    "GET_POLICY": 14, "SET_NEXT_EVICTED_VM": 15,
}  # fmt: skip

#: Types whose payload, when it is no JSON, is told as if the whole body were none: so does the reference.
_PAYLOAD_AS_BODY = {7, 11, 12}
#: Most calls of one application.
MOST_MESSAGES = 4096


class Envelope(msgspec.Struct, kw_only=True):
    """What is posted: a planner message, or an older single call."""

    http_type: int | str | None = None
    payload: str = ""
    user: str | None = None
    function: str | None = None
    input_data: str = ""
    cmdline: str = ""
    py_user: str = ""
    py_func: str = ""
    asynchronous: bool = msgspec.field(name="async", default=False)
    status: bool = False
    id: int = 0


class PlannerApi:
    """The planner's endpoint.

    Args:
        api: whose host and access rules.
    """

    def __init__(self, api: InvokeApi) -> None:
        self.api, self.host = api, api.host
        self._applications = Applications()
        self._placement = Placement()
        self._answers: dict[int, Callable[[Request, str], Awaitable[Response]]] = {
            1: self.reset,
            2: self.flush_hosts,
            3: self.flush,
            4: self.flush_scheduling,
            5: self.hosts,
            6: self.config,
            7: self.graph,
            8: self.in_flight,
            10: self.execute,
            11: self.status,
            12: self.preload,
            13: self.set_policy,
            14: self.policy,
            15: self.evict,
        }

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/", self.post, methods=["POST"])]

    async def post(self, request: Request) -> Response:
        """Answer ``POST /``."""
        # Base64 takes a third more than what it stands for.
        body = await read_body(request, self.host.limits.input * 2 + (1 << 20))
        if not body:
            return _refusal(400, "Empty request")
        try:
            envelope = msgspec.json.decode(body, type=Envelope)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return _refusal(400, "Bad JSON in request body")
        if envelope.http_type is None:
            return await self.single(request, envelope)
        kind = TYPES.get(str(envelope.http_type), envelope.http_type)
        answer = self._answers.get(kind) if isinstance(kind, int) else None
        if answer is None:
            return _refusal(400, "Unrecognised message type")
        try:
            return await answer(request, envelope.payload)
        except msgspec.DecodeError:
            body_text = "Bad JSON in request body"
            return _refusal(400, body_text if kind in _PAYLOAD_AS_BODY else "Bad JSON in body's payload")
        except BadRequest as error:
            return _refusal(400, str(error))

    # -- batches

    async def execute(self, request: Request, payload: str) -> Response:
        """Start a batch (type 10)."""
        try:
            batch = msgspec.json.decode(payload, type=BatchRequest)
        except msgspec.ValidationError as error:
            raise BadRequest("Bad BatchExecRequest") from error
        batch.check()
        if self._applications.held(batch.user, batch.app) + len(batch.messages) > MOST_MESSAGES:
            raise BadRequest(f"Bad BatchExecRequest: more than {MOST_MESSAGES} messages")
        self.permit(request, batch.user)
        if not self._placement.takes(batch.user):
            return _refusal(500, "No available hosts")
        inputs = [message.input() for message in batch.messages]  # all are checked before any starts
        calls: list[tuple[int, Message]] = []
        for asked, data in zip(batch.messages, inputs, strict=True):
            message = asked.message()
            calls.append((self.submit(batch.user, batch.function, data, message).id, message))
        app = self._applications.add(batch.user, batch.app, batch.kind, calls)
        await self._wait(request, app)
        return JSONResponse(status(app.id, app.found(self.host.scheduler)))

    async def status(self, request: Request, payload: str) -> Response:
        """Tell what of a batch has finished (type 11)."""
        app = self._application(request, payload)
        if app is None:
            return _refusal(500, "App not registered in results")
        await self._wait(request, app)
        return JSONResponse(status(app.id, app.found(self.host.scheduler)))

    def submit(self, user: str, function: str, data: bytes, message: Message) -> Call:
        """Start one call.

        Raises:
            CallRefused: the host takes no more.
        """
        return self.host.scheduler.submit(function, data, tenant=user, payload=message)

    async def _wait(self, request: Request, app: Application) -> None:
        """Wait as long as the request says for all calls of an application to end."""
        seconds = min(parameter(request, "wait", parse_duration) or 0.0, LONGEST_WAIT)
        scheduler = self.host.scheduler
        if seconds and (calls := app.unfinished(scheduler)):
            futures = [asyncio.wrap_future(scheduler.future(call)) for call in calls]
            await asyncio.wait(futures, timeout=seconds)

    def _application(self, request: Request, payload: str) -> Application | None:
        wanted = msgspec.json.decode(payload, type=CallRef)
        app = self._applications.get(wanted.app)
        if app is not None:
            self.permit(request, app.user)
        return app

    # -- what is known of calls

    async def graph(self, request: Request, payload: str) -> Response:
        """Tell which call made which (type 7)."""
        wanted = msgspec.json.decode(payload, type=CallRef)
        call = self.host.scheduler.find(wanted.id)
        if call is None or not self._permitted(request, call.tenant):
            return _refusal(500, "Failed getting exec. graph!")
        app = self._applications.get(wanted.app)
        known = dict(app.calls) if app is not None else {}
        message = known.get(call.id)
        top = self.host.scheduler.graph(call)
        whole = message is not None and message.record_graph
        return JSONResponse(graph(top, self._calls(call, top), wanted.app, whole=whole))

    def _calls(self, root: Call, top: CallNode) -> dict[int, Call]:
        """Return the calls of a graph by id."""
        found, todo = {root.id: root}, list(top.children)
        while todo:
            node = todo.pop()
            call = self.host.scheduler.find(node.call_id)
            if call is not None:
                found[node.call_id] = call
            todo += node.children
        return found

    async def in_flight(self, request: Request, payload: str) -> Response:
        """List the batches that have not finished (type 8)."""
        apps = []
        for app in self._applications:
            busy = len(app.unfinished(self.host.scheduler)) if self._permitted(request, app.user) else 0
            if busy:
                apps.append({"appId": app.id, "subType": app.kind, "hostIps": [HOSTNAME] * busy})
        evicted = self._placement.evicted(self._own(request))
        # Calls are neither moved nor frozen.
        answer = {"apps": apps, "numMigrations": 0, "nextEvictedVmIps": evicted, "frozenApps": []}
        return JSONResponse(answer)

    # -- this host

    async def hosts(self, request: Request, payload: str) -> Response:
        """List the hosts, which is this one (type 5)."""
        stats = self.host.scheduler.stats()
        slots = os.cpu_count() or 1
        entry = {
            "ip": HOSTNAME,
            "slots": slots,
            "usedSlots": min(slots, stats["live"] - stats["pending"]),
            "registerTs": {"epochMs": int(time.time() * 1000)},
        }
        return JSONResponse({"hosts": [entry]})

    async def config(self, request: Request, payload: str) -> Response:
        """Tell the configuration (type 6)."""
        return JSONResponse({"ip": HOSTNAME, "hostTimeout": 5, "numThreadsHttpServer": 1})

    async def flush(self, request: Request, payload: str) -> Response:
        """Drop local copies (type 3); functions need no flush, a new version is used at once."""
        self.host.service("state").flush(self._own(request))
        return PlainTextResponse("Flushed executors!")

    async def flush_hosts(self, request: Request, payload: str) -> Response:
        """Let the hosts register anew (type 2): this one is there at once."""
        return PlainTextResponse("Flushed available hosts!")

    async def flush_scheduling(self, request: Request, payload: str) -> Response:
        """Forget applications and what was said about placement (type 4); calls that run go on."""
        self._forget(request)
        return PlainTextResponse("Flushed scheduling state!")

    async def reset(self, request: Request, payload: str) -> Response:
        """Forget all that the planner knows (type 1)."""
        self._forget(request)
        return PlainTextResponse("Planner fully reset!")

    def _forget(self, request: Request) -> None:
        own = self._own(request)
        self._applications.forget(own)
        self._placement.reset(own)

    # -- where calls run

    async def preload(self, request: Request, payload: str) -> Response:
        """Take a decision that was made beforehand (type 12): nothing to keep, as it must be our own."""
        check_decision(payload)
        return PlainTextResponse("Decision pre-loaded to planner")

    async def set_policy(self, request: Request, payload: str) -> Response:
        """Choose the policy (type 13)."""
        self._placement.set_policy(self._own(request), payload)
        return PlainTextResponse("Policy set correctly")

    async def policy(self, request: Request, payload: str) -> Response:
        """Tell the policy (type 14)."""
        return PlainTextResponse(self._placement.policy(self._own(request)))

    async def evict(self, request: Request, payload: str) -> Response:
        """Name the hosts that will be taken away (type 15)."""
        self._placement.evict(self._own(request), payload)
        return PlainTextResponse("Next evicted VM set")

    # -- the older single call

    async def single(self, request: Request, envelope: Envelope) -> Response:
        """Answer an older body: a call, or the question how one is doing."""
        if envelope.status:
            return self._single_status(request, envelope.id)
        if not envelope.user:
            return _refusal(400, "Empty user")
        if not envelope.function:
            return _refusal(400, "Empty function")
        self.permit(request, envelope.user)
        message = Message(cmdline=envelope.cmdline, py_user=envelope.py_user, py_func=envelope.py_func)
        call = self.submit(envelope.user, envelope.function, envelope.input_data.encode(), message)
        if envelope.asynchronous:
            return PlainTextResponse(str(call.id))
        result = await asyncio.wrap_future(self.host.scheduler.future(call))
        failed = result.error is not None or result.code
        return Response(output_of(result), 500 if failed else 200, media_type="application/octet-stream")

    def _single_status(self, request: Request, call_id: int) -> Response:
        call = self.host.scheduler.find(call_id)
        if call is None or not self._permitted(request, call.tenant):
            return _refusal(404, "FAILED: no such call")
        if call.result is None:
            return PlainTextResponse("RUNNING")
        word = "SUCCESS" if call.result.ok else "FAILED"
        return Response(word.encode() + b": " + output_of(call.result), media_type="text/plain")

    # -- who may

    def permit(self, request: Request, user: str) -> None:
        """Let a request act for a user, who is a tenant here.

        Raises:
            NotFound: its token is another tenant's, which is told as if there were no such user.
        """
        if not self._permitted(request, user):
            raise NotFound("user", user)

    def _own(self, request: Request) -> str | None:
        """Return the tenant that a request's token is bound to; ``None`` for whoever operates the host."""
        own = self.api.access.tenant(request.headers)
        return own if isinstance(own, str) else None

    def _permitted(self, request: Request, user: str) -> bool:
        own = self.api.access.tenant(request.headers)
        return own is None or own == user


def _refusal(code: int, text: str) -> Response:
    return PlainTextResponse(text, code)
