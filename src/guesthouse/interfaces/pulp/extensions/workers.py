"""``workers``: fetches that run beside the cell (spec/pulp.md 3.11).

A cell that fetches by ``http_fetch`` waits; one that submits a task goes on, and asks for the result in a
later step.
"""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, reply, request
from guesthouse.interfaces.pulp.extensions.tasks import Status, Task, TaskPool
from guesthouse.interfaces.pulp.http.outbound import DEFAULT_SECONDS, HTTPOutbound
from guesthouse.interfaces.pulp.http.server import LoopThread
from guesthouse.interfaces.pulp.structs import HTTPFetchRequest, Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

FETCH = "http.fetch"
CONCURRENCY = 64
TRACKED = 1024
PER_CELL = 32
KEPT_SECONDS = 300.0
LONGEST_SECONDS = 600.0


@dataclass(slots=True)
class TaskRequest(Message):
    """What a worker shall do; ``http.fetch`` is the one type there is."""

    type: str = go("str")
    method: str = go("str")
    url: str = go("str")
    headers: dict[str, str] = go("map")
    body: bytes = go("bytes")
    timeout_ms: int = go("int64")


class Workers(Extension):
    """Tasks of cells that run beside them, under the egress guard.

    Args:
        threads: the event loop that requests run on.
    """

    name: ClassVar[str] = "workers"
    summary: ClassVar[str] = "Runs fetches beside the cell; results are asked for later."

    def __init__(self, threads: LoopThread) -> None:
        self._threads = threads
        self._fetch = HTTPOutbound(threads)
        self._pool = TaskPool(
            "workers", concurrency=CONCURRENCY, tracked=TRACKED, per_cell=PER_CELL, keep=KEPT_SECONDS
        )

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports; an undeclared ``workers_result`` answers 4, cancel 1, pending 0."""
        row = self.row
        return (
            row("workers_submit", "ii", self.submit, "Start a task; its id, or a code."),
            row("workers_submit_fire", "ii", self.fire, "Start a task whose result nobody wants."),
            row("workers_result", "iii", self.result, "How a task stands, and its result once.", denied=4),
            row("workers_cancel", "i", self.cancel, "End a task.", denied=1),
            row("workers_pending", "", self.pending, "Count the cell's unfinished tasks.", denied=0),
        )

    def setup(self, environment: Environment) -> None:
        """Read the exemptions of the egress guard, those of ``transport.http.outbound``."""
        self._fetch.setup(environment)

    def counters(self, cell_id: str) -> Mapping[str, int]:
        """Return how many results a cell did not read in time."""
        return self._pool.drops.of(cell_id)

    def release(self, cell: Cell) -> None:
        """End what a cell has running."""
        self._pool.release(cell.id)
        self._fetch.release(cell)

    def teardown(self) -> None:
        """End everything."""
        self._pool.release()
        self._fetch.teardown()

    # -- imports

    def submit(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``workers_submit``: an id from 100, 4 no such type, 15 to 17 too many."""
        return self._started(call, request(call, pointer, length, TaskRequest), keep=True)

    def fire(self, call: CellCall, pointer: int, length: int) -> int:
        """Serve ``workers_submit_fire``: 0, or a code as ``workers_submit`` has."""
        code = self._started(call, request(call, pointer, length, TaskRequest), keep=False)
        return memory.OK if code >= 100 else code

    def result(self, call: CellCall, number: int, pointer_out: int, length_out: int) -> int:
        """Serve ``workers_result``: 0 pending, 1 done, 2 failed, 3 panic, 4 unknown or read before."""
        status, data = self._pool.result(call.cell.id, number)
        if status in (Status.PENDING, Status.UNKNOWN):
            return status
        return reply(call, data, pointer_out, length_out) or status

    def cancel(self, call: CellCall, number: int) -> int:
        """Serve ``workers_cancel``: 0, or 1 when no such task runs."""
        return 0 if self._pool.cancel(call.cell.id, number) else 1

    def pending(self, call: CellCall) -> int:
        """Serve ``workers_pending``."""
        return self._pool.pending(call.cell.id)

    # -- work

    def _started(self, call: CellCall, wanted: TaskRequest, *, keep: bool) -> int:
        if wanted.type != FETCH:
            raise Refused(memory.FAILED, f"no task is of type {wanted.type!r}")
        return self._pool.submit(call.cell.id, lambda task: self._work(task, wanted), keep=keep)

    def _work(self, task: Task, wanted: TaskRequest) -> tuple[Status, bytes]:
        """Fetch; the result is an HTTPResponse, or a map with ``error``."""
        seconds = wanted.timeout_ms / 1000 if wanted.timeout_ms > 0 else DEFAULT_SECONDS
        fetch = HTTPFetchRequest(wanted.method, wanted.url, wanted.headers, wanted.body)
        future = self._threads.start(self._fetch.fetched(task.cell, fetch, min(seconds, LONGEST_SECONDS)))
        task.stop = future.cancel
        if task.cancelled.is_set():
            future.cancel()
        try:
            return Status.DONE, future.result().encode()
        except Refused as refusal:
            return Status.ERROR, codec.encode({"error": refusal.reason})
        except CancelledError:
            return Status.ERROR, codec.encode({"error": "cancelled"})
