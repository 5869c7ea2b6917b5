"""What tests of guests need: builders, mocks, clocks and faults."""

from __future__ import annotations

import importlib
from typing import Any

#: Where each public name lives; imported when it is first asked for, so that the guest builder stays light.
_HOMES = {
    "MockFabric": "fabric",
    "current_mock": "fabric",
    "reset_mock": "fabric",
    "mock_set_fbmu_arena_size": "fabric",
    "mock_set_fbbu_num_blocks": "fabric",
    "mock_set_fbmu_hello_error": "fabric",
    "mock_set_fbbu_hello_error": "fabric",
    "mock_set_unix_time_secs": "fabric",
    "mock_advance_time_secs": "fabric",
    "mock_set_net_interface": "fabric",
    "mock_set_net_hello_error": "fabric",
    "mock_set_tasklet_result": "fabric",
    "mock_set_tasklet_submit_error": "fabric",
    "Faults": "faults",
    "engine": "engines",
    "clear_faults": "faults",
    "current_faults": "faults",
    "inject": "faults",
    "VirtualClock": "guesthouse.resources.leases.clock",
}

__all__ = [*_HOMES, "guests"]  # noqa: PLE0604 - all of them are strings


def __getattr__(name: str) -> Any:
    if name == "guests":
        return importlib.import_module("guesthouse.testing.guests")
    if name not in _HOMES:
        raise AttributeError(f"module 'guesthouse.testing' has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(importlib.import_module(home if "." in home else f"guesthouse.testing.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
