"""Who is compared: we, the engine below us, and the rivals that are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.bench.measure import Peer


def _guesthouse() -> Any:
    from guesthouse.bench.ours import Ours

    return Ours()


def _floor() -> Peer:
    from guesthouse.bench.ours import Floor

    return Floor()


def _wasmtime() -> Any:
    from guesthouse.bench.wasmtime_peer import Wasmtime

    return Wasmtime()


def _extism() -> Any:
    from guesthouse.bench.extism_peer import Extism

    return Extism()


#: How to make each peer, in the order of the table's columns.
PEERS: Mapping[str, Callable[[], Any]] = {
    "guesthouse": _guesthouse,
    "raw engine": _floor,
    "wasmtime-py": _wasmtime,
    "extism": _extism,
}


def installed() -> list[str]:
    """Return the names of the peers that this environment has."""
    return [name for name in PEERS if name != "extism" or importlib.util.find_spec("extism") is not None]
