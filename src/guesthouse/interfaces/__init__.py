"""The interfaces that guests are built against; one package each, all with the same floor plan."""

from __future__ import annotations

import functools
import importlib

from guesthouse.interfaces.contract import Command, GuestSide, Interface, LoadedGuest

__all__ = ["Command", "GuestSide", "Interface", "LoadedGuest", "available"]

#: In the order in which they are asked whether a module is theirs; WASI takes what nobody else claims.
NAMES = ("pulp", "ark", "faasm", "grafos", "wasix", "wasi")


@functools.cache
def available() -> tuple[Interface, ...]:
    """Return all interfaces, in the order in which they are asked whether a module is theirs."""
    return tuple(importlib.import_module(f"guesthouse.interfaces.{name}").interface for name in NAMES)
