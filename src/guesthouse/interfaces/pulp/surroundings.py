"""What cells stand on: the engine, and the interfaces that serve their imports beside ``pulp``.

Pulp cells are WASI reactors.  WASI is another interface of this host; whoever wires the host (or the
stand-alone face `guesthouse.pulp`) names it here, so that this package does not need to know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp.modules import ModuleCache
from guesthouse.limits import Limits
from guesthouse.registry import Registry

if TYPE_CHECKING:
    from guesthouse.engine import Engine, Instance, ModuleInfo


_OWN: Any = object()


class Side(Protocol):
    """What another interface keeps for one loaded cell."""

    def bind(self, instance: Instance, call: Any) -> None:
        """Attach native state, before the instance starts."""

    def release(self, instance: Instance, call: Any) -> None:
        """Let go of everything, on every path, before the store is dropped."""


class Neighbour(Protocol):
    """Another interface, as far as cells need it."""

    name: str

    @property
    def functions(self) -> Sequence[HostFunction]:
        """Its rows."""

    def attach(self, guest: Any) -> Side:
        """Prepare for one guest."""


@dataclass(slots=True)
class NeighbourGuest:
    """A cell as another interface sees it when it attaches.

    Attributes:
        name, tenant: who it is.
        info: what the module declares.
        config, options: settings for the interface: arguments, environment, streams.
        limits: what the guest may use.
        resources: services of the host by name.
        granted: capabilities the guest has.
    """

    name: str
    info: ModuleInfo
    tenant: str = "default"
    config: Mapping[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    resources: Mapping[str, Any] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()


@dataclass(slots=True)
class Surroundings:
    """Engine and neighbouring interfaces that cells are loaded on.

    Attributes:
        engine: compiles and runs.
        neighbours: interfaces whose functions a cell may import without declaring anything (WASI).
        options: settings handed to the neighbours, such as the environment that guests see.
        resources: services of the host that neighbours use.
        modules: compiled modules that the cells share; made of the engine where none is given.
    """

    engine: Engine
    neighbours: Sequence[Neighbour] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    modules: ModuleCache = field(default=_OWN)

    def __post_init__(self) -> None:
        if self.modules is _OWN:
            self.modules = ModuleCache(self.engine)

    def registry(self, own: Registry | None) -> Registry:
        """Return a registry of the given capabilities and everything that the neighbours offer."""
        together = Registry()
        if own is not None:
            together.include(own)
        for neighbour in self.neighbours:
            if neighbour.name not in together.interfaces:
                together.interface(neighbour.name, neighbour.functions)
        return together

    @property
    def granted(self) -> tuple[str, ...]:
        """The neighbours' names: a bare interface name grants all of its capabilities."""
        return tuple(neighbour.name for neighbour in self.neighbours)
