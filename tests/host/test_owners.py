"""Whose guest a module is follows from the module alone."""

from __future__ import annotations

import pytest

import guesthouse
from guesthouse.testing import guests


@pytest.mark.parametrize(
    ("source", "interface"),
    [
        ("tour/count.c", "wasi"),  # opens files: functions that Faasm serves in its own way to its own guests
        ("tour/visits.c", "faasm"),
        ("demo/desk.c", "pulp"),
        ("demo/words", "pulp"),
        ("ark/worker.c", "ark"),
        ("tour/spin.wat", "wasi"),
    ],
)
def test_interface_is_told_from_the_module(source, interface):
    with guesthouse.Host() as host:
        grants = [name for name in ("wasi.files", "faasm.state") if name.startswith(interface)]
        assert host.load(guests.build(f"guests/{source}"), name="guest", grant=grants).interface == interface
