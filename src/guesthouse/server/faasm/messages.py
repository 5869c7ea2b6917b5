"""Batch requests, calls and execution graphs as the reference writes them in JSON (spec faasm 5.1, 6.1)."""

from __future__ import annotations

import base64
import binascii
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from guesthouse.calls import DONE, Call, CallNode
from guesthouse.interfaces.faasm import Message, message_of, output_of
from guesthouse.server.answers import BadRequest

#: Name of this host in messages.
HOSTNAME = socket.gethostname()

_Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]


class CallRequest(msgspec.Struct, kw_only=True):
    """One message of a batch; fields that this host has no use for are ignored.

    Attributes:
        user, function: which function to call.
        input_data: its input, in base64.
        cmdline: its command line.
        py_user, py_func, py_entry: the fields of the Python runtime function.
        record_exec_graph: whether the execution graph will be asked for.
        executed_host: where it is to run; only of a decision that is made beforehand.
    """

    user: str = ""
    function: str = ""
    input_data: str = ""
    cmdline: str = ""
    py_user: str = ""
    py_func: str = ""
    py_entry: str = msgspec.field(name="pythonEntry", default="")
    record_exec_graph: bool = False
    executed_host: str = msgspec.field(name="executedHost", default="")

    def input(self) -> bytes:
        """Return the input.

        Raises:
            BadRequest: it is no base64.
        """
        try:
            return base64.b64decode(self.input_data, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("Bad BatchExecRequest: input_data is not base64") from None

    def message(self) -> Message:
        """Return what the call carries beside its input."""
        return Message(
            cmdline=self.cmdline,
            py_user=self.py_user,
            py_func=self.py_func,
            py_entry=self.py_entry,
            record_graph=self.record_exec_graph,
        )


class BatchRequest(msgspec.Struct, kw_only=True):
    """A batch of calls of one function.

    Attributes:
        user, function: which function the batch is of.
        messages: one per call; at least one.
        app: id that the application is to have; 0 leaves that to the planner.
        kind: a word of the client's own, told with batches in flight.
    """

    user: str = ""
    function: str = ""
    messages: list[CallRequest] = []
    app: _Int32 = msgspec.field(name="appId", default=0)
    kind: _Int32 = msgspec.field(name="subType", default=0)

    def check(self) -> None:
        """Refuse a batch that names no function or no calls, or calls of other functions.

        Raises:
            BadRequest: accordingly.
        """
        each = {(message.user, message.function) for message in self.messages}
        if not self.user or not self.function or each != {(self.user, self.function)}:
            raise BadRequest("Bad BatchExecRequest")


class CallRef(msgspec.Struct, kw_only=True):
    """Names an application, or one call in it."""

    app: int = msgspec.field(name="appId", default=0)
    id: int = 0


def milliseconds(monotonic_ns: int) -> int:
    """Return a moment of the monotonic clock as wall-clock milliseconds; 0 stays 0."""
    if not monotonic_ns:
        return 0
    return int(time.time() * 1000) - (time.monotonic_ns() - monotonic_ns) // 1_000_000


def describe(call: Call, app: int, index: int = 0, message: Message | None = None) -> dict[str, Any]:
    """Return a call as a message.

    Args:
        call: the call.
        app: id of the application.
        index: its place in the application.
        message: what it was made with; a call forgets that at its end.
    """
    result = call.result
    told = message or message_of(call)
    return {
        "id": call.id,
        "appId": app,
        "appIdx": index,
        "mainHost": HOSTNAME,
        "executedHost": HOSTNAME if call.started_ns else "",
        "type": 0,
        "user": call.tenant,
        "function": call.guest,
        "cmdline": told.cmdline,
        "funcPtr": told.pointer or 0,
        "returnValue": 0 if result is None else 1 if result.error is not None else result.code,
        "output_data": "" if result is None else output_of(result).decode(errors="replace"),
        "start_ts": milliseconds(call.started_ns),
        "finish_ts": milliseconds(call.finished_ns),
        "chainedMsgIds": list(call.children),
        "record_exec_graph": told.record_graph,
    }


def status(app: int, calls: Sequence[tuple[Call | None, Message]]) -> dict[str, Any]:
    """Return the status of a batch: what has finished so far, and whether that is all.

    Args:
        app: id of the application.
        calls: each call with what it was made with; ``None`` for one whose result is no longer known.
    """
    ended = [
        describe(call, app, index, message)
        for index, (call, message) in enumerate(calls)
        if call is not None and call.stage == DONE
    ]
    return {
        "appId": app,
        "finished": all(call is None or call.stage == DONE for call, _ in calls),
        "messageResults": ended,
        "expectedNumMessages": len(calls),
    }


def graph(node: CallNode, calls: Mapping[int, Call], app: int, *, whole: bool) -> dict[str, Any]:
    """Return an execution graph.

    Args:
        node: the call at the top.
        calls: the calls of the graph by id.
        app: id of the application.
        whole: whether to follow the children, which is only done where that was asked for beforehand.
    """
    root: dict[str, Any] = {}
    todo = [(node, root)]
    while todo:  # not recursive: chains may be deeper than Python's own stack
        each, described = todo.pop()
        described["msg"] = describe(calls[each.call_id], app)
        if whole and each.children:
            described["chained"] = [{} for _ in each.children]
            todo += zip(each.children, described["chained"], strict=True)
    return {"root": root}
