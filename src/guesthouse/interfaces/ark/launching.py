"""The host functions that name and launch functions (module-run specification, sections 5 to 7).

Polling and retrieving are native (`requests.pyx`); these four run once per request.
"""

from __future__ import annotations

from typing import Any

from guesthouse.calls import Call, Result, Terms
from guesthouse.errors import CallRefused, NotFound
from guesthouse.interfaces.ark.codes import Code
from guesthouse.interfaces.ark.journal import Run
from guesthouse.interfaces.ark.requests import Request
from guesthouse.interfaces.ark.state import Function, RunState, state_of

OWN_MODULE, NAMED_MODULE = 0, 1

#: Longest name of a module or function, in bytes (section 5).
LONGEST_NAME = 4096
_HANDLE = 8


def _inside(call: Call, *ranges: tuple[int, int]) -> bool:
    """Whether all ranges of ``(pointer, length)`` lie in the guest's memory; both are unsigned."""
    size = call.instance.memory_size
    return all(pointer + length <= size for pointer, length in ranges)


def _name(call: Call, pointer: int, length: int) -> str | None:
    """Read a name; ``None`` when it is too long or not UTF-8."""
    if length > LONGEST_NAME:
        return None
    try:
        data: bytes = call.instance.read(pointer, length)
        return data.decode()
    except UnicodeDecodeError:
        return None


def create_function(
    call: Call, source: int, module_ptr: int, module_len: int, name_ptr: int, name_len: int, out: int
) -> int:
    """``module_run__create_function``: name a function of the module version that is loaded now."""
    if not _inside(call, (module_ptr, module_len), (name_ptr, name_len), (out, _HANDLE)):
        return Code.INVALID_ARGUMENTS
    state = state_of(call)
    entry = _name(call, name_ptr, name_len)
    module: str | None = ""
    if source == NAMED_MODULE:
        module = _name(call, module_ptr, module_len)
    elif source != OWN_MODULE:
        return Code.INVALID_ARGUMENTS
    if entry is None or module is None:
        return Code.INVALID_ARGUMENTS
    try:
        version = state.guest
        if source == NAMED_MODULE:
            version, entry = state.guest.callee(module, entry or None)
        fits = version.owner.accepts(entry or None)
    except NotFound:
        return Code.NOT_FOUND
    if not fits:
        return Code.INVALID_ARGUMENTS
    if len(state.functions) >= state.limits.max_functions:
        return Code.UNAVAILABLE
    handle = state.table.issue()
    state.functions[handle] = Function(version, entry or None)
    call.instance.write(out, handle.to_bytes(_HANDLE, "little"))
    return Code.SUCCESS


def remove_function(call: Call, handle: int) -> int:
    """``module_run__remove_function``: forget a handle; requests in flight go on."""
    return Code.SUCCESS if state_of(call).functions.pop(handle, None) else Code.NOT_FOUND


def launch(call: Call, handle: int, input_ptr: int, input_len: int, out: int) -> int:
    """``module_run__launch``: start a function in the background; the input is copied now."""
    prepared = _prepare(call, handle, input_ptr, input_len, out)
    if isinstance(prepared, int):
        return prepared
    state, function, data = prepared
    request, run, terms = _open(call, state, function, urgent=True)
    try:
        request.call = run.call = call.scheduler.submit(
            function.version.name, data, payload=run, terms=terms, **_as_child(call, state, function)
        )
    except CallRefused:
        return _refused(state, request, run)
    return _accepted(call, request, out)


def blocking_launch(call: Call, handle: int, input_ptr: int, input_len: int, out: int) -> int:
    """``module_run__blocking_launch``: run a function on this thread; its failure shows in retrieve only."""
    prepared = _prepare(call, handle, input_ptr, input_len, out)
    if isinstance(prepared, int):
        return prepared
    state, function, data = prepared
    request, run, terms = _open(call, state, function, urgent=False)
    try:
        call.scheduler.run(
            function.version.name,
            data,
            payload=run,
            terms=terms,
            kept=True,
            **_as_child(call, state, function),
        )
    except CallRefused:
        return _refused(state, request, run)
    return _accepted(call, request, out)


def _as_child(call: Call, state: RunState, function: Function) -> dict[str, Any]:
    """What every launched call has: its place below the caller, and no more than that may (6.4, 6.5)."""
    return {
        "parent": call,
        "tenant": function.version.tenant,
        "entry": function.entry,
        "wall": state.limits.child_wall,
        "capabilities": state.guest.granted,
        "linked": True,
    }


def _prepare(
    call: Call, handle: int, input_ptr: int, input_len: int, out: int
) -> tuple[RunState, Function, bytes] | int:
    """Check a launch; return what it is to run on which input, or the code that refuses it."""
    if not _inside(call, (input_ptr, input_len), (out, _HANDLE)):
        return Code.INVALID_ARGUMENTS
    state = state_of(call)
    function = state.functions.get(handle)
    if function is None:
        return Code.NOT_FOUND
    if input_len > state.limits.max_input:
        return Code.INVALID_ARGUMENTS
    instance = call.instance
    if call.depth >= state.limits.max_depth or not state.table.accepts(instance.memory_size):
        return Code.UNAVAILABLE
    return state, function, instance.read(input_ptr, input_len)


def _open(call: Call, state: RunState, function: Function, *, urgent: bool) -> tuple[Request, Run, Terms]:
    """Register a request, with its record and the terms on which its call is made."""
    request = state.table.open()
    version, journal = function.version, state.journal
    run = Run(
        request.handle,
        call.id,
        version.tenant,
        version.name,
        function.entry or "",
        version.info.sha256,
        call.depth + 1,
    )

    journal.began(run)

    def observe(result: Result) -> None:
        request.complete(journal.ended(run, result), result.output)

    return request, run, Terms(version, state.child_limits, urgent, observe)


def _accepted(call: Call, request: Request, out: int) -> int:
    call.instance.write(out, request.handle.to_bytes(_HANDLE, "little"))
    return Code.SUCCESS


def _refused(state: RunState, request: Request, run: Run) -> int:
    state.table.withdraw(request)
    state.journal.withdrawn(run)
    return Code.UNAVAILABLE
