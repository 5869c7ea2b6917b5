"""An engine for tests: host functions can be made to fail, and clocks to stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.engine import Engine, Module, Template
from guesthouse.engine.functions import HostFunction
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.testing.faults import Faults, current_faults
from guesthouse.testing.timing import Timing

Amend = Callable[[HostFunction], HostFunction]


def engine(*, faults: Faults | None = None, clock: VirtualClock | None = None, **options: Any) -> Engine:
    """Return an engine to give to a host: ``Host(engine=...)``.

    Args:
        faults: what is injected into its guests; by default what :func:`guesthouse.testing.inject` on this
            thread says.
        clock: what guests take for the time, whatever their interface; the real one if ``None``. Sleeping
            moves it on, and takes no time. Deadlines of calls are those of the real clock.
        options: those of ``guesthouse.engine.Engine``.
    """
    injected = faults or current_faults()
    if clock is None:
        return _TestEngine(injected.cover, **options)
    timing = Timing(clock)
    return _TestEngine(lambda row: injected.cover(timing.cover(row)), **options)


class _TestModule(Module):
    """A module whose imports are amended when it is linked."""

    def __init__(self, module: Module, amend: Amend) -> None:
        self.__dict__.update(module.__dict__)
        self._amend = amend

    def link(self, bindings: Mapping[tuple[str, str], HostFunction], **options: Any) -> Template:
        return super().link({key: self._amend(row) for key, row in bindings.items()}, **options)


class _TestEngine(Engine):
    """An engine that compiles such modules."""

    def __init__(self, amend: Amend, **options: Any) -> None:
        super().__init__(**options)
        self._amend = amend

    def compile(self, *args: Any, **options: Any) -> Module:
        return _TestModule(super().compile(*args, **options), self._amend)
