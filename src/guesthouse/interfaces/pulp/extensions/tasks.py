"""Work that a cell submits and asks for later: the ledger behind workers and processes (spec/pulp.md 3.11).

Ids start at 100, so that they never look like a code.  A result is read once, by the cell that submitted
the task, and forgotten after a while.
"""

from __future__ import annotations

import enum
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from guesthouse.interfaces.pulp.extension import Drops
from guesthouse.observe import log

FIRST_ID = 100

QUEUE_FULL = 15
CELL_FULL = 16
SATURATED = 17


def setting(settings: Mapping[str, str], name: str, default: int) -> int:
    """Return a positive number out of the settings, or the default."""
    text = settings.get(name, "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else default


class Status(enum.IntEnum):
    """How a task stands, as the guest is told."""

    PENDING = 0
    DONE = 1
    ERROR = 2
    PANIC = 3
    UNKNOWN = 4


@dataclass(slots=True, eq=False)
class Task:
    """One task, as the work itself sees it.

    Attributes:
        id: what the cell asks for it by.
        cell: routing id of the cell that submitted it.
        cancelled: set when nobody wants the result any more.
        stop: what ends the work early, set by the work itself.
    """

    id: int
    cell: str
    counted: bool
    cancelled: threading.Event = field(default_factory=threading.Event)
    stop: Callable[[], object] | None = None
    status: Status = Status.PENDING
    data: bytes = b""
    finished: float = 0.0

    def cancel(self) -> None:
        """Ask the work to end."""
        self.cancelled.set()
        if self.stop is not None:
            self.stop()


#: Results of one cell that wait to be read, and their bytes; beyond that the oldest are forgotten.
UNREAD, UNREAD_BYTES = 256, 96 << 20
#: Unfinished tasks of one cell that take no place.
HELPERS = 16

#: Does the work; what it returns is the status and what the cell reads.
Work = Callable[[Task], tuple[Status, bytes]]


class TaskPool:
    """Runs tasks on threads, within limits.

    Args:
        name: for threads and the log.
        concurrency: tasks that run at once; one more is refused, never queued.
        tracked: tasks of all kinds that may be unfinished at once.
        per_cell: unfinished tasks of one cell.
        keep: seconds that a result waits to be read.
    """

    def __init__(self, name: str, *, concurrency: int, tracked: int, per_cell: int, keep: float) -> None:
        self._name, self._keep = name, keep
        self._concurrency, self._tracked, self._per_cell = concurrency, tracked, per_cell
        self._lock = threading.Lock()
        self._tasks: dict[int, Task] = {}
        self._threads: dict[int, threading.Thread] = {}
        self.drops = Drops()
        self._ids = itertools.count(FIRST_ID)

    def submit(self, cell: str, work: Work, *, counted: bool = True, keep: bool = True) -> int:
        """Start a task.

        Args:
            cell: routing id of the cell.
            work: runs on a thread of its own.
            counted: whether it takes one of the places; long-lived helpers do not.
            keep: whether somebody will ask for the result.

        Returns:
            The id of the task, or 15 (too many unfinished), 16 (too many of this cell) or 17 (no place).
        """
        with self._lock:
            self._forget()
            unfinished = [task for task in self._tasks.values() if task.status is Status.PENDING]
            if len(unfinished) >= self._tracked:
                return QUEUE_FULL
            alike = sum(task.counted == counted and task.cell == cell for task in unfinished)
            if alike >= (self._per_cell if counted else HELPERS):
                return CELL_FULL
            if counted and sum(task.counted for task in unfinished) >= self._concurrency:
                return SATURATED
            task = Task(next(self._ids), cell, counted)
            thread = threading.Thread(
                target=self._run, args=(task, work, keep), name=f"{self._name}-{task.id}", daemon=True
            )
            self._tasks[task.id], self._threads[task.id] = task, thread
        thread.start()
        return task.id

    def _run(self, task: Task, work: Work, keep: bool) -> None:
        try:
            status, data = work(task)
        except Exception as error:  # noqa: BLE001 - a task that fails fails alone
            log.exception("task failed", pool=self._name, cell=task.cell, task=task.id)
            status, data = Status.PANIC, f"panic: {error}".encode()
        with self._lock:
            task.status, task.data, task.finished = status, data, time.monotonic()
            self._threads.pop(task.id, None)
            if keep:
                self._bound_unread(task.cell)
            else:
                self._tasks.pop(task.id, None)

    def _bound_unread(self, cell: str) -> None:
        """Forget the oldest results of a cell that does not read them; the newest is always kept."""
        unread = sorted(
            (task for task in self._tasks.values() if task.cell == cell and task.finished),
            key=lambda task: task.finished,
        )
        total = sum(len(task.data) for task in unread)
        while len(unread) > 1 and (len(unread) > UNREAD or total > UNREAD_BYTES):
            oldest = unread.pop(0)
            total -= len(oldest.data)
            del self._tasks[oldest.id]
            self.drops.add(cell, "results")
            log.warning("unread result forgotten", pool=self._name, cell=cell, task=oldest.id)

    def _forget(self) -> None:
        """Drop results that nobody has asked for in time."""
        oldest = time.monotonic() - self._keep
        for task in [t for t in self._tasks.values() if t.finished and t.finished < oldest]:
            del self._tasks[task.id]

    def result(self, cell: str, number: int) -> tuple[Status, bytes]:
        """Return how a task stands; once finished, it is forgotten with this.

        A task of another cell is as unknown as one that never was.
        """
        with self._lock:
            task = self._tasks.get(number)
            if task is None or task.cell != cell:
                return Status.UNKNOWN, b""
            if task.status is not Status.PENDING:
                del self._tasks[number]
            return task.status, task.data

    def cancel(self, cell: str, number: int) -> bool:
        """Ask an unfinished task of the cell to end; false when there is none."""
        with self._lock:
            task = self._tasks.get(number)
        if task is None or task.cell != cell or task.status is not Status.PENDING:
            return False
        task.cancel()
        return True

    def pending(self, cell: str) -> int:
        """Return how many places the cell's unfinished tasks take."""
        with self._lock:
            tasks = list(self._tasks.values())
        return sum(task.counted and task.cell == cell and task.status is Status.PENDING for task in tasks)

    def release(self, cell: str | None = None, *, wait: float = 5.0) -> None:
        """End and forget everything of a cell, or of all cells, waiting at most so many seconds."""
        with self._lock:
            tasks = [task for task in self._tasks.values() if cell is None or task.cell == cell]
            threads = [self._threads[task.id] for task in tasks if task.id in self._threads]
            for task in tasks:
                if task.status is not Status.PENDING:
                    del self._tasks[task.id]
        for task in tasks:
            task.cancel()
        deadline = time.monotonic() + wait
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            for task in tasks:
                self._tasks.pop(task.id, None)
