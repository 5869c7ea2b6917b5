"""Chained calls: a function starts others, by name or by pointer, and waits for them (spec 2.2, 3.3)."""

from __future__ import annotations

from guesthouse.calls import Call, Result, Terms
from guesthouse.calls.crossing import Unresolved
from guesthouse.calls.terms import PLAIN
from guesthouse.engine import HostFunction
from guesthouse.errors import CallRefused, NotFound, OutputLimit, Trap
from guesthouse.interfaces.faasm.io import text_at
from guesthouse.interfaces.faasm.message import Message, message_of, output_of
from guesthouse.interfaces.faasm.rows import CHAIN, row
from guesthouse.interfaces.faasm.session import Session, session_of

#: Bytes of children's outputs that one call may leave lying about.
MOST_UNCOLLECTED = 256 << 20


def chain_name(call: Call, name: int, data: int, length: int) -> int:
    """Start another function of the same user with a copy of the input; return the call's id."""
    wanted = text_at(call.instance, name).decode(errors="replace")
    guest = session_of(call).guest
    try:
        target, entry = guest.callee(wanted)
    except NotFound as error:  # known when it is awaited, as an unknown function always is
        return _chain(call, wanted, data, length, message_of(call).child(), None, Terms(Unresolved(error)))
    terms = Terms(target)
    return _chain(call, target.name, data, length, message_of(call).child(), entry, terms, target.tenant)


def chain_pointer(call: Call, index: int, data: int, length: int) -> int:
    """Start a function of this module's table, in another instance of the module; return the call's id."""
    own = Terms(session_of(call).guest)
    return _chain(call, call.guest, data, length, message_of(call).child(pointer=index), terms=own)


def chain_python(call: Call, entry: int, data: int, length: int) -> int:
    """Start the same Python function again at another entry; return the call's id."""
    name = text_at(call.instance, entry).decode(errors="replace")
    return _chain(call, call.guest, data, length, message_of(call).child(py_entry=name))


def await_call(call: Call, call_id: int) -> int:
    """Wait for a call and return its return value; 1 for every kind of failure."""
    result = _wait(call, call_id)
    return 1 if result is None or result.error is not None else result.code


def await_call_output(call: Call, call_id: int, first: int, second: int) -> int:
    """Wait for a call, hand over its output, return its return value.

    In the current form `first` is a ``char**`` and `second` an ``int*``: the output goes into memory from
    the guest's own ``malloc``.  In the old one they are a buffer and its capacity.
    """
    result = _wait(call, call_id)
    output = b"" if result is None else output_of(result)
    code = 1 if result is None or result.error is not None else result.code
    if session_of(call).settings.await_form == "buffer":
        call.instance.write(first, output[:second])
    elif result is None or not _hand_over(call, output, first, second):
        _store(call, first, 0)
        _store(call, second, 0)
        return 1
    return code


def _chain(
    call: Call,
    guest: str,
    data: int,
    length: int,
    message: Message,
    entry: str | None = None,
    terms: Terms = PLAIN,
    tenant: str | None = None,
) -> int:
    session = session_of(call)
    limits = session.limits
    payload = call.instance.read(data, length) if length else b""
    if call.depth >= limits.depth:
        raise CallRefused("depth", limit=limits.depth, guest=call.guest)
    if len(call.children) >= limits.children:
        raise CallRefused("children", limit=limits.children, guest=call.guest)
    if call.live_children is not None and len(call.live_children) >= limits.fan_out:
        raise CallRefused("fan_out", limit=limits.fan_out, guest=call.guest)
    if len(session.children) >= session.look_at:
        _bound(session)
    child = call.scheduler.submit(
        guest, payload, parent=call, tenant=tenant, entry=entry, payload=message, terms=terms,
        capabilities=session.guest.granted,
    )  # fmt: skip
    session.children[child.id] = child
    return child.id


def _bound(session: Session) -> None:
    """Refuse more children while too much output of earlier ones lies about."""
    # Looked at ever more rarely, so that many children do not cost more each.
    session.look_at += session.look_at // 4
    total = 0
    for child in session.children.values():
        if child.result is not None:
            total += len(child.result.output)
    if total > MOST_UNCOLLECTED:
        raise OutputLimit(MOST_UNCOLLECTED, function="__faasm_chain_name")


def _wait(call: Call, call_id: int) -> Result | None:
    """Return the result of a call of the same application, or ``None`` if it cannot be waited for."""
    session = session_of(call)
    child = session.children.get(call_id)
    if child is None:
        child = call.scheduler.find(call_id)
        if child is None or child.root is not call.root:
            return None
    try:
        return call.scheduler.wait(child, session.settings.chained_timeout, call)
    except TimeoutError:
        return None
    except CallRefused:  # it waits for us
        return None


def _hand_over(call: Call, output: bytes, pointer_at: int, length_at: int) -> bool:
    """Copy an output into memory that the guest has to free; false when it has none left."""
    instance = call.instance
    if not instance.exports("malloc"):
        raise Trap(
            "the module does not export malloc, which this call needs; link with --export=malloc",
            guest=call.guest,
            function="__faasm_await_call_output",
        )
    # The stores come first: they refuse bad pointers before anything is allocated.
    _store(call, pointer_at, 0)
    _store(call, length_at, 0)
    pointer = instance.invoke("malloc", len(output))
    if not pointer:
        return False
    instance.write(pointer, output)
    _store(call, pointer_at, pointer)
    _store(call, length_at, len(output))
    return True


def _store(call: Call, pointer: int, value: int) -> None:
    call.instance.write(pointer, value.to_bytes(4, "little"))


ROWS: tuple[HostFunction, ...] = (
    row("__faasm_chain_name", "iii", "i", chain_name, "Start another function of the same user.", CHAIN),
    row("__faasm_chain_function", "iii", "i", chain_name, "Old name of __faasm_chain_name.", CHAIN),
    row("__faasm_chain_ptr", "iii", "i", chain_pointer, "Start a function of this module's table.", CHAIN),
    row("__faasm_chain_py", "iii", "i", chain_python, "Start this Python function at another entry.", CHAIN),
    row("__faasm_await_call", "i", "i", await_call, "Wait for a call; its return value.", CHAIN),
    row("__faasm_await_call_output", "iii", "i", await_call_output, "Wait for a call and its output.", CHAIN),
)
