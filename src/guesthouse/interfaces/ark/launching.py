"""The host functions that name and launch functions (module-run specification, sections 5 to 7).

Polling and retrieving are native, and so are most launches (`requests.pyx`); the rest is here.
"""

from __future__ import annotations

from guesthouse.calls import Call, Terms
from guesthouse.calls.crossing import Callee
from guesthouse.errors import CallRefused, NotFound
from guesthouse.interfaces.ark.codes import Code
from guesthouse.interfaces.ark.guest import ArkSide
from guesthouse.interfaces.ark.journal import Function
from guesthouse.interfaces.ark.posting import begin
from guesthouse.interfaces.ark.requests import Request
from guesthouse.interfaces.ark.state import RunState, state_of

OWN_MODULE, NAMED_MODULE = 0, 1

#: Longest name of a module or function, in bytes (section 5).
LONGEST_NAME = 4096
_HANDLE = 8


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
    size = call.instance.memory_size
    if module_ptr + module_len > size or name_ptr + name_len > size or out + _HANDLE > size:
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
        found = Callee(state.guest, entry)
        if source == NAMED_MODULE:
            found = state.guest.callee(module, entry or None)
            if not entry and isinstance(found.guest.owner, ArkSide):
                return Code.NOT_FOUND  # a module has no function of that name; other guests may run their own
        fits = found.guest.owner.accepts(found.entry)
    except NotFound:
        return Code.NOT_FOUND
    if not fits:
        return Code.INVALID_ARGUMENTS
    if state.table.named >= state.limits.max_functions:
        return Code.UNAVAILABLE
    handle = state.table.add(Function(state, found))
    call.instance.write(out, handle.to_bytes(_HANDLE, "little"))
    return Code.SUCCESS


def remove_function(call: Call, handle: int) -> int:
    """``module_run__remove_function``: forget a handle; requests in flight go on."""
    table = state_of(call).table
    if table.posted:
        call.scheduler.collect()  # what is on its way refers to it
    return Code.SUCCESS if table.remove(handle) else Code.NOT_FOUND


def launch(call: Call, handle: int, input_ptr: int, input_len: int, out: int) -> int:
    """``module_run__launch``: start a function in the background; the input is copied now.

    Most launches never come here: an idle worker is handed them without the GIL (``requests.pyx``).
    """
    prepared = _prepare(call, handle, input_ptr, input_len, out)
    if isinstance(prepared, int):
        return prepared
    state, function, data = prepared
    request = begin(call, state, function, state.table.open())
    terms = Terms(function.version, state.child_limits, True, request)
    try:
        request.call = call.scheduler.submit(
            function.name, data, parent=call, payload=request.run, terms=terms, **function.place
        )
    except CallRefused:
        return _refused(state, request)
    return _accepted(call, request, out)


def blocking_launch(call: Call, handle: int, input_ptr: int, input_len: int, out: int) -> int:
    """``module_run__blocking_launch``: run a function on this thread; its failure shows in retrieve only."""
    prepared = _prepare(call, handle, input_ptr, input_len, out)
    if isinstance(prepared, int):
        return prepared
    state, function, data = prepared
    request = begin(call, state, function, state.table.open())
    terms = Terms(function.version, state.child_limits, False, request)
    try:
        call.scheduler.run(
            function.name, data, parent=call, payload=request.run, terms=terms, kept=True, **function.place
        )
    except CallRefused:
        return _refused(state, request)
    return _accepted(call, request, out)


def _prepare(
    call: Call, handle: int, input_ptr: int, input_len: int, out: int
) -> tuple[RunState, Function, bytes] | int:
    """Check a launch; return what it is to run on which input, or the code that refuses it."""
    instance = call.instance
    size = instance.memory_size
    if input_ptr + input_len > size or out + _HANDLE > size:
        return Code.INVALID_ARGUMENTS
    state = state_of(call)
    table = state.table
    function = table.function(handle)
    if function is None:
        return Code.NOT_FOUND
    if input_len > state.limits.max_input:
        return Code.INVALID_ARGUMENTS
    if not table.accepts(size):
        return Code.UNAVAILABLE
    return state, function, instance.read(input_ptr, input_len)


def _accepted(call: Call, request: Request, out: int) -> int:
    call.instance.write(out, request.handle.to_bytes(_HANDLE, "little"))
    return Code.SUCCESS


def _refused(state: RunState, request: Request) -> int:
    state.table.withdraw(request)
    state.journal.withdrawn(request.run)
    return Code.UNAVAILABLE
