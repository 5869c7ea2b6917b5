"""Putting those out who are in a cell that is to be shut down (spec/pulp.md 5.6, 8.2)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.cell import Cell
    from guesthouse.interfaces.pulp.unit import Unit

_LOOK = 0.01

#: Seconds that steps and calls in cells that are stopped may go on before they are interrupted.
STOP_GRACE = 1.0


def retire(units: Sequence[Unit], grace: float) -> None:
    """Stop stepping cells, all at once; whoever is still in one after ``grace`` seconds is interrupted."""
    end = time.monotonic() + grace
    for unit in units:
        unit.ask_to_stop()
    for unit in units:
        unit.stop_stepping(max(0.0, end - time.monotonic()))
    vacate([cell for unit in units for cell in unit.cells], max(0.0, end - time.monotonic()))


def vacate(cells: Iterable[Cell], grace: float) -> None:
    """Wait until nobody is in any of the cells, and interrupt whoever still is after ``grace`` seconds.

    A step loop is asked to end beforehand; those that are left have called a cell from elsewhere, and
    would keep its shutdown waiting until their own deadlines.
    """
    until = time.monotonic() + grace
    for cell in cells:
        while cell.busy and time.monotonic() < until:
            time.sleep(_LOOK)
        if cell.busy:
            log.warning("cell interrupted", cell=cell.label, reason="a call into it did not end by itself")
            cell.interrupt("the host shuts down")
