"""Cells that live in a `guesthouse.Host`: their capabilities, events and sibling calls."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.calls.crossing import NotAllowed
from guesthouse.engine import Constant
from guesthouse.errors import CallError, DeadlineExceeded, LoadError, NotFound
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.disk import Quota
from guesthouse.interfaces.pulp.extension import Environment, Event, Posted, Refused
from guesthouse.interfaces.pulp.leaving import STOP_GRACE, retire
from guesthouse.interfaces.pulp.loading import LoadedCell
from guesthouse.interfaces.pulp.scopes import DEFAULT, joined
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.storage import of_tenant
from guesthouse.interfaces.pulp.turns import current_chain
from guesthouse.interfaces.pulp.unit import State, Unit

if TYPE_CHECKING:
    from guesthouse.calls.crossing import Callee
    from guesthouse.capabilities import Capability
    from guesthouse.engine import Instance, Template
    from guesthouse.interfaces.contract import LoadedGuest


class _Hosted(LoadedCell):
    """A loaded cell whose instances the host opens and accounts for."""

    guest: LoadedGuest

    def open(self) -> Instance:
        """Open an instance under the guest's limits, with all interfaces bound."""
        return self.guest.open(None, self.template)

    def bind(self, instance: Instance, call: Any) -> None:
        """The host has bound the interfaces already."""

    def dismiss(self, instance: Instance, call: Any) -> None:
        """Give the instance back to the host."""
        self.guest.dismiss(instance, None)


def _routing_id(guest: LoadedGuest) -> str:
    """A name that no other guest of the host has; the bare one where that is clear."""
    if guest.tenant == DEFAULT and "/" not in guest.name:
        return guest.name
    return "/" + joined(guest.tenant, guest.name)


class Neighbour:
    """A guest of another interface, as a cell calls it.

    Args:
        caller: the guest that the cell is.
        callee: whom it calls.
    """

    def __init__(self, caller: LoadedGuest, callee: Callee) -> None:
        self._caller, self._callee = caller, callee

    def call(self, name: str, args: bytes = b"", *, check: Callable[[], object] | None = None) -> bytes:
        """Call it on this thread; its deadline is that of the cell's own entry.

        Raises:
            GuestFailed: it returned a code other than 0.
            CallError: it ended without a result.
        """
        chain = current_chain()
        wall = (chain.deadline - time.monotonic_ns()) / 1e9 if chain.deadline else None
        if wall is not None and wall <= 0:
            raise DeadlineExceeded(guest=self._caller.name)
        result = self._caller.cross(self._callee, args, parent=chain.call, wall=wall)
        if result.error is not None and not isinstance(result.error, CallError):
            # It could not be linked, or something of the host broke: to the cell that is a failed call.
            raise CallError(str(result.error), guest=self._callee.guest.name) from result.error
        return bytes(result.unwrap())  # a program's output carries more than its bytes


class Resident:
    """One hosted cell; booted on first use, or at once when events may come for it.

    Args:
        guest: what the host loaded.
        unit: the cell under supervision.
        eventful: whether capabilities bring it events.
    """

    def __init__(self, guest: LoadedGuest, unit: Unit, *, eventful: bool) -> None:
        self.guest, self.unit, self.eventful = guest, unit, eventful
        self._booting = threading.Lock()

    def boot(self) -> None:
        """Load, initialise and begin to step, once.

        Raises:
            Error: the cell failed.
        """
        with self._booting:
            if self.unit.state is State.NEW:
                self.unit.boot()
                if self.eventful:
                    self.unit.run()

    def cell(self) -> Cell:
        """Return the live cell.

        Raises:
            Error: it failed to boot.
            NotFound: it is not running any more.
        """
        self.boot()
        found = self.unit.provider()
        if found is None and not self.eventful:  # nothing else looks after it
            with self._booting:
                self.unit.revive()
            found = self.unit.provider()
        if found is None:
            raise NotFound("running cell", self.unit.spec.name)
        return found


