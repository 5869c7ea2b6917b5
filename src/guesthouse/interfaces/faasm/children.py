"""The calls that a function makes: who may be started, and how one waits for them (spec 2.2, 3.3)."""

from __future__ import annotations

from guesthouse.calls import Call, Result, Terms
from guesthouse.calls.crossing import Unresolved
from guesthouse.calls.terms import PLAIN
from guesthouse.errors import CallRefused, NotFound, OutputLimit
from guesthouse.interfaces.faasm.message import Message, message_of
from guesthouse.interfaces.faasm.session import Session, session_of

#: Bytes of children's outputs that one call may leave lying about.
MOST_UNCOLLECTED = 256 << 20


def by_name(call: Call, name: bytes, data: bytes) -> int:
    """Start another function of the same user; return the call's id."""
    wanted = name.decode(errors="replace")
    message = message_of(call).child()
    try:
        target, entry = session_of(call).guest.callee(wanted)
    except NotFound as error:  # known when it is awaited, as an unknown function always is
        return _start(call, wanted, data, message, Terms(Unresolved(error)))
    return _start(call, target.name, data, message, Terms(target), entry, target.tenant)


def by_pointer(call: Call, index: int, data: bytes) -> int:
    """Start a function of this module's table, in another instance of the module; return the call's id."""
    own = Terms(session_of(call).guest)
    return _start(call, call.guest, data, message_of(call).child(pointer=index), own)


def by_python_entry(call: Call, entry: bytes, data: bytes) -> int:
    """Start the same Python function again at another entry; return the call's id."""
    message = message_of(call).child(py_entry=entry.decode(errors="replace"))
    return _start(call, call.guest, data, message, PLAIN)


def result_of(call: Call, call_id: int) -> Result | None:
    """Wait for a call of the same application.

    Returns:
        Its result, or ``None`` if it cannot be waited for: unknown, too slow, or waiting for us.
    """
    session = session_of(call)
    child = session.children.get(call_id)
    if child is None:
        child = call.scheduler.find(call_id)
        if child is None or child.root is not call.root:
            return None
    try:
        return call.scheduler.wait(child, session.settings.chained_timeout, call)
    except (TimeoutError, CallRefused):
        return None


def _start(
    call: Call,
    guest: str,
    data: bytes,
    message: Message,
    terms: Terms,
    entry: str | None = None,
    tenant: str | None = None,
) -> int:
    session = session_of(call)
    limits = session.limits
    if call.depth >= limits.depth:
        raise CallRefused("depth", limit=limits.depth, guest=call.guest)
    if len(call.children) >= limits.children:
        raise CallRefused("children", limit=limits.children, guest=call.guest)
    if call.live_children is not None and len(call.live_children) >= limits.fan_out:
        raise CallRefused("fan_out", limit=limits.fan_out, guest=call.guest)
    if len(session.children) >= session.look_at:
        _bound(session)
    child = call.scheduler.submit(
        guest, data, parent=call, tenant=tenant, entry=entry, payload=message, terms=terms,
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
