"""Several cells as one application: boot, events, sibling calls, orderly shutdown (spec/pulp.md 5.2-5.6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guesthouse.errors import LoadError, NotFound
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.extension import Environment, Event, Posted, Refused
from guesthouse.interfaces.pulp.manifest import CellManifest, boot_order
from guesthouse.interfaces.pulp.sibling import permits
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.interfaces.pulp.unit import State, Unit
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability
    from guesthouse.registry import Registry

SHUTDOWN_SECONDS = 5.0
STEP_GRACE = 0.5
BOOT_WORKERS = 16
_POLL_PAUSE = 200e-6
_LONGEST_POLL_PAUSE = 0.01


class Runtime:
    """Runs the cells of a set of manifests.  A context manager: entering starts, leaving stops.

    Args:
        manifests: the cells, in any order.
        registry: capabilities.
        surroundings: engine and neighbouring interfaces.
        storage_root: where capabilities keep files.
        settings: environment for capabilities and, filtered, for guests.
        strict_links: the later permission rule, see `guesthouse.interfaces.pulp.sibling.permits`.

    Raises:
        ManifestError: the manifests do not fit together.
    """

    def __init__(
        self,
        manifests: Sequence[CellManifest],
        registry: Registry,
        surroundings: Surroundings,
        *,
        storage_root: Path = Path("data"),
        settings: Mapping[str, str] | None = None,
        strict_links: bool = False,
    ) -> None:
        self.registry = registry
        self.surroundings = surroundings
        self.strict_links = strict_links
        self.units = {
            manifest.name: Unit(CellSpec.of(manifest), self._load, self._finalize)
            for manifest in boot_order(manifests, strict_links=strict_links)
        }
        self.environment = Environment(storage_root, settings or {}, self.post)
        self._set_up: list[Capability] = []
        self._stopping = threading.Event()
        self._pollers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = False

    # -- life

    def start(self) -> None:
        """Set the capabilities up, boot all cells, begin to step.

        Raises:
            LoadError: a capability could not be set up, or every cell failed.
        """
        log.info("pulp boot", cells=len(self.units))
        try:
            self._set_capabilities_up()
            self._boot()
        except BaseException:
            self.stop()
            raise
        for unit in self.units.values():
            if unit.state is State.READY:
                unit.run()
        for capability in self._set_up:
            if capability.hooks.poll is not None:
                poller = threading.Thread(target=self._poll, args=(capability,), daemon=True)
                poller.start()
                self._pollers.append(poller)

    def stop(self) -> None:
        """Stop pollers and loops, shut the cells down in reverse order, tear the capabilities down."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self._stopping.set()
        for poller in self._pollers:
            poller.join(1.0)
        until = time.monotonic() + SHUTDOWN_SECONDS
        units = list(self.units.values())[::-1]
        for unit in units:
            unit.stop_stepping(STEP_GRACE)
        for unit in units:
            unit.shut_down(until)
        log.info("shutdown complete")
        while self._set_up:
            capability = self._set_up.pop()
            if capability.hooks.teardown is not None:
                _safely(capability.hooks.teardown, "teardown", capability)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- events

    def post(self, event: Event) -> Posted:
        """Queue an event for its cell, or for every cell that declares the capability it comes from."""
        if event.cell_id:
            unit = self._unit_by_id(event.cell_id)
            return unit.post(event) if unit is not None else Posted.GONE
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
        return [unit.status() for unit in self.units.values()]

    def reload(self, name: str) -> None:
        """Stop a cell and start it again from its file (spec/pulp.md 5.10).

        Raises:
            NotFound: no cell of that name.
            Error: it did not start again; it has failed then.
        """
        unit = self._named(name)
        self.shut_down(name)
        unit.boot()
        unit.run()
        log.info("cell reloaded", cell=name)

    def shut_down(self, name: str) -> None:
        """Stop one cell; raises `NotFound`."""
        unit = self._named(name)
        unit.stop_stepping(STEP_GRACE)
        unit.shut_down(time.monotonic() + SHUTDOWN_SECONDS)

    # -- the directory of sibling calls

    def sibling(self, caller: Cell, target: str, function: str) -> Cell | None:
        """Return the cell that a sibling call goes to; see `guesthouse.interfaces.pulp.sibling`."""
        unit = self.units.get(target)
        if unit is None:
            return None
        if not permits(caller.spec, unit.spec, function, strict=self.strict_links):
            log.warning("sibling call denied", cell=caller.name, target=target, function=function)
            raise Refused(memory.DENIED, f"{caller.name} declares no link to {target}")
        return unit.provider()

    def application_cell(
        self, caller: Cell, application: str, instance: str, target: str, function: str
    ) -> Cell | None:
        """There are no other applications here."""
        return None

    # -- inside

    def _load(self, spec: CellSpec) -> Cell:
        return Cell.load(spec, self.registry, surroundings=self.surroundings, services=self)

    def _named(self, name: str) -> Unit:
        try:
            return self.units[name]
        except KeyError:
            raise NotFound("cell", name, known=list(self.units)) from None

    def _unit_by_id(self, cell_id: str) -> Unit | None:
        return next((unit for unit in self.units.values() if unit.spec.id == cell_id), None)

    def _set_capabilities_up(self) -> None:
        wanted = {name for unit in self.units.values() for name in unit.spec.capabilities}
        for capability in self.registry:
            if capability.name not in wanted and not self.registry.is_always(capability.name):
                continue
            if capability.hooks.setup is not None:
                try:
                    capability.hooks.setup(self.environment)
                except Exception as error:
                    message = f"capability {capability.name!r} could not be set up: {error}"
                    raise LoadError(message) from error
            self._set_up.append(capability)

    def _boot(self) -> None:
        """Boot the cells side by side, each after those that it depends on."""
        booted: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(
            max_workers=min(len(self.units), BOOT_WORKERS), thread_name_prefix="pulp-boot"
        ) as pool:
            for name, unit in self.units.items():
                needs = [booted[need] for need in unit.spec.depends_on]
                booted[name] = pool.submit(_boot_after, unit, needs)
        if all(unit.state is State.FAILED for unit in self.units.values()):
            errors = "; ".join(str(unit.error) for unit in self.units.values())
            raise LoadError(f"all cells failed: {errors}")

    def _poll(self, capability: Capability) -> None:
        """Move events from a capability to the cells."""
        poll = capability.hooks.poll
        assert poll is not None
        pause = _POLL_PAUSE
        while not self._stopping.wait(pause):
            try:
                event = poll()
            except Exception:  # noqa: BLE001 - code of strangers
                log.exception("capability poll failed", capability=capability.name)
                event = None
            if event is None:
                pause = min(pause * 2, _LONGEST_POLL_PAUSE)
                continue
            pause = 0.0
            event.source = capability.name
            if self.post(event) is not Posted.QUEUED:
                self._finalize(event)

    def _finalize(self, event: Event) -> None:
        if event.source in self.registry:
            hook = self.registry[event.source].hooks.finalize
            if hook is not None:
                _safely(lambda: hook(event.id), "finalize", self.registry[event.source])


def _boot_after(unit: Unit, needs: Sequence[Future[None]]) -> None:
    """Boot a unit once its dependencies are up; it fails without loading when one of them failed."""
    for need in needs:
        if need.exception() is not None:
            unit.state, unit.error = State.FAILED, LoadError("a cell that it depends on failed")
            log.error("cell failed", cell=unit.spec.name, error=str(unit.error))
            raise unit.error
    unit.boot()


def _safely(hook: Any, what: str, capability: Capability) -> None:
    try:
        hook()
    except Exception:  # noqa: BLE001 - code of strangers
        log.exception(f"capability {what} failed", capability=capability.name)
