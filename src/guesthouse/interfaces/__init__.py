"""The interfaces that guests are built against; one package each, all with the same floor plan."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from guesthouse.interfaces.contract import Beginning, Command, GuestSide, Interface, LoadedGuest

if TYPE_CHECKING:
    from guesthouse.engine.modules import ModuleInfo

__all__ = ["Beginning", "Command", "GuestSide", "Interface", "LoadedGuest", "available", "notes"]

#: In the order in which they are asked whether a module is theirs; WASI takes what nobody else claims.
NAMES = ("pulp", "ark", "faasm", "grafos", "wasix", "wasi")


@functools.cache
def available() -> tuple[Interface, ...]:
    """Return all interfaces, in the order in which they are asked whether a module is theirs."""
    return tuple(importlib.import_module(f"guesthouse.interfaces.{name}").interface for name in NAMES)


def notes(info: ModuleInfo) -> list[str]:
    """Return what interfaces have to say about a module beyond its imports, one line each."""
    tellers = [getattr(interface, "note", None) for interface in available()]
    return [text for tell in tellers if tell is not None and (text := tell(info))]
