"""``spawn.process``: programs of the host, run for a cell without a shell (spec/pulp.md 3.11)."""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, reply, request
from guesthouse.interfaces.pulp.extensions.launching import LaunchPolicy, NotAllowed, end, ended, start
from guesthouse.interfaces.pulp.extensions.tasks import Status, Task, TaskPool, setting
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

INVALID = 4
PROGRAM_DENIED = 5
DIRECTORY_DENIED = 6

#: Seconds a program may take unless the request says otherwise, and at most.
DEFAULT_TIMEOUT = 5 * 60.0
LONGEST_TIMEOUT = 60 * 60.0
#: The timeout of a helper that lives until it is cancelled; it takes no place among the others.
NO_TIMEOUT = 0xFFFFFFFF
#: Limits and their settings.
LIMITS: Mapping[str, int] = {
    "PROCESS_MAX_CONCURRENCY": 16,
    "PROCESS_MAX_QUEUED": 256,
    "PROCESS_MAX_PER_CELL": 4,
    "PROCESS_MAX_OUTPUT_BYTES": 32 << 20,
}
RESULT_KEPT = 600.0
#: Seconds that a stream may stay open once its program has ended.
GRACE = 2.0


@dataclass(slots=True)
class RunRequest(Message):
    """The request of ``process_run``; ``timeout_ms`` 0 takes the default."""

    argv: list[str] = go("strings")
    dir: str = go("str", omit_empty=True)
    env: dict[str, str] = go("map", omit_empty=True)
    timeout_ms: int = go("uint32", omit_empty=True)


@dataclass(slots=True)
class RunResult(Message):
    """How a program ended; ``error`` only when it could not be started or was ended early."""

    exit_code: int = go("int64")
    stdout: bytes = go("bytes")
    stderr: bytes = go("bytes")
    error: str = go("str", omit_empty=True)


class Process(Extension):
    """Runs allowed programs, asynchronously: submit, ask, cancel."""

    name = "spawn.process"
    summary = "Run programs of the host that the operator allows."

    def __init__(self) -> None:
        self._configure({})

    def _configure(self, settings: Mapping[str, str]) -> None:
        limits = {name: setting(settings, name, default) for name, default in LIMITS.items()}
        self._policy = LaunchPolicy(settings)
        self._most_output = limits["PROCESS_MAX_OUTPUT_BYTES"]
        self._pool = TaskPool(
            "process",
            concurrency=limits["PROCESS_MAX_CONCURRENCY"],
            tracked=limits["PROCESS_MAX_QUEUED"],
            per_cell=limits["PROCESS_MAX_PER_CELL"],
            keep=RESULT_KEPT,
        )

    def setup(self, environment: Environment) -> None:
        """Read the lists and limits."""
        self._configure(environment.settings)

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the four imports."""
        return (
            self.row("process_run", "ii", self.run, "Start a program; its task id, or a code."),
            self.row(
                "process_result", "iii", self.result, "How a task stands, and its result once.", denied=4
            ),
            self.row("process_cancel", "i", self.cancel, "End a task.", denied=1),
            self.row("process_pending", "", self.pending, "Count the cell's running tasks.", denied=0),
        )

    def run(self, call: CellCall, pointer: int, length: int) -> int:
        """Start {argv, dir, env, timeout_ms}; 4 no program, 5 and 6 not allowed, 15 to 17 too many."""
        wanted = request(call, pointer, length, RunRequest)
        if not wanted.argv or not wanted.argv[0].strip():
            raise Refused(INVALID, "argv is empty")
        try:
            program = self._policy.program(wanted.argv[0])
            directory = self._policy.directory(wanted.dir)
        except NotAllowed as error:
            code = PROGRAM_DENIED if error.what == "program" else DIRECTORY_DENIED
            raise Refused(code, str(error)) from None
        command = [program, *wanted.argv[1:]]
        return self._pool.submit(
            call.cell.id,
            lambda task: self._work(task, command, directory, wanted),
            counted=wanted.timeout_ms != NO_TIMEOUT,
        )

    def _work(
        self, task: Task, command: list[str], directory: str | None, wanted: RunRequest
    ) -> tuple[Status, bytes]:
        pipe = subprocess.PIPE
        try:
            process = start(
                command, directory, wanted.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except (OSError, ValueError) as error:
            return Status.ERROR, RunResult(exit_code=-1, error=str(error)).encode()
        task.stop = lambda: end(process)
        if task.cancelled.is_set():
            end(process)
        collectors = [
            _Collector(process.stdout, self._most_output),
            _Collector(process.stderr, self._most_output),
        ]
        wrong = self._wait(process, wanted.timeout_ms)
        if task.cancelled.is_set():
            wrong = "cancelled"
        for collector in collectors:
            collector.join(GRACE)
        out, err = (collector.data() for collector in collectors)
        code = process.returncode if process.returncode is not None else -1
        result = RunResult(code if code >= 0 or not wrong else -1, out, err, wrong)
        return (Status.ERROR if wrong else Status.DONE), result.encode()

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], timeout_ms: int) -> str:
        """Wait for the end, make sure of it, and say what was wrong with it."""
        timeout: float | None = min(timeout_ms / 1000, LONGEST_TIMEOUT) if timeout_ms else DEFAULT_TIMEOUT
        if timeout_ms == NO_TIMEOUT:
            timeout = None
        error = ""
        if not ended(process, timeout):
            end(process)
            error = f"ended after {timeout:g} s"
        end(process)  # whatever it left running
        process.wait()
        if process.returncode < 0 and not error:
            error = f"killed by signal {-process.returncode}"
        return error

    def result(self, call: CellCall, number: int, pointer_out: int, length_out: int) -> int:
        """Answer 0 pending, 1 done, 2 failed (with the result written), 4 unknown or read before."""
        status, data = self._pool.result(call.cell.id, number)
        if status in (Status.PENDING, Status.UNKNOWN):
            return status
        code = reply(call, data, pointer_out, length_out)
        return code or status

    def cancel(self, call: CellCall, number: int) -> int:
        """End a task: 0, or 1 when there is none."""
        return 0 if self._pool.cancel(call.cell.id, number) else 1

    def pending(self, call: CellCall) -> int:
        """Count the cell's tasks that run."""
        return self._pool.pending(call.cell.id)

    def counters(self, cell_id: str) -> Mapping[str, int]:
        """Return how many results a cell did not read in time."""
        return self._pool.drops.of(cell_id)

    def release(self, cell: Cell) -> None:
        """End what the cell has running."""
        self._pool.release(cell.id)

    def teardown(self) -> None:
        """End everything."""
        self._pool.release()


class _Collector(threading.Thread):
    """Reads a stream to its end and keeps the beginning, so that no program can fill the host's memory."""

    def __init__(self, stream: IO[bytes] | None, most: int) -> None:
        super().__init__(daemon=True)
        self._stream, self._most, self._data = stream, most, bytearray()
        self.start()

    def run(self) -> None:
        """Read until nobody can write any more."""
        assert self._stream is not None
        with contextlib.suppress(OSError, ValueError), self._stream:
            while piece := os.read(self._stream.fileno(), 65536):
                self._data += piece[: max(0, self._most - len(self._data))]

    def data(self) -> bytes:
        """Return what was kept."""
        return bytes(self._data)
