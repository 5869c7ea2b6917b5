"""Several cells as one application: boot, events, sibling calls, orderly shutdown (spec/pulp.md 5.2-5.6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guesthouse.errors import NotFound
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.booting import boot
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.crossing import Applications
from guesthouse.interfaces.pulp.extension import Environment, Event, Posted, Refused
from guesthouse.interfaces.pulp.leaving import STOP_GRACE, retire
from guesthouse.interfaces.pulp.lives import Lives
from guesthouse.interfaces.pulp.loading import load
from guesthouse.interfaces.pulp.manifest import CellManifest, boot_order
from guesthouse.interfaces.pulp.providers import ProviderError, selected
from guesthouse.interfaces.pulp.sibling import permits
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.supervisor import Reporter
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.interfaces.pulp.unit import State, Unit
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability
    from guesthouse.registry import Registry

SHUTDOWN_SECONDS = 5.0
"""Seconds that calls by siblings and embedders have to end when their cell is shut down."""
RELOAD_GRACE = 5.0
"""Seconds that a step may take to its end before its instance is replaced."""


class Runtime:
    """Runs cells that belong together.  A context manager: entering starts, leaving stops.

    Args:
        cells: manifests in any order, or the specs of placed cells in boot order.
        registry: capabilities.
        surroundings: engine and neighbouring interfaces.
        storage_root: where capabilities keep files.
        settings: environment for capabilities and, filtered, for guests.
        strict_links: the later permission rule, see `guesthouse.interfaces.pulp.sibling.permits`.
        together: as applications start: one cell after the other, and none if one fails.
        applications: the other applications of the host.
        shared: capabilities that the host keeps for several runtimes.
        reporter: told of every runaway, once each, on the thread that met it.
        grace: seconds that steps and calls may go on when the cells are stopped; then they are interrupted.

    Raises:
        ManifestError: the manifests do not fit together.
    """

    def __init__(
        self,
        cells: Sequence[CellManifest] | Sequence[CellSpec],
        registry: Registry,
        surroundings: Surroundings,
        *,
        storage_root: Path = Path("data"),
        settings: Mapping[str, str] | None = None,
        strict_links: bool = False,
        together: bool = False,
        applications: Applications | None = None,
        shared: Lives | None = None,
        reporter: Reporter | None = None,
        grace: float = STOP_GRACE,
    ) -> None:
        self.registry = registry
        self.surroundings = surroundings
        self.strict_links = strict_links
        self.units = {
            spec.name: Unit(spec, self._load, self._finalize, reporter)
            for spec in _specs(cells, strict_links)
        }
        self._by_id = {unit.spec.id: unit for unit in self.units.values()}
        self.environment = Environment(storage_root, settings or {}, self.post)
        self.lives = Lives(self.environment, shared)
        self.grace = grace
        self._together = together
        self._applications = applications
        self._lock = threading.Lock()
        self._directing = threading.Lock()
        self._stopped = False

    # -- life

    def start(self) -> None:
        """Set the capabilities up, boot all cells, begin to step.

        Raises:
            LoadError: a capability could not be set up, every cell failed, or, of cells that start
                together, one failed.
        """
        log.info("pulp boot", cells=len(self.units))
        try:
            self.lives.set_up(self.wanted())
            boot(list(self.units.values()), together=self._together)
        except BaseException:
            self.stop()
            raise
        for unit in self.units.values():
            if unit.state is State.READY:
                unit.run()
        self.lives.poll()

    def stop(self, grace: float | None = None) -> None:
        """Stop pollers and loops, shut the cells down in reverse order, tear the capabilities down.

        Args:
            grace: seconds instead of the runtime's own.
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self.lives.stop_polling()
        until = time.monotonic() + SHUTDOWN_SECONDS
        directing = self._directing.acquire(timeout=SHUTDOWN_SECONDS)  # a reload under way comes first
        try:
            self._stop_units(self.grace if grace is None else grace, until)
        finally:
            if directing:
                self._directing.release()
        log.info("shutdown complete")
        self.lives.tear_down()

    def _stop_units(self, grace: float, until: float) -> None:
        units = list(self.units.values())[::-1]
        retire(units, grace)
        for unit in units:
            unit.shut_down(until)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- events

    def post(self, event: Event) -> Posted:
        """Queue an event for its cell, or for every cell that declares the capability it comes from."""
        if event.cell_id:
            unit = self._by_id.get(event.cell_id)
            if unit is None:
                return Posted.GONE
            event.provider = event.provider or unit.spec.providers.get(event.source, "")
            return unit.post(event)
        outcome = Posted.GONE
        for unit in self.units.values():
            if event.source in unit.spec.capabilities and unit.post(event) is Posted.QUEUED:
                outcome = Posted.QUEUED
        return outcome

    # -- cells, for the control socket and for embedders

    def cell(self, name: str) -> Cell:
        """Return a running cell; raises `NotFound`."""
        unit = self.units.get(name)
        found = unit.provider() if unit is not None else None
        if found is None:
            raise NotFound("running cell", name, known=list(self.units))
        return found

    def status(self) -> list[dict[str, Any]]:
        """Return state and counters of every cell."""
        return [{**unit.status(), "drops": self.lives.counters(unit.spec.id)} for unit in self.units.values()]

    def reload(self, name: str) -> None:
        """Replace a cell by what its file holds now; its routes and waiting events stay (spec/pulp.md 5.10).

        Raises:
            NotFound: no cell of that name.
            LoadError: the file cannot be loaded; the cell runs on as it was.
            CallError: the new instance did not start; the cell has failed.
        """
        with self._directed(name) as unit:
            unit.reload(lambda spec: load(spec, self.registry, self.surroundings), RELOAD_GRACE)
        log.info("cell reloaded", cell=name)

    def shut_down(self, name: str) -> None:
        """Stop one cell; raises `NotFound`."""
        with self._directed(name) as unit:
            retire([unit], self.grace)
            unit.shut_down(time.monotonic() + SHUTDOWN_SECONDS)

    def wanted(self) -> list[Capability]:
        """Return the capabilities that take part: those of all cells, and whatever some cell declares."""
        wanted: list[Capability] = [each for each in self.registry if self.registry.is_always(each.name)]
        for unit in self.units.values():
            try:
                seen = selected(self.registry, unit.spec)
            except ProviderError:
                continue  # the cell says so when it is loaded
            names = {name.strip().lower() for name in unit.spec.capabilities}
            wanted += [each for each in seen if each.name in names and each not in wanted]
        order = {each.name: place for place, each in enumerate(self.registry)}
        return sorted(wanted, key=lambda each: order[each.name])

    # -- the directory of sibling calls

    def sibling(self, caller: Cell, target: str, function: str) -> Cell | None:
        """Return the cell that a sibling call goes to; see `guesthouse.interfaces.pulp.sibling`."""
        unit = self.units.get(target)
        if unit is None:
            if any(other.spec.cell == target for other in self.units.values()):
                raise Refused(memory.DENIED, f"{target} has several instances; call {target}@INSTANCE")
            return None
        if not permits(caller.spec, unit.spec, function, strict=self.strict_links):
            log.warning("sibling call denied", cell=caller.name, target=target, function=function)
            raise Refused(memory.DENIED, f"{caller.name} declares no link to {target}")
        return unit.provider()

    def application_cell(
        self, caller: Cell, application: str, instance: str, target: str, function: str
    ) -> AbstractContextManager[Cell | None]:
        """Hold a cell of another application, where there are others."""
        if self._applications is None:
            return nullcontext()
        return self._applications.visit(caller.spec, application, instance, target, function)

    # -- inside

    def _load(self, spec: CellSpec) -> Cell:
        return Cell.load(spec, self.registry, surroundings=self.surroundings, services=self)

    def _finalize(self, event: Event) -> None:
        self.lives.finalize(event)

    @contextmanager
    def _directed(self, name: str) -> Iterator[Unit]:
        """Hold a unit for one who stops or replaces it: two at once would get in each other's way."""
        if name not in self.units:
            raise NotFound("cell", name, known=list(self.units))
        with self._directing:
            if self._stopped:
                raise NotFound("running cell", name)
            yield self.units[name]


def _specs(cells: Sequence[CellManifest] | Sequence[CellSpec], strict_links: bool) -> Sequence[CellSpec]:
    specs = [cell for cell in cells if isinstance(cell, CellSpec)]
    if specs:
        return specs
    manifests = [cell for cell in cells if isinstance(cell, CellManifest)]
    return [CellSpec.of(manifest) for manifest in boot_order(manifests, strict_links=strict_links)]
