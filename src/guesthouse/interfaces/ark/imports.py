"""The host functions of Ark: one row each (module-run specification, sections 2 to 4)."""

from __future__ import annotations

from guesthouse.engine import Constant, HostFunction, Implementation, Native
from guesthouse.interfaces.ark import core, launching
from guesthouse.interfaces.ark.codes import Code
from guesthouse.interfaces.ark.requests import ADDRESSES

#: The capability that lets a module launch functions; a module without it is told so, not refused.
MODULE_RUN = "ark.module_run"

_DENIED = Constant(Code.API_NOT_AVAILABLE)
_RUN = "ark-module-run-v0"


def _row(name: str, params: str, implementation: Implementation, summary: str) -> HostFunction:
    return HostFunction(
        MODULE_RUN, _RUN, f"module_run__{name}", params, "i", implementation, summary, denied=_DENIED
    )


def _core(
    version: int, name: str, params: str, results: str, what: Implementation, summary: str
) -> HostFunction:
    return HostFunction("", f"ark-core-v{version}", f"core__{name}", params, results, what, summary)


FUNCTIONS: tuple[HostFunction, ...] = (
    _row("create_function", "iiiiii", launching.create_function, "Names a function of a module version."),
    _row("remove_function", "I", launching.remove_function, "Forgets a function handle."),
    _row("blocking_launch", "Iiii", launching.blocking_launch, "Runs a function to its end."),
    _row(
        "launch",
        "Iiii",
        Native(ADDRESSES["launch"], otherwise=launching.launch),
        "Starts a function in the background.",
    ),
    _row("is_ready", "Ii", Native(ADDRESSES["is_ready"]), "Tells whether a request is over, and its size."),
    _row("retrieve", "Iii", Native(ADDRESSES["retrieve"]), "Copies a request's output and forgets it."),
    _core(0, "return_slice", "iii", "i", Native(ADDRESSES["return_slice"]), "Hands over the output."),
    _core(0, "get_input_slice", "iii", "i", Native(ADDRESSES["get_input_slice"]), "Copies some input."),
    _core(1, "has_extension", "I", "i", Constant(0), "Ark has no extensions any more: 0."),
    _core(2, "register_panic", "iiiiii", "i", core.register_panic, "Leaves a panic's text for the log."),
    _core(3, "log", "iii", "i", core.log, "Writes a line to the host's log."),
    _core(
        4,
        "take_host_return_vec",
        "ii",
        "i",
        Constant(Code.INVALID_ARGUMENTS),
        "No host function served here leaves a vector behind: 5.",
    ),
    _core(4, "add_debug_context", "iiii", "", core.add_debug_context, "Adds a property to panics."),
    _core(4, "remove_debug_context", "ii", "", core.remove_debug_context, "Takes the newest one back."),
)
