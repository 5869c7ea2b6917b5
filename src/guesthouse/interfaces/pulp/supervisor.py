"""Guarded use of a cell: budgets, states, reports of runaways, liveness (spec/pulp.md 5.5)."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from guesthouse.errors import CallError, Cancelled, DeadlineExceeded, Error
from guesthouse.interfaces.pulp.cell import Cell, Check
from guesthouse.interfaces.pulp.structs import Envelope
from guesthouse.observe import log


class Health(enum.StrEnum):
    """State of a supervised cell."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    RUNAWAY = "runaway"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Runaway(DeadlineExceeded):
    """The guest did not come back within its budget and was interrupted.

    Attributes:
        elapsed: seconds until it was stopped.
    """

    def __init__(self, *, limit: float, elapsed: float, guest: str, function: str) -> None:
        super().__init__(limit=limit, guest=guest, function=function)
        self.elapsed = elapsed
        self.message = f"runaway: still in {function} after its budget of {limit:g} s; it was interrupted"


@dataclass(frozen=True, slots=True)
class Report:
    """One runaway.

    Attributes:
        cell: the cell.
        budget: seconds it had.
        elapsed: seconds it took until it was stopped.
        error: the failure.
    """

    cell: str
    budget: float
    elapsed: float
    error: CallError


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Health of a cell at one moment.

    Attributes:
        state: see `Health`.
        healthy: whether the cell can be used.
        runaways: how often it ran away so far.
        latency: seconds that the probe took, where one was made.
    """

    state: Health
    healthy: bool
    runaways: int
    latency: float = 0.0


Reporter = Callable[[Report], object]
Outcome = TypeVar("Outcome")


class Supervisor:
    """Guards every entry into a cell with a budget.

    Args:
        cell: the cell.
        budget: seconds per entry; the cell's own timeout by default.
        reporter: told of a runaway, once each.
    """

    def __init__(self, cell: Cell, *, budget: float | None = None, reporter: Reporter | None = None) -> None:
        self.cell = cell
        self.budget = cell.spec.timeout if budget is None else budget
        self.state = Health.NEW
        self.runaways = 0
        self._reporter = reporter
        self._lock = threading.Lock()

    def start(self, config: Mapping[str, Any] | bytes | None = None) -> None:
        """Initialise the cell.

        Raises:
            CallError: as `Cell.init`; the state is ``failed`` then.
        """
        self._move(Health.STARTING)
        try:
            self.cell.init(config, timeout=self.budget)
        except Error:
            self._move(Health.FAILED)
            raise
        self._move(Health.READY)

    def step(
        self, envelope: Envelope | None = None, *, budget: float | None = None, check: Check | None = None
    ) -> int:
        """Step the cell; raises `Runaway` when it does not come back in time."""
        limit = self.budget if budget is None else budget
        return self._guard("pulp_step", limit, self.cell.step, envelope, timeout=limit, check=check)

    def idle_step(self, call_number: int, wall_time: int) -> int | None:
        """Step the cell without payload unless it is busy; see `Cell.idle_step`."""
        return self._guard("pulp_step", self.budget, self.cell.idle_step, call_number, wall_time)

    def call(
        self, name: str, args: bytes = b"", *, budget: float | None = None, check: Check | None = None
    ) -> bytes | None:
        """Call a provider function; raises `Runaway` when it does not come back in time."""
        limit = self.budget if budget is None else budget
        return self._guard("pulp_on_call", limit, self.cell.call, name, args, timeout=limit, check=check)

    def ended_by_call(self, error: CallError) -> None:
        """Be told that a sibling's call, which is not guarded here, has ended the guest."""
        if isinstance(error, DeadlineExceeded):
            limit = error.limit or self.budget
            self._ran_away("pulp_on_call", limit, limit)

    def revived(self) -> None:
        """The cell has got a fresh instance: it is ready again."""
        self._move(Health.READY)

    def stop(self) -> None:
        """Shut the cell down and close it; what it answers to the shutdown is logged."""
        self._move(Health.STOPPING)
        try:
            self.cell.shutdown(timeout=self.budget)
        except CallError as error:
            log.error("shutdown failed", cell=self.cell.label, error=str(error))
        self.cell.close()
        self._move(Health.STOPPED)

    def snapshot(self, latency: float = 0.0) -> Snapshot:
        """Return the state now."""
        return Snapshot(self.state, self.state is Health.READY and self.cell.usable, self.runaways, latency)

    def monitor(self, interval: float) -> Iterator[Snapshot]:
        """Probe the cell with an idle step every ``interval`` seconds, until it is not ready any more."""
        while self.state is Health.READY:
            started = time.monotonic()
            try:
                self.idle_step(0, time.time_ns())
            except CallError:
                yield self.snapshot(time.monotonic() - started)
                return
            yield self.snapshot(time.monotonic() - started)
            time.sleep(interval)

    def _guard(
        self, function: str, limit: float, enter: Callable[..., Outcome], *args: Any, **options: Any
    ) -> Outcome:
        started = time.monotonic()
        try:
            return enter(*args, **options)
        except Cancelled:
            raise  # the caller went away: no fault of the cell
        except DeadlineExceeded as error:
            if self.cell.usable:
                raise  # it never got its turn
            raise self._ran_away(function, limit, time.monotonic() - started) from error

    def _ran_away(self, function: str, limit: float, elapsed: float) -> Runaway:
        error = Runaway(limit=limit, elapsed=elapsed, guest=self.cell.label, function=function)
        with self._lock:
            first = self.state is not Health.RUNAWAY
            if self.state is Health.READY:
                self.state = Health.RUNAWAY
            self.runaways += first
        if first:
            log.error("cell runaway", cell=self.cell.label, function=function, budget=limit, elapsed=elapsed)
            if self._reporter is not None:
                self._reporter(Report(self.cell.name, limit, elapsed, error))
        return error

    def _move(self, state: Health) -> None:
        with self._lock:
            self.state = state
