"""Calls from cell to cell (spec/pulp.md 3.3, 5.4).

The provider runs on the caller's thread, between its own steps.  Whether a caller may reach a target is
decided by a `Directory`; who waits for whom by `guesthouse.interfaces.pulp.turns`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from guesthouse.engine import HostFunction
from guesthouse.errors import CallError
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Extension, Refused
from guesthouse.interfaces.pulp.turns import CycleError
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell
    from guesthouse.interfaces.pulp.spec import CellSpec


class Target(Protocol):
    """Who can be called: a cell, or a guest that stands in for one."""

    def call(
        self, name: str, args: bytes = b"", *, check: Callable[[], object] | None = None
    ) -> bytes | None:
        """Call a function; raises `CallError`."""


class Directory(Protocol):
    """Which cells there are, and who may call whom; the ``services`` of a `Cell`."""

    def sibling(self, caller: Cell, target: str, function: str) -> Target | None:
        """Return the target, or ``None`` when no running cell has that address.

        Raises:
            Refused: code 11, the caller's manifest does not allow it.
        """

    def application_cell(
        self, caller: Cell, application: str, instance: str, target: str, function: str
    ) -> AbstractContextManager[Cell | None]:
        """Hold a cell of another application while it is called, or ``None`` when none has that address.

        Raises:
            Refused: code 11, the manifests do not allow it.
        """


def permits(caller: CellSpec, target: CellSpec, function: str, *, strict: bool) -> bool:
    """Say whether the manifests allow a call.

    Args:
        caller: who calls.
        target: who is called.
        function: the function called; only the strict rule looks at it.
        strict: the later rule: ``function`` in the caller's consumes and the target's provides. Without
            it: the caller depends on the target, or consumes its name or anything that it provides.
    """
    if strict:
        return function in caller.consumes and function in target.provides
    return (
        target.cell in caller.depends_on
        or target.cell in caller.consumes
        or any(name in caller.consumes for name in target.provides)
    )


class Sibling(Extension):
    """``pulp_call`` and ``pulp_app_call_v1``: what every cell can import without declaring it."""

    name = "pulp.sibling"
    summary = "Calls to other cells of the application, and of others where the manifests allow it."

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        return (
            self.row("pulp_call", "i" * 8, self.call, "Call a function that a sibling cell provides."),
            self.row(
                "pulp_app_call_v1", "i" * 12, self.app_call, "Call a function of another application's cell."
            ),
        )

    def call(
        self,
        call: CellCall,
        target: int,
        target_length: int,
        name: int,
        name_length: int,
        args: int,
        args_length: int,
        pointer_out: int,
        length_out: int,
    ) -> int:
        """Serve ``pulp_call``; codes 1, 2, 4, 7, 8, 11."""
        if not target_length or not name_length:
            return memory.EMPTY
        read = call.instance.read
        wanted, function = _text(read(target, target_length)), _text(read(name, name_length))
        data: bytes = read(args, args_length) if args_length else b""
        directory: Directory | None = call.cell.services
        found = None if directory is None else directory.sibling(call.cell, wanted, function)
        return _enter(call, found, wanted, function, data, pointer_out, length_out)

    def app_call(self, call: CellCall, *numbers: int) -> int:
        """Serve ``pulp_app_call_v1``; codes 1, 2, 4, 7, 8, 11."""
        *pairs, pointer_out, length_out = numbers
        if not all(pairs[1:8:2]):
            return memory.EMPTY
        parts = [
            call.instance.read(pairs[at], pairs[at + 1]) if pairs[at + 1] else b"" for at in range(0, 10, 2)
        ]
        application, instance, target, function = (_text(part) for part in parts[:4])
        directory: Directory | None = call.cell.services
        held: AbstractContextManager[Target | None] = nullcontext()
        if directory is not None:
            held = directory.application_cell(call.cell, application, instance, target, function)
        with held as found:
            return _enter(call, found, f"{application}/{target}", function, parts[4], pointer_out, length_out)


def _enter(
    call: CellCall,
    target: Target | None,
    name: str,
    function: str,
    args: bytes,
    pointer_out: int,
    length_out: int,
) -> int:
    """Run the provider and hand its response to the caller."""
    if target is None:
        raise Refused(memory.FAILED, f"no running cell {name!r}")
    try:
        response = target.call(function, args, check=call.check)
    except CycleError as error:
        log.warning(
            "sibling call refused", cell=call.guest, target=name, function=function, reason=str(error)
        )
        return memory.FAILED
    except CallError as error:
        call.check()
        raise Refused(memory.FAILED, str(error)) from None
    return memory.deliver(call, response or b"", pointer_out, length_out)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
