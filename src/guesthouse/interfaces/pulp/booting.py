"""Booting the cells of a runtime in the order of their dependencies (spec/pulp.md 5.2).

Cells boot on threads of their own, and whoever starts them only waits: so an interrupt (ctrl-C, SIGTERM) is
seen at once, and ends the guests that are still initialising.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.unit import State, Unit
from guesthouse.observe import log

BOOT_WORKERS = 16


def boot(units: Sequence[Unit], *, together: bool) -> None:
    """Boot units that are given in the order of their dependencies.

    Args:
        units: the cells.
        together: one after the other, and none if one fails; otherwise side by side, and those go on
            that depend on none that failed.

    Raises:
        LoadError: every cell failed, or, of those that start together, one.
    """
    booted: dict[str, Future[None]] = {}
    pool = ThreadPoolExecutor(min(len(units), BOOT_WORKERS), thread_name_prefix="pulp-boot")
    try:
        for unit in units:
            before = list(booted) if together else [each.spec.name for each in units if _needs(unit, each)]
            booted[unit.spec.name] = pool.submit(_boot_after, unit, [booted[name] for name in before])
        wait(booted.values())
    except BaseException:
        for unit in units:
            unit.stop_booting()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    failed = [unit for unit in units if unit.state is State.FAILED]
    if together and failed:
        first = failed[0]
        raise LoadError(
            f"cell {first.spec.name!r} failed, so nothing is started: {first.error}"
        ) from first.error
    if len(failed) == len(units):
        raise LoadError(f"all cells failed: {'; '.join(str(unit.error) for unit in units)}")


def _needs(unit: Unit, other: Unit) -> bool:
    return other.spec.cell in unit.spec.depends_on


def _boot_after(unit: Unit, needs: Sequence[Future[None]]) -> None:
    """Boot a unit once those before it are up; it fails without loading when one of them failed."""
    wait(needs)
    for need in needs:
        if need.cancelled() or need.exception() is not None:
            unit.state, unit.error = State.FAILED, LoadError("a cell that it depends on failed")
            log.error("cell failed", cell=unit.spec.label, error=str(unit.error))
            raise unit.error
    unit.boot()
