"""``storage.sqlite``: an SQLite database for each cell (spec/pulp.md 3.8)."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from guesthouse.errors import CallError
from guesthouse.interfaces.pulp.disk import DATABASE
from guesthouse.interfaces.pulp.extensions.sql import (
    BUSY,
    CONSTRAINT,
    READ_ONLY,
    RESULT_LIMIT,
    SQL_FAILED,
    SQLFailed,
    SQLStorage,
)
from guesthouse.interfaces.pulp.extensions.sql_rules import authorize, restrict
from guesthouse.interfaces.pulp.extensions.sql_times import converting
from guesthouse.interfaces.pulp.extensions.sql_watch import Watch

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

#: Primary result codes of SQLite that have a code of their own.
_CODES = {5: BUSY, 6: BUSY, 19: CONSTRAINT, 8: READ_ONLY}

#: Bytes that temporary tables may take, and that a statement may write beside four times what is in the
#: database: sorting takes temporary files.
WRITTEN = 256 << 20

_SETUP = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA wal_autocheckpoint = 1",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 1048576",
)


class Database:
    """One cell's connection; calls take turns in it.

    Args:
        path: the file.
        room: how many bytes it may have now.
        watch: stops statements that must not go on.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path, room: Callable[[], int], watch: Watch) -> None:
        self._path, self._room, self._watch = path, room, watch
        self._lock = threading.Lock()
        self._most_pages = 0
        self.last_insert_id = 0
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, detect_types=sqlite3.PARSE_DECLTYPES
        )
        try:
            for statement in _SETUP:
                self._connection.execute(statement)
            (self._page,) = self._connection.execute("PRAGMA page_size").fetchone()
            self._bound()
            restrict(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def execute(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run statements that change something; returns the reply."""
        affected = 0
        with self._entered(call):
            for statement in statements(sql):
                cursor = self._connection.execute(statement, params)
                affected = max(cursor.rowcount, 0)
                self.last_insert_id = cursor.lastrowid or self.last_insert_id
        return {"rows_affected": affected, "last_insert_id": self.last_insert_id}

    def query(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run a query; returns the reply."""
        columns: list[str] = []
        rows: list[list[Any]] = []
        size = 0
        with self._entered(call), converting():
            for statement in statements(sql):
                cursor = self._connection.execute(statement, params)
                columns = [column[0] for column in cursor.description or ()]
                rows = []
                for row in cursor:
                    size += sum(len(value) if isinstance(value, str | bytes) else 9 for value in row)
                    if size > RESULT_LIMIT:
                        raise sqlite3.DataError(f"the result is larger than {RESULT_LIMIT} bytes")
                    rows.append(list(row))
        return {"columns": columns, "rows": rows or None}

    @contextmanager
    def _entered(self, call: CellCall) -> Iterator[None]:
        with self._lock:
            self._bound()
            running = self._watch.begin(call, self._connection, self._most_written)
            try:
                yield
            except sqlite3.Error as error:
                if isinstance(running.failure, CallError):
                    raise running.failure from None
                reason = running.failure or error
                primary = getattr(reason, "sqlite_errorcode", 1) & 0xFF
                raise SQLFailed(_CODES.get(primary, SQL_FAILED), str(reason)) from None
            finally:
                self._watch.end(running)

    def _most_written(self) -> int:
        return 4 * self._path.stat().st_size + WRITTEN

    def _bound(self) -> None:
        """Let the file grow as far as the files beside it leave room."""
        pages = max(1, self._room() // self._page)
        if pages != self._most_pages:
            self._most_pages = pages
            self._connection.set_authorizer(None)
            try:
                self._connection.execute(f"PRAGMA main.max_page_count = {pages}")
                self._connection.execute(f"PRAGMA temp.max_page_count = {max(1, WRITTEN // self._page)}")
            finally:
                self._connection.set_authorizer(authorize)


class SQLite(SQLStorage):
    """SQLite for cells, each with a database of its own."""

    summary: ClassVar[str] = "An SQLite database of the cell's own."

    def __init__(self) -> None:
        super().__init__()
        self._watch = Watch()

    def open(self, cell: Cell) -> Database:
        """Open the file of a cell."""
        folder, quota = self._environment.directory_of(cell), self._environment.quota_of(cell)
        disk = self._environment.disks.at(folder)
        return Database(folder / DATABASE, lambda: disk.room_for_database(quota), self._watch)

    def teardown(self) -> None:
        """End the watch."""
        self._watch.close()


def statements(sql: str) -> Iterator[str]:
    """Split SQL into its statements."""
    start = 0
    for match in re.finditer(";", sql):
        if sqlite3.complete_statement(sql[start : match.end()]):
            yield sql[start : match.end()]
            start = match.end()
    if sql[start:].strip():
        yield sql[start:]
