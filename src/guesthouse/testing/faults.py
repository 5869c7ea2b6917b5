"""Fault injection: have any host function of any interface answer with a code, or raise.

::

    host = guesthouse.Host(engine=current_faults().engine())
    inject("fbmu_hello", code=-1, times=2)

The functions are reached through an engine that puts a stand-in before each import when a module is
linked; a function nobody injects into costs a nanosecond more.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.engine import Engine, Module, Template
from guesthouse.engine.functions import Constant, HostFunction, Native, Trapping
from guesthouse.testing.interpose import Fault

#: For `times`: until the faults are cleared.
ALWAYS = -1


@dataclasses.dataclass(slots=True)
class _Plan:
    code: int
    times: int
    after: int
    error: Callable[[], BaseException] | BaseException | None


class Faults:
    """Faults to inject into the guests of hosts that run on :meth:`engine`."""

    def __init__(self) -> None:
        self._stands: dict[str, list[Fault]] = {}
        self._plans: dict[str, _Plan] = {}

    def engine(self, *args: Any, **options: Any) -> Engine:
        """An engine whose guests can have faults injected; the arguments are those of ``Engine``."""
        return _FaultEngine(self, *args, **options)

    def inject(
        self,
        name: str,
        *,
        code: int = -1,
        times: int = 1,
        after: int = 0,
        error: Callable[[], BaseException] | BaseException | None = None,
    ) -> None:
        """Have a host function answer with a code instead of doing its work.

        Args:
            name: its import name, with its module (``module.name``) where that is needed to tell.
            code: the answer.
            times: how many calls are answered so; :data:`ALWAYS` for all. The count is per linked module.
            after: calls that pass before.
            error: raise this instead of answering; only for functions written in Python.
        """
        self._plans[name] = plan = _Plan(code, times, after, error)
        for fault in self._stands.get(name, ()):
            fault.arm(plan.code, plan.times, plan.after)

    def clear(self) -> None:
        """Have every function do its own work again; counts stay."""
        self._plans.clear()
        for stands in self._stands.values():
            for fault in stands:
                fault.arm(0, 0, 0)

    def reset(self) -> None:
        """Clear, and count from zero."""
        self.clear()
        for stands in self._stands.values():  # which stay: modules that were linked go through them
            for fault in stands:
                fault.reset()

    def count(self, name: str) -> int:
        """How many calls of a function were answered here."""
        return sum(fault.injected for fault in self._stands.get(name, ()))

    def cover(self, row: HostFunction) -> HostFunction:
        """Put a stand-in before a row's implementation."""
        fault = Fault()
        for name in (row.name, f"{row.module}.{row.name}"):
            self._stands.setdefault(name, []).append(fault)
            if plan := self._plans.get(name):
                fault.arm(plan.code, plan.times, plan.after)
        how = row.implementation
        if isinstance(how, Native):
            address, env = fault.cover(how.address, how.env)
            covered: Any = dataclasses.replace(how, address=address, env=env)
        elif isinstance(how, Constant | Trapping):
            return row  # nothing runs there that could fail
        else:
            covered = self._python(row, how, fault)
        return dataclasses.replace(row, implementation=covered)

    def _python(self, row: HostFunction, how: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
        names = (f"{row.module}.{row.name}", row.name)

        def stand_in(call: Any, *args: Any) -> Any:
            code = fault.take()
            if code is None:
                return how(call, *args)
            plan = next((self._plans[name] for name in names if name in self._plans), None)
            if plan is not None and plan.error is not None:
                raise plan.error() if callable(plan.error) else plan.error
            return code

        return stand_in


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


class _FaultModule(Module):
    """A module whose imports get stand-ins when it is linked."""

    def __init__(self, module: Module, faults: Faults) -> None:
        self.__dict__.update(module.__dict__)
        self._faults = faults

    def link(self, bindings: Mapping[tuple[str, str], HostFunction], **options: Any) -> Template:
        return super().link({key: self._faults.cover(row) for key, row in bindings.items()}, **options)


class _FaultEngine(Engine):
    """An engine that compiles such modules."""

    def __init__(self, faults: Faults, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._faults = faults

    def compile(self, *args: Any, **options: Any) -> Module:
        return _FaultModule(super().compile(*args, **options), self._faults)
