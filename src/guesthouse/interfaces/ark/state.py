"""What Ark keeps for the duration of one call: handles, requests, panic text, debug context."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from guesthouse.interfaces.ark.journal import Journal, Run
from guesthouse.interfaces.ark.limits import LaunchLimits
from guesthouse.interfaces.ark.requests import Requests
from guesthouse.limits import Limits

_KEY = object()


@dataclass(frozen=True, slots=True)
class Function:
    """A function handle: one function of one module version (section 5, create_function).

    Attributes:
        version: the loaded guest itself; a later redeploy of the name does not change it.
        entry: what to run of it; ``None`` for the guest's own entry.
    """

    version: Any
    entry: str | None


@dataclass(slots=True)
class RunState:
    """State of one running call of an Ark module.

    Attributes:
        guest: what the module was loaded as.
        limits: bounds of what it may launch.
        child_limits: the same, as what each child may use.
        journal: where runs are recorded.
        requests: its unretrieved requests, in native code, as guests poll them; ``None`` for a module that
            launches nothing.
        functions: its function handles.
        run: the record of this run, when it was launched; ``None`` for a call from elsewhere.
        panic: text that the guest left through ``core__register_panic``.
        properties: debug context, oldest first.
    """

    guest: Any
    limits: LaunchLimits
    child_limits: Limits
    journal: Journal
    requests: Requests | None
    run: Run | None = None
    functions: dict[int, Function] = field(default_factory=dict)
    panic: str | None = None
    properties: list[tuple[str, str]] = field(default_factory=list)

    @property
    def table(self) -> Requests:
        """The requests of a module that launches."""
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


def keep(call: Any, state: RunState) -> None:
    """Attach the state to its call."""
    call.scratch[_KEY] = state


def state_of(call: Any) -> RunState:
    """Return the state of a running call."""
    state: RunState = call.scratch[_KEY]
    return state


def drop(call: Any) -> RunState | None:
    """Detach the state from its call, when it has one."""
    state: RunState | None = call.scratch.pop(_KEY, None)
    return state
