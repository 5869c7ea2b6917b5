"""How a launch becomes a call: its record, and the way of those that were made without the GIL."""

from __future__ import annotations

from guesthouse.calls import Call, Receipt, Result, Terms
from guesthouse.interfaces.ark.journal import Function, Run
from guesthouse.interfaces.ark.requests import Request
from guesthouse.interfaces.ark.state import RunState


def begin(call: Call, state: RunState, function: Function, request: Request) -> Request:
    """Give a request its record."""
    request.journal = state.journal
    request.run = Run(request.handle, call.id, function, call.depth + 1)
    state.journal.began(request.run)
    return request


class Posted:
    """Makes calls of launches that were handed to a worker without the GIL.

    Args:
        call: the call that launches.
        state: its state.
    """

    __slots__ = ("call", "state")

    def __init__(self, call: Call, state: RunState) -> None:
        self.call, self.state = call, state

    def __call__(self, request: Request, function: Function, data: bytes) -> None:
        """Submit the call of a request; a refusal becomes its end."""
        call, state = self.call, self.state
        run = begin(call, state, function, request).run
        terms = Terms(function.version, state.child_limits, False, request)
        try:
            request.call = call.scheduler.submit(
                function.name, data, parent=call, payload=run, terms=terms, posted_ns=request.posted_ns,
                **function.place,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the launch has succeeded: `retrieve` is to tell
            ending = Result(0, 1, b"", error, Receipt(), function.name)
            request.complete(state.journal.ended(run, ending), b"")
