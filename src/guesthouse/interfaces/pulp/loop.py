"""The step loop of one cell: events in, idle ticks between them (spec/pulp.md 5.3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guesthouse.errors import CallError, Error
from guesthouse.interfaces.pulp.errors import MessageTooLarge, known
from guesthouse.interfaces.pulp.extension import Event
from guesthouse.interfaces.pulp.mailbox import Mailbox, Seat
from guesthouse.interfaces.pulp.structs import Envelope, step_event
from guesthouse.interfaces.pulp.supervisor import Reporter, Supervisor
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.cell import Cell

SHORTEST_PAUSE = 200e-6
LONGEST_PAUSE = 1.0
IDLE_GRACE = 1.0
"""Seconds of idleness after which pauses between idle ticks double; at once beside other instances."""
HEARTBEAT = 10_000


class StepLoop:
    """Steps a cell on a thread of its own until its mailbox is closed.

    Args:
        cell: the cell.
        mailbox: its events.
        finalize: called for every event once it was handled or given up.
        crashed: called with the error when the guest has ended; true when the cell lives again.
        reporter: told of every runaway, once each.
    """

    def __init__(
        self,
        cell: Cell,
        mailbox: Mailbox,
        finalize: Callable[[Event], None],
        crashed: Callable[[Error], bool],
        reporter: Reporter | None = None,
    ) -> None:
        self.cell = cell
        self.supervisor = Supervisor(cell, reporter=reporter)
        self.supervisor.revived()  # its owner has initialised the cell
        self.mailbox = mailbox
        self.call_number = 0
        self.steps = 0
        self._finalize = finalize
        self._crashed = crashed
        self._grace = IDLE_GRACE if cell.spec.instances == 1 else 0.0
        self._stopping = False
        self._last_error, self._repeated = "", 0
        cell.on_end = self._ended
        self._thread = threading.Thread(target=self._run, name=f"pulp-{cell.name}", daemon=True)

    def start(self) -> None:
        """Begin to step."""
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether this thread is the loop's own."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Ask the loop to end and leave the events that wait to others."""
        self._stopping = True
        self.mailbox.wake()

    @property
    def _leaving(self) -> bool:
        return self._stopping or self.mailbox.closed

    def _elsewhere(self) -> bool:
        """Whether there is something to do that no event tells."""
        return self._stopping or not self.cell.usable

    def _ended(self, function: str, error: CallError) -> None:
        """A sibling's call has ended the guest: see to it now, not at the next idle tick."""
        if function == "pulp_on_call":
            self.supervisor.ended_by_call(error)
            self.mailbox.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the loop to end after its mailbox was closed; false when it still runs."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seat = Seat(self.mailbox)
        try:
            self._step_on(seat)
        finally:
            seat.leave()

    def _step_on(self, seat: Seat) -> None:
        """Step with events as they come and without in between, until the cell leaves."""
        pause = SHORTEST_PAUSE
        idle_since = time.monotonic()
        while not self._leaving:
            event = seat.get(pause, self._elsewhere)
            if event is not None:
                if not self._handle(event):
                    return
                idle_since, pause = time.monotonic(), SHORTEST_PAUSE
                continue
            if not self._tick():
                return
            if self._repeated or time.monotonic() - idle_since > self._grace:
                pause = min(pause * 2, LONGEST_PAUSE)

    def _handle(self, event: Event) -> bool:
        """Step with one event; false when the cell is gone for good."""
        envelope = Envelope(self._next(), time.time_ns(), step_event(event.kind, event.payload))
        try:
            self.supervisor.step(envelope)
        except Exception as error:  # noqa: BLE001 - host functions of strangers raise what they like
            return self._failed(known(error, self.cell.label, "pulp_step"))
        finally:
            self.steps += 1
            self._finalize(event)
        return True

    def _tick(self) -> bool:
        """Step without payload, unless the cell is busy: idle ticks never queue."""
        if self._leaving:
            return False
        try:
            code = self.supervisor.idle_step(self.call_number, time.time_ns())
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(known(error, self.cell.label, "pulp_step"))
        if code is not None:
            self._next()
            self.steps += 1
            self._repeated = 0
        return True

    def _complain(self, error: str) -> None:
        """Log a failed step; one that fails as the one before is only logged now and then."""
        self._repeated = self._repeated + 1 if error == self._last_error else 0
        self._last_error = error
        if self._repeated in (0, 10, 100) or self._repeated % 1000 == 0:
            log.warning("step failed", cell=self.cell.label, error=error, repeated=self._repeated)

    def _next(self) -> int:
        number = self.call_number
        self.call_number += 1
        if number % HEARTBEAT == 0:
            log.info("step heartbeat", cell=self.cell.label, call_number=number)
        return number

    def _failed(self, error: Error) -> bool:
        """Log a failed step; a guest that can still be entered goes on."""
        if self.cell.usable or isinstance(error, MessageTooLarge):
            self._complain(str(error))
            return True
        if self._leaving:
            return False
        log.error("cell crashed", cell=self.cell.label, error=str(error))
        if not self._crashed(error):
            return False
        self.supervisor.revived()
        self.call_number = 0
        return True
