"""Pulp cells: the public face.

::

    import guesthouse.pulp as pulp

    with pulp.Cell.load("echo/pulp.cell.toml", registry=pulp.registry()) as cell:
        cell.init()
        cell.step()
        cell.call("echo.reverse", b"...")

A cell that is loaded here stands alone, on an engine that the process shares.  `Runtime` runs several
as one application.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Self

from guesthouse.engine import Engine
from guesthouse.interfaces import available
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.cell import Cell as _Cell
from guesthouse.interfaces.pulp.errors import (
    AllocationFailed,
    BadExports,
    CellClosed,
    CellFailed,
    MessageTooLarge,
    NoPostReturn,
    NotAProvider,
    UnknownCellCapability,
)
from guesthouse.interfaces.pulp.extension import Environment, Event, Extension, Posted, Refused
from guesthouse.interfaces.pulp.fleet import Fleet
from guesthouse.interfaces.pulp.manifest import (
    ApplicationManifest,
    CellManifest,
    HostManifest,
    boot_order,
    load_batch,
)
from guesthouse.interfaces.pulp.modules import CacheStats, ModuleCache, ModuleCacheClosed
from guesthouse.interfaces.pulp.providers import ProviderError
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.scopes import ResourceKey, Scope
from guesthouse.interfaces.pulp.spec import CellSpec, SpecLike
from guesthouse.interfaces.pulp.structs import Envelope
from guesthouse.interfaces.pulp.supervisor import Health, Report, Runaway, Snapshot, Supervisor
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.interfaces.pulp.turns import CycleError

if TYPE_CHECKING:
    from guesthouse.registry import Registry

__all__ = [
    "AllocationFailed",
    "ApplicationManifest",
    "BadExports",
    "CacheStats",
    "Catalogue",
    "Cell",
    "CellClosed",
    "CellFailed",
    "CellManifest",
    "CellSpec",
    "CycleError",
    "Envelope",
    "Environment",
    "Event",
    "Extension",
    "Fleet",
    "Health",
    "HostManifest",
    "MessageTooLarge",
    "ModuleCache",
    "ModuleCacheClosed",
    "NoPostReturn",
    "NotAProvider",
    "Posted",
    "ProviderError",
    "Refused",
    "Report",
    "ResourceKey",
    "Runaway",
    "Runtime",
    "Scope",
    "Snapshot",
    "Supervisor",
    "Surroundings",
    "UnknownCellCapability",
    "boot_order",
    "load_batch",
    "registry",
    "standalone",
]

#: What guests see of the host's environment (spec/pulp.md 2.9).
FORWARDED = ("HTTP_PORT", "TZ")


class Cell(_Cell):
    """A live cell; see `guesthouse.interfaces.pulp.cell.Cell` for what it does."""

    @classmethod
    def load(
        cls,
        spec: SpecLike,
        registry: Registry | None = None,
        *,
        surroundings: Surroundings | None = None,
        tenant: str = "default",
        services: Any = None,
    ) -> Self:
        """Load a cell that stands alone, on the engine of this process unless another is given.

        Args:
            spec: a manifest or its path, a module's path or bytes, or a `CellSpec`.
            registry: capabilities, such as `registry` returns; ``None`` offers WASI only.
            surroundings: engine and neighbouring interfaces.
            tenant: isolation domain.
            services: handed to capabilities as ``call.cell.services``.

        Raises:
            ManifestError: the manifest is malformed.
            LoadError: the cell cannot be loaded; the message begins with the stage.
            CallError: ``instantiate wasm``: its start function failed.
        """
        return super().load(
            spec, registry, surroundings=surroundings or standalone(), tenant=tenant, services=services
        )


def standalone(engine: Engine | None = None) -> Surroundings:
    """Return the engine and the neighbouring interfaces of stand-alone cells.

    Args:
        engine: the engine to use; by default the one that these cells share in this process.
    """
    return _shared() if engine is None else _around(engine)


@functools.cache
def _shared() -> Surroundings:
    return _around(Engine())


def _around(engine: Engine) -> Surroundings:
    environment = {name: value for name in FORWARDED if (value := os.environ.get(name))}
    return Surroundings(engine, _neighbours(), options={"env": environment})


def registry() -> Registry:
    """Return a fresh registry of all of Pulp's capabilities: ``pulp_call`` always, the others gated."""
    return Catalogue().registry()


def _neighbours() -> tuple[Any, ...]:
    return tuple(interface for interface in available() if interface.name == "wasi")