class Residence:
    """Everything that the hosted cells of one host share; the host's service ``pulp``.

    Args:
        options: ``storage_root`` for files, ``settings`` as of `Environment`; both optional.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(options, Mapping | None):
            raise LoadError(f"the pulp options are a mapping of storage_root and settings, not {options!r}")
        given = dict(options or {})
        root = Path(given.pop("storage_root", "data"))
        settings = given.pop("settings", os.environ)
        if given:
            raise LoadError(f"the pulp options are storage_root and settings, not {', '.join(given)}")
        self.catalogue = Catalogue()
        self._registry = self.catalogue.registry()
        self._environment = Environment(root, settings, self.post)
        self._set_up: list[Capability] = []
        self._residents: dict[str, Resident] = {}
        self._lock = threading.RLock()

    def move_in(self, guest: LoadedGuest) -> Resident:
        """Take a guest in, and boot it if events may come for it.

        Raises:
            LoadError: a capability could not be set up or refused the cell.
            Error: the cell failed to start or to initialise.
        """
        taking_part = self._taking_part(guest)
        with self._lock:
            for capability in taking_part:
                self._set_capability_up(capability)
        spec = CellSpec(
            name=guest.name,
            wasm=b"",
            capabilities=tuple(sorted(guest.granted)),
            config=guest.config,
            memory=guest.limits.memory,
            timeout=guest.limits.wall or 30.0,
            restart=guest.options.get("restart", "on_crash"),
            cell_id=_routing_id(guest),
            storage=None if guest.tenant == DEFAULT else of_tenant(guest.tenant, guest.name),
            disk=Quota(guest.limits.disk),
        )
        loaded = _Hosted(spec, self._linked(guest), guest.granted, taking_part, ())
        object.__setattr__(loaded, "guest", guest)
        unit = Unit(spec, lambda _: Cell(loaded, tenant=guest.tenant, services=self), self._finalize)
        eventful = any(capability.name in self.catalogue.eventful for capability in taking_part)
        resident = Resident(guest, unit, eventful=eventful)
        with self._lock:
            self._residents[spec.id] = resident
        if eventful:
            resident.boot()
        return resident

    def move_out(self, resident: Resident) -> None:
        """Shut a cell down and forget it."""
        with self._lock:
            self._residents.pop(resident.unit.spec.id, None)
        retire([resident.unit], STOP_GRACE)
        resident.unit.shut_down_within(resident.unit.spec.timeout)

    def runs_caller(self) -> bool:
        """Whether this thread is the one that steps a cell, and so is inside of it."""
        with self._lock:
            residents = list(self._residents.values())
        return any(loop.here for resident in residents for loop in resident.unit.loops)

    def post(self, event: Event) -> Posted:
        """Queue an event for its cell."""
        resident = self._residents.get(event.cell_id)
        return resident.unit.post(event) if resident is not None else Posted.GONE

    def sibling(self, caller: Cell, target: str, function: str) -> Cell | Neighbour | None:
        """Return whom a cell means by a name: another cell, or a guest of any other interface.

        Raises:
            Refused: code 11, the caller's ``consumes`` leaves it out.
        """
        own = self._residents.get(caller.id)
        if own is None:
            return None
        try:
            found = own.guest.callee(target, function)
        except NotAllowed as error:
            raise Refused(memory.DENIED, str(error)) from None
        except NotFound:
            return None
        side = found.guest.owner
        return side.cell() if hasattr(side, "cell") else Neighbour(own.guest, found)

    def application_cell(
        self, caller: Cell, application: str, instance: str, target: str, function: str
    ) -> AbstractContextManager[Cell | None]:
        """There are no applications of Pulp's kind in a host."""
        return nullcontext()

    def close(self) -> None:
        """Tear the capabilities down."""
        for resident in list(self._residents.values()):
            self.move_out(resident)
        while self._set_up:
            hook = self._set_up.pop().hooks.teardown
            if hook is not None:
                hook()
        self.catalogue.threads.close()

    def _taking_part(self, guest: LoadedGuest) -> tuple[Capability, ...]:
        """Return what looks after a cell: a grant of all of Pulp does not ask for everything to be set up."""
        imported = {item.name for item in guest.info.imports if item.module == "pulp"}

        def takes_part(capability: Capability) -> bool:
            if self._registry.is_always(capability.name):
                return True
            used = not capability.functions or any(row.name in imported for row in capability.functions)
            return used and capability.name in guest.granted

        return tuple(filter(takes_part, self._registry))

    def _set_capability_up(self, capability: Capability) -> None:
        if capability in self._set_up:
            return
        if capability.hooks.setup is not None:
            try:
                capability.hooks.setup(self._environment)
            except Exception as error:
                raise LoadError(f"capability {capability.name!r} could not be set up: {error}") from error
        self._set_up.append(capability)

    def _linked(self, guest: LoadedGuest) -> Template:
        """Link the module to this residence's own capabilities instead of the table's rows."""
        own = {(row.name, row.params): row for _, row in self._registry.functions() if row.module == "pulp"}
        links = {
            key: own.get((row.name, row.params), row)
            if row.module == "pulp" and not isinstance(row.implementation, Constant)
            else row
            for key, row in guest.links.items()
        }
        return guest.module.link(links)

    def _finalize(self, event: Event) -> None:
        if event.source in self._registry:
            hook = self._registry[event.source].hooks.finalize
            if hook is not None:
                hook(event.id)
