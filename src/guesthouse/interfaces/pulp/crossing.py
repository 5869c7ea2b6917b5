"""Calls from one application of a host to another (spec/pulp.md 3.3, 5.4).

An application that goes away first refuses new calls and then waits for those that run: a provider is
never torn down under its caller.  Another instance of it may then be registered under the same name.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Refused
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.cell import Cell
    from guesthouse.interfaces.pulp.runtime import Runtime
    from guesthouse.interfaces.pulp.spec import CellSpec


class _Gate:
    """Counts the calls inside of one application."""

    __slots__ = ("inside", "open", "runtime")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.inside, self.open = 0, True


class Applications:
    """The running applications of a host, and who may call whom.

    Args:
        depends_on: for every application, the applications that its cells may call.
    """

    def __init__(self, depends_on: Mapping[str, Collection[str]]) -> None:
        self._depends_on = depends_on
        self._changed = threading.Condition()
        self._gates: dict[tuple[str, str], _Gate] = {}

    def register(self, application: str, instance: str, runtime: Runtime) -> None:
        """Let calls in; they go to ``runtime``, whoever was there before."""
        with self._changed:
            self._gates[application, instance] = _Gate(runtime)

    def revoke(self, application: str, instance: str, wait: float) -> bool:
        """Refuse new calls to an application, then wait for those that run.

        Args:
            application: the application.
            instance: its instance.
            wait: seconds to wait.

        Returns:
            Whether nobody is inside any more.
        """
        with self._changed:
            gate = self._gates.get((application, instance))
            if gate is None:
                return True
            gate.open = False
            return self._changed.wait_for(lambda: gate.inside == 0, wait)

    @contextlib.contextmanager
    def visit(
        self, caller: CellSpec, application: str, instance: str, target: str, function: str
    ) -> Iterator[Cell | None]:
        """Hold a cell of another application while a call to it runs; ``None`` when it does not run.

        Raises:
            Refused: code 11: the caller's manifests do not allow the call, or the target does not offer
                the function.
        """
        own = caller.scope.application if caller.scope else ""
        if function not in caller.host_consumes or application not in self._depends_on.get(own, ()):
            _deny(caller, f"{application}/{target}", function, "the caller's manifests declare no such link")
        with self._changed:
            gate = self._gates.get((application, instance))
            if gate is not None and gate.open:
                gate.inside += 1
            else:
                gate = None
        if gate is None:
            yield None
            return
        try:
            unit = gate.runtime.units.get(target)
            if unit is not None and function not in unit.spec.provides:
                _deny(caller, f"{application}/{target}", function, "the target does not provide it")
            yield unit.provider() if unit is not None else None
        finally:
            with self._changed:
                gate.inside -= 1
                self._changed.notify_all()


def _deny(caller: CellSpec, target: str, function: str, reason: str) -> None:
    log.warning("application call denied", cell=caller.name, target=target, function=function, reason=reason)
    raise Refused(memory.DENIED, reason)
