"""Regions and critical sections that the calls of one application share on a host (spec 2.4)."""

from __future__ import annotations

import threading
import weakref

from guesthouse.calls import Call
from guesthouse.engine import HostFunction
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.rows import refused, row
from guesthouse.interfaces.faasm.session import session_of

#: Bytes of the merge types: BOOL, INT, LONG (eight bytes to the reference), FLOAT, DOUBLE; RAW is refused.
_SIZES = {1: 1, 2: 4, 3: 8, 4: 4, 5: 8}
#: OVERWRITE, SUM, PRODUCT, SUBTRACT, MAX, MIN.
_OPERATIONS = range(6)

#: How long a waiter sleeps before it looks whether its call is over.
_SLICE = 0.01


class Section:
    """The critical section of one application: the call at the root and all below it.

    Attributes:
        lock: held by whoever is inside.
        owner: that call.
        thread: that thread; the threads of one call exclude one another, too.
    """

    __slots__ = ("lock", "owner", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: Call | None = None
        self.thread = 0

    def leave(self) -> None:
        """Let the next one in."""
        self.owner, self.thread = None, 0
        self.lock.release()


_sections: weakref.WeakKeyDictionary[Call, Section] = weakref.WeakKeyDictionary()
_sections_lock = threading.Lock()


def reduce(call: Call, variable: int, kind: int, operation: int, current: int) -> None:
    """Check the region; on one host all threads share the memory, so there is nothing to merge."""
    if kind not in _SIZES:
        raise Trap(f"type {kind} cannot be merged", guest=call.guest, function="__faasm_sm_reduce")
    if operation not in _OPERATIONS:
        raise Trap(f"there is no merge operation {operation}", guest=call.guest, function="__faasm_sm_reduce")
    call.instance.read(variable, _SIZES[kind])


def critical_begin(call: Call) -> None:
    """Enter the application's critical section, waiting for whoever is in it."""
    with _sections_lock:
        section = _sections.setdefault(call.root, Section())
    if section.thread == threading.get_ident():
        raise Trap(
            "the critical section is not re-entrant", guest=call.guest, function="__faasm_sm_critical_local"
        )
    while not section.lock.acquire(timeout=_SLICE):
        call.check()
    section.owner, section.thread = call, threading.get_ident()
    session_of(call).section = section


def critical_end(call: Call) -> None:
    """Leave the critical section."""
    section = session_of(call).section
    if section is None or section.thread != threading.get_ident():
        raise Trap(
            "the calling thread is not in the critical section",
            guest=call.guest,
            function="__faasm_sm_critical_local_end",
        )
    section.leave()


#: Declared by the reference's header, implemented by neither of its runtimes.
_DECLARED = (("__faasm_sm_array", "iii", ""), ("__faasm_sm_raw", "ii", ""), ("__faasm_sm_var", "ii", ""))

ROWS: tuple[HostFunction, ...] = (
    row("__faasm_sm_reduce", "iiii", "", reduce, "Register a region to merge; nothing to do on one host."),
    row("__faasm_sm_critical_local", "", "", critical_begin, "Enter the application's critical section."),
    row("__faasm_sm_critical_local_end", "", "", critical_end, "Leave the critical section."),
    *refused(_DECLARED, "no runtime ever implemented it"),
)
