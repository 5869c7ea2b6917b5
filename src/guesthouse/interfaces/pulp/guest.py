"""Pulp as an interface of the host: cells that live in a `guesthouse.Host` (DESIGN 2, 4).

A hosted cell is resident: one instance lives on, initialised once, and calls by other guests or the
embedder take turns in it.  A call's entry names a provider function; without one the input is a step.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.calls import Call, Outcome
from guesthouse.errors import CallRefused, LoadError, NotFound
from guesthouse.interfaces.contract import Beginning, GuestSide, LoadedGuest
from guesthouse.interfaces.pulp import freezing
from guesthouse.interfaces.pulp.errors import CellFailed
from guesthouse.interfaces.pulp.imports import IMPORTS
from guesthouse.interfaces.pulp.leaving import STOP_GRACE
from guesthouse.interfaces.pulp.loading import REQUIRED_EXPORTS, check_exports
from guesthouse.interfaces.pulp.restarts import RESTART_POLICIES
from guesthouse.interfaces.pulp.structs import Envelope
from guesthouse.interfaces.pulp.turns import current_chain

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from guesthouse.engine import Instance, ModuleInfo
    from guesthouse.interfaces.pulp.cell import Cell
    from guesthouse.interfaces.pulp.http.site import Site
    from guesthouse.interfaces.pulp.resident import Residence, Resident
    from guesthouse.interfaces.pulp.turns import Chain


class PulpSide(GuestSide):
    """Pulp's part in one guest."""

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        self._residence: Residence | None = None
        self._resident: Resident | None = None
        if guest.interface == "pulp" or guest_is_cell(guest.info):
            check_exports(guest.name, guest.info)
        restart = guest.options.get("restart", RESTART_POLICIES[0])
        if restart not in RESTART_POLICIES:
            raise LoadError(f"restart is one of {', '.join(RESTART_POLICIES)}, not {restart!r}")

    def accepts(self, entry: str | None) -> bool:
        """Say whether a call may name an entry: any function name, where the cell is a provider."""
        if entry is not None and "pulp_on_call" not in self.guest.info.exports:
            raise NotFound("function", entry, guest=self.guest.name)
        return True

    def loaded(self) -> None:
        """Boot the cell when it has capabilities that bring it events; others wait for their first call.

        Raises:
            Error: it failed to start or to initialise.
        """
        residence: Residence = self.guest.service("pulp")
        self._residence = residence
        self._resident = residence.move_in(self.guest)

    def initialise(self, instance: Instance, *, fully: bool, further: str | None) -> Beginning:
        """Run the cell's start, and ``pulp_init`` where that is safe; see :mod:`.freezing`.

        Raises:
            Unsafe: it is not.
            CallError: the start failed.
        """
        guest = self.guest
        return freezing.initialise(instance, guest.name, guest.config, fully=fully and further is None)

    def serve(self, call: Call) -> Outcome:
        """Run one call in the resident instance.

        Raises:
            CallError: the call ended without a result.
        """
        self._refuse_cycle(call)

        def check() -> None:
            call.check()
            self._refuse_cycle(call)  # it may have been started before its caller began to wait for it

        cell = self.cell()
        chain = current_chain()
        outer, chain.call = chain.call, call
        call.instance = _Stay(cell, chain)
        timeout = None if not call.deadline else max(0.0, (call.deadline - time.monotonic_ns()) / 1e9)
        try:
            if call.entry is None:
                envelope = Envelope(wall_time=time.time_ns(), payload=call.input)
                return Outcome(cell.step(envelope, timeout=timeout, check=check), b"")
            return Outcome(0, cell.call(call.entry, call.input, timeout=timeout, check=check) or b"")
        except CellFailed as error:
            return Outcome(error.code, error.detail.encode())
        finally:
            call.instance = None
            chain.call = outer

    def cell(self) -> Cell:
        """Return the live cell, booted if need be.

        Raises:
            Error: it failed to boot, or is not running any more.
        """
        assert self._resident is not None
        return self._resident.cell()

    def _refuse_cycle(self, call: Call) -> None:
        """Refuse a call that this cell itself waits for, through guests of other interfaces.

        Among cells the turns see it (`turns`); a call that comes back through other guests may arrive on
        another thread. A linked call counts as waited for: it ends with its caller, so it could never run
        in a cell that waits for that caller.

        Raises:
            CallRefused: ``cycle``.
        """
        below, above = call, call.parent
        while above is not None and (above.awaits is below or below.linked):
            if above.guest == self.guest.name and above.tenant == self.guest.tenant:
                raise CallRefused("cycle", guest=self.guest.name)
            below, above = above, above.parent

    def close(self) -> None:
        """Shut the cell down."""
        if self._residence is not None and self._resident is not None:
            self._residence.move_out(self._resident)


class _Stay:
    """What a call ends that is cancelled while it is in a cell.

    Args:
        cell: the cell.
        chain: how it came there.

    Attributes:
        places: none: the cell keeps its place in the pool when the call is over.
    """

    __slots__ = ("_cell", "_chain")
    places = None

    def __init__(self, cell: Cell, chain: Chain) -> None:
        self._cell, self._chain = cell, chain

    def cancel(self, reason: str) -> None:
        """End what the call does in there; the cell is started anew, as after any end."""
        self._cell.end(self._chain, reason)


class PulpInterface:
    """Pulp: cells, their capabilities and their manifests."""

    name = "pulp"
    functions = IMPORTS
    options = ("restart",)
    initialiser = freezing.INIT
    isolate = staticmethod(freezing.isolate)

    def owns(self, info: ModuleInfo) -> bool:
        """A cell is told by its lifecycle exports."""
        return guest_is_cell(info)

    def attach(self, guest: LoadedGuest) -> PulpSide:
        """Make the guest side."""
        return PulpSide(guest)

    def http_routes(self, host: Any) -> list[BaseRoute]:
        """Return what the host's cells answer over HTTP, for its gateway."""
        from guesthouse.interfaces.pulp.http.mounting import CellRoutes

        def site() -> Site | None:  # to ask for the service would make it
            if not any(guest.interface == self.name for guest in host.guests):
                return None
            found: Site | None = host.service("pulp").catalogue.http.site
            return found

        return [CellRoutes(site, lambda: host.service("pulp").catalogue.threads)]

    @contextlib.contextmanager
    def serve_manifests(
        self, host: Any, paths: Sequence[Path], *, mounted: bool = False, grace: float = STOP_GRACE
    ) -> Iterator[list[BaseRoute]]:
        """Run Pulp's own manifests on a host's engine while entered.

        Args:
            host: the host.
            paths: the manifests.
            mounted: whether a gateway will mount the routes that this yields.
            grace: seconds that steps and calls may go on at the end, before they are interrupted.

        Raises:
            ManifestError: they are malformed, or do not fit together.
            LoadError: nothing could be started.
        """
        from guesthouse.interfaces.pulp.serving import serving

        with serving(host, paths, mounted=mounted, grace=grace) as routes:
            yield [routes]


def guest_is_cell(info: ModuleInfo) -> bool:
    """Say whether a module has the lifecycle exports of a cell."""
    return all(name in info.exports for name in REQUIRED_EXPORTS)
