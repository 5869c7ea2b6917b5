"""A cell under a runtime: its instances, loops, state and restarts (spec/pulp.md 5.3, 5.5, 8.2-8.4)."""

from __future__ import annotations

import enum
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from guesthouse.errors import CallError, Error
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.errors import no_strangers
from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.interfaces.pulp.loading import LoadedCell
from guesthouse.interfaces.pulp.loop import StepLoop
from guesthouse.interfaces.pulp.mailbox import Mailbox
from guesthouse.interfaces.pulp.restarts import RestartPolicy
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.supervisor import Reporter
from guesthouse.observe import log

_CLEAN_EXIT = "module closed with exit_code(0)"


class State(enum.StrEnum):
    """What a unit is doing; the control socket shows the last three (spec/pulp.md 5.10)."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Unit:
    """One cell of an application.

    Args:
        spec: the cell.
        load: makes an instance of it.
        finalize: called for every event that was handled or dropped.
        reporter: told of every runaway, once each.

    Attributes:
        state: see `State`.
        error: why it failed.
        restarts: how often an instance was replaced after a crash.
        dropped: events that were given up because the queue was full.
    """

    def __init__(
        self,
        spec: CellSpec,
        load: Callable[[CellSpec], Cell],
        finalize: Callable[[Event], None],
        reporter: Reporter | None = None,
    ) -> None:
        self.spec = spec
        self.state = State.NEW
        self.error: Error | None = None
        self.restarts = self.dropped = 0
        self._counting = threading.Lock()
        self.mailbox = Mailbox()
        self.cells: list[Cell] = []
        self.loops: list[StepLoop] = []
        self._load = load
        self._finalize = finalize
        self._reporter = reporter
        self._policy = RestartPolicy(spec.restart, spec.instances)
        self._stopping = threading.Event()
        self._round = itertools.count()

    # -- life

    def boot(self) -> None:
        """Load and initialise all instances.

        Raises:
            Error: any of them failed; the unit has failed then.
        """
        self.state, self.error = State.STARTING, None
        self._stopping.clear()
        while True:
            try:
                self._start_all()
                break
            except Error as error:
                if not self._tries_again(error):
                    self._give_up(error)
                    raise
        log.info("init complete", cell=self.spec.label)
        self.state = State.READY
        log.info("cell ready", cell=self.spec.label)

    def _start_all(self) -> None:
        try:
            for _ in range(self.spec.instances):
                cell = self._load(self.spec)
                self.cells.append(cell)
                with no_strangers(self.spec.label, "pulp_init"):
                    cell.init()
        except BaseException:
            for cell in self.cells:
                cell.close()
            self.cells.clear()
            raise

    def stop_booting(self) -> None:
        """End the initialisation that runs now, from any thread; harmless when none does."""
        self._stopping.set()
        if self.state is State.STARTING:
            for cell in list(self.cells):
                cell.interrupt("the host shuts down")

    def _tries_again(self, error: Error) -> bool:
        """Wait and say whether to start once more: a guest that fails by itself, under ``always``."""
        if not isinstance(error, CallError) or not self._policy.retries_start():
            return False
        if not self._policy.wait(self._stopping):
            return False
        self.restarts += 1
        log.warning("start failed, trying again", cell=self.spec.label, error=str(error))
        return True

    def run(self) -> None:
        """Begin to step."""
        self.mailbox.reopen()
        for cell in self.cells:
            loop = StepLoop(cell, self.mailbox, self._finalize, self._crashed(cell), self._reporter)
            self.loops.append(loop)
            loop.start()

    def ask_to_stop(self, *, for_good: bool = True) -> None:
        """Make the loops end after the step that runs; harmless when repeated.

        Args:
            for_good: finalize the events that wait and take no more; otherwise they wait on.
        """
        self._stopping.set()
        for loop in self.loops:
            loop.stop()
        for event in self.mailbox.close() if for_good else ():
            self._finalize(event)

    def stop_stepping(self, grace: float, *, for_good: bool = True) -> None:
        """Stop the loops; a guest that does not come back within ``grace`` seconds is interrupted.

        Args:
            grace: seconds.
            for_good: as for `ask_to_stop`.
        """
        self.ask_to_stop(for_good=for_good)
        until = time.monotonic() + grace
        for loop in self.loops:
            if not loop.join(max(0.0, until - time.monotonic())):
                log.warning("cell interrupted", cell=self.spec.label, reason="it did not stop by itself")
                loop.cell.interrupt("the host shuts down")
                loop.join(1.0)
        self.loops.clear()

    def reload(self, load: Callable[[CellSpec], LoadedCell], grace: float) -> None:
        """Replace all instances by fresh ones, loaded anew; events that come meanwhile wait.

        Args:
            load: loads the cell; when that fails, the instances run on as they were.
            grace: as for `stop_stepping`.

        Raises:
            LoadError: the cell cannot be loaded.
            Error: a new instance failed; the unit has failed then.
        """
        if self.state is not State.READY:
            self.stop_stepping(grace)
            self.shut_down_within(grace)
            self.boot()
            self.run()
            return
        fresh: list[LoadedCell] = []
        try:
            fresh += [load(self.spec) for _ in self.cells]
        except Error:
            for loaded in fresh:
                loaded.close()
            raise
        self._policy.forget()
        self.stop_stepping(grace, for_good=False)
        try:
            for cell, loaded in zip(self.cells, fresh, strict=True):
                if cell.usable:
                    self._log_probes(cell)
                with no_strangers(self.spec.label, "pulp_init"):
                    cell.reload(loaded)
        except Error as error:
            self._give_up(error)
            raise
        self._stopping.clear()
        self.run()

    def shut_down(self, until: float) -> None:
        """Log the probes, run ``pulp_shutdown`` and close; ``until`` is a `time.monotonic` instant."""
        for cell in self.cells:
            if cell.usable:
                self._log_probes(cell)
                try:
                    with no_strangers(self.spec.label, "pulp_shutdown"):
                        cell.shutdown(timeout=max(0.01, until - time.monotonic()))
                except CallError as error:
                    log.error("shutdown failed", cell=self.spec.label, error=str(error))
            cell.close()
        self.cells.clear()
        if self.state is not State.FAILED:
            self.state = State.STOPPED

    def shut_down_within(self, seconds: float) -> None:
        """`shut_down` with a budget from now."""
        self.shut_down(time.monotonic() + seconds)

    # -- use

    def post(self, event: Event) -> Posted:
        """Queue an event; a full queue drops it, visibly."""
        posted = self.mailbox.put(event) if self.state is State.READY else Posted.GONE
        if posted is Posted.FULL and not event.patient:
            with self._counting:
                self.dropped += 1
            log.warning("event dropped", cell=self.spec.label, kind=event.kind, dropped=self.dropped)
        return posted

    def provider(self) -> Cell | None:
        """Return the instance that takes a sibling call: one that is free, else each in turn."""
        if self.state is not State.READY:
            return None
        cells = [cell for cell in self.cells if cell.usable]
        free = next((cell for cell in cells if not cell.busy), None)
        return free or (cells[next(self._round) % len(cells)] if cells else None)

    def status(self) -> dict[str, Any]:
        """Return what the control socket shows, and the counters beside it."""
        return {
            "name": self.spec.name,
            "state": str(self.state),
            "steps": sum(loop.steps for loop in self.loops),
            "restarts": self.restarts,
            "health": sorted({str(loop.supervisor.state) for loop in self.loops}),
            "runaways": sum(loop.supervisor.runaways for loop in self.loops),
            "queued": len(self.mailbox),
            "dropped": self.dropped,
            "instances": len(self.cells),
            "error": str(self.error) if self.error else "",
        }

    # -- crashes

    def revive(self) -> None:
        """Bring back instances that ended in a call, as far as they may be; for a unit that does not step."""
        for cell in list(self.cells):
            if not cell.usable:
                self._restart(cell, CallError("its instance has ended", guest=self.spec.label))

    def _crashed(self, cell: Cell) -> Callable[[Error], bool]:
        def crashed(error: Error) -> bool:
            return self._restart(cell, error)

        return crashed

    def _restart(self, cell: Cell, error: Error) -> bool:
        """Bring a crashed instance back under the restart policy; false when it stays dead."""
        while self._policy.revives(clean_exit=cell.ended == _CLEAN_EXIT) and self._policy.wait(
            self._stopping
        ):
            try:
                with no_strangers(self.spec.label, "pulp_init"):
                    cell.reload()
            except Error as failure:
                log.error("restart failed", cell=self.spec.label, error=str(failure))
                error = failure
                continue
            self.restarts += 1
            log.info("cell restarted", cell=self.spec.label, restarts=self.restarts)
            return True
        if not self._stopping.is_set():
            self._give_up(error)
        return False

    def _give_up(self, error: Error) -> None:
        self.state, self.error = State.FAILED, error
        log.error("cell failed", cell=self.spec.label, error=str(error))
        for event in self.mailbox.close():
            self._finalize(event)
        for cell in self.cells:
            cell.close()
        self.cells.clear()

    def _log_probes(self, cell: Cell) -> None:
        try:
            last_call, marker = cell.probe_last_call(), cell.probe_config_marker()
        except CallError as error:
            log.warning("probe failed", cell=self.spec.label, error=str(error))
            return
        if last_call is not None:
            log.info("probe last call", cell=self.spec.label, last_call=last_call)
        if marker is not None:
            log.info("probe config marker", cell=self.spec.label, marker=marker)
