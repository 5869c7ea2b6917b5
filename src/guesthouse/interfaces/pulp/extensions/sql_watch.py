"""Stops SQLite statements whose cell is out of time, or that fill the disk with temporary files.

SQLite writes what it sorts to files that nobody sees.  How much a thread has written the kernel knows, so a
statement that writes many times what its cell may keep is stopped as well.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.errors import CallError

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

#: Seconds between two looks at the statements that run.
PAUSE = 0.02
#: Looks without any statement after which the watch sleeps until there is one.
_QUIET_LOOKS = 100


class Running:
    """A statement that runs on the thread that makes this.

    Args:
        call: whose it is.
        connection: what it runs on.
        most_written: asked, while it runs, how many bytes it may write.

    Attributes:
        failure: why it was stopped.
    """

    __slots__ = ("_before", "_call", "_connection", "_lock", "_most_written", "_over", "_thread", "failure")

    def __init__(
        self, call: CellCall, connection: sqlite3.Connection, most_written: Callable[[], int]
    ) -> None:
        self._call, self._connection, self._most_written = call, connection, most_written
        self._thread = threading.get_native_id()
        self._before: int | None = None
        self._lock = threading.Lock()
        self._over = False
        self.failure: BaseException | None = None

    def look(self) -> None:
        """Stop the statement if it must not go on."""
        with self._lock:
            if self._over or self.failure is not None:
                return
            try:
                self._call.check()
                self._check_written()
            except (CallError, sqlite3.Error) as error:
                self.failure = error
                self._connection.interrupt()

    def end(self) -> None:
        """Say that it runs no more: what the connection does from now on is another's."""
        with self._lock:
            self._over = True

    def _check_written(self) -> None:
        written = self._written()
        if self._before is None:
            self._before = written
        elif written - self._before > (most := self._most_written()):
            raise sqlite3.OperationalError(
                f"the statement wrote more than {most} bytes to disk, temporary files included"
            )

    def _written(self) -> int:
        try:
            counters = Path(f"/proc/self/task/{self._thread}/io").read_text()
        except OSError:  # a kernel without them
            return 0
        name, number = counters.splitlines()[1].split(": ")
        return int(number) if name == "wchar" else 0


class Watch:
    """Looks after all statements of a runtime from one thread, which ends when told to."""

    def __init__(self) -> None:
        self._running: set[Running] = set()
        self._wanted = threading.Event()
        self._stopping = False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(
        self, call: CellCall, connection: sqlite3.Connection, most_written: Callable[[], int]
    ) -> Running:
        """Watch what the connection runs on this thread until `end`; arguments as of `Running`."""
        running = Running(call, connection, most_written)
        self._running.add(running)
        if not self._wanted.is_set():
            self._wake()
        return running

    def end(self, running: Running) -> None:
        """Watch it no more."""
        running.end()
        self._running.discard(running)

    def close(self) -> None:
        """End the thread."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._stopping = True
            self._wanted.set()
        if thread is not None:
            thread.join(5)

    def _wake(self) -> None:
        with self._starting:
            self._wanted.set()
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._look, name="pulp-sql-watch", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        quiet = 0
        while not self._stopping:
            self._wanted.wait()
            time.sleep(PAUSE)
            for running in list(self._running):
                running.look()
            quiet = 0 if self._running else quiet + 1
            if quiet > _QUIET_LOOKS:
                self._wanted.clear()
                if self._running or self._stopping:  # who came before that saw no need to wake us
                    self._wanted.set()
                quiet = 0
