"""What Ark keeps for the duration of one call: handles, requests, panic text, debug context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from guesthouse.interfaces.ark.journal import Journal, Run
from guesthouse.interfaces.ark.limits import LaunchLimits
from guesthouse.interfaces.ark.requests import Requests
from guesthouse.limits import Limits

if TYPE_CHECKING:
    from guesthouse.interfaces.contract import LoadedGuest

_KEY = object()


class RunState:
    """State of one running call of an Ark module; made when the call first needs it.

    Attributes:
        guest: what the module was loaded as.
        limits: bounds of what it may launch.
        child_limits: the same, as what each child may use.
        journal: where runs are recorded.
        requests: its functions and unretrieved requests, in native code, as guests poll them; ``None`` for
            a module that launches nothing.
        run: the record of this run, when it was launched; ``None`` for a call from elsewhere.
        panic: text that the guest left through ``core__register_panic``.
        properties: debug context, oldest first.
    """

    __slots__ = (
        "child_limits", "guest", "journal", "limits", "panic", "properties", "requests", "run",
    )  # fmt: skip

    def __init__(
        self,
        guest: LoadedGuest,
        limits: LaunchLimits,
        child_limits: Limits,
        journal: Journal,
        requests: Requests | None,
        run: Run | None,
    ) -> None:
        self.guest, self.limits, self.child_limits = guest, limits, child_limits
        self.journal, self.requests, self.run = journal, requests, run
        self.panic: str | None = None
        self.properties: list[tuple[str, str]] = []

    @property
    def table(self) -> Requests:
        """The handles of a module that launches."""
        assert self.requests is not None
        return self.requests

    def labels(self, call: Any) -> dict[str, object]:
        """Return what every log line of this run says about where it comes from (section 8)."""
        return {
            "tenant": call.tenant,
            "guest": call.guest,
            "function": call.entry,
            "call": call.id,
            "request": None if self.run is None else f"{self.run.request:016x}",
            "depth": call.depth,
        }


class Maker(Protocol):
    """Makes the state of a call when it is first needed."""

    def make_state(self, call: Any) -> RunState:
        """Return the state."""


def promise(call: Any, maker: Maker) -> None:
    """Say who makes the state of a call, should it be needed: most launched functions never need it."""
    call.scratch[_KEY] = maker


def state_of(call: Any) -> RunState:
    """Return the state of a running call."""
    found: RunState | Maker = call.scratch[_KEY]
    if isinstance(found, RunState):
        return found
    state = call.scratch[_KEY] = found.make_state(call)
    return state


def drop(call: Any) -> RunState | None:
    """Detach the state from its call; ``None`` when it was never needed."""
    state = call.scratch.pop(_KEY, None)
    return state if isinstance(state, RunState) else None
