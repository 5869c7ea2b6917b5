"""Fault injection: have any host function of any interface answer with a code, or raise.

::

    host = guesthouse.Host(engine=guesthouse.testing.engine())
    inject("fbmu_hello", code=-1, times=2)

The functions are reached through an engine that puts a stand-in before each import when a module is
linked; a function nobody injects into costs a few nanoseconds more.
"""

from __future__ import annotations

import dataclasses
import difflib
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Self

from guesthouse.engine.functions import Constant, HostFunction, Native, Trapping
from guesthouse.interfaces import available
from guesthouse.testing.interpose import Plan, StandIn

#: For `times`: until the faults are cleared.
ALWAYS = -1

Error = Callable[[], BaseException] | BaseException


class Faults:
    """Faults to inject into the guests of hosts that run on :func:`guesthouse.testing.engine`.

    As a context manager they are the thread's current ones inside.
    """

    def __init__(self) -> None:
        self._plans: defaultdict[str, Plan] = defaultdict(Plan)
        self._stands: defaultdict[str, list[StandIn]] = defaultdict(list)
        self._former: list[Faults | None] = []

    def __enter__(self) -> Self:
        self._former.append(getattr(_thread, "faults", None))
        _thread.faults = self
        return self

    def __exit__(self, *exc: object) -> None:
        _thread.faults = self._former.pop()

    def inject(
        self,
        name: str,
        *,
        code: float = -1,
        times: int = 1,
        after: int = 0,
        error: Error | None = None,
    ) -> None:
        """Have a host function answer with a code instead of doing its work.

        Args:
            name: its import name; with its module (``module.name``) for that module's function alone.
            code: the answer; functions without a result do nothing.
            times: how many calls are answered so, of all guests together; :data:`ALWAYS` for all.
            after: calls that pass before.
            error: raise this instead of answering; it ends the guest's call.

        Raises:
            ValueError: no interface has such a function, and no guest that was loaded imports one.
        """
        if name not in self._stands and name not in (known := _names()):
            near = difflib.get_close_matches(name, known, 3, 0.7)
            raise ValueError(
                f"no host function {name!r}"
                + (f"; did you mean {' or '.join(near)}?" if near else "")
                + " (one of a capability of your own is known once a guest that imports it is loaded)"
            )
        self._plans[name].arm(code, times, after, error)

    def clear(self) -> None:
        """Have every function do its own work again; counts stay."""
        for plan in self._plans.values():
            plan.rest()

    def reset(self) -> None:
        """Clear, and count from zero."""
        self.clear()
        for stands in self._stands.values():
            for stand in stands:
                stand.reset()

    def count(self, name: str) -> int:
        """How many calls of a function were answered here, or ended by an error."""
        return sum(stand.answered for stand in self._stands.get(name, ()))

    def cover(self, row: HostFunction) -> HostFunction:
        """Put a stand-in before a row's implementation."""
        exact = f"{row.module}.{row.name}"
        stand = StandIn(self._plans[exact], self._plans[row.name], row.results[:1])
        for name in (row.name, exact):
            self._stands[name].append(stand)
        how, behind = row.implementation, None
        if isinstance(how, Native):
            place, behind = stand.native(how.address, how.env), how.otherwise
        elif isinstance(how, Constant):
            place = stand.constant(how.value)
        elif isinstance(how, Trapping):
            place = stand.trapping(how.message)
        else:
            place, behind = stand.python(), how
        return dataclasses.replace(row, implementation=Native(*place, otherwise=stand.otherwise(behind)))


def _names() -> set[str]:
    """Every host function's name, without and with its module."""
    rows = [row for interface in available() for row in interface.functions]
    return {row.name for row in rows} | {f"{row.module}.{row.name}" for row in rows}


_thread = threading.local()


def current_faults() -> Faults:
    """The faults of this thread: what :func:`inject` works on, and the ``faults`` fixture gives."""
    faults: Faults | None = getattr(_thread, "faults", None)
    if faults is None:
        faults = _thread.faults = Faults()
    return faults


def inject(name: str, **options: Any) -> None:
    """Inject into the guests of this thread's :func:`current_faults`; see :meth:`Faults.inject`."""
    current_faults().inject(name, **options)


def clear_faults() -> None:
    """Have every function do its own work again."""
    current_faults().clear()
