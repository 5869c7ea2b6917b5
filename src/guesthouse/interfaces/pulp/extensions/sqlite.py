"""``storage.sqlite``: an SQLite database for each cell (spec/pulp.md 3.8)."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from guesthouse.errors import CallError
from guesthouse.interfaces.pulp.extensions.sql import (
    BUSY,
    CONSTRAINT,
    READ_ONLY,
    RESULT_LIMIT,
    SQL_FAILED,
    SQLFailed,
    SQLStorage,
)
from guesthouse.interfaces.pulp.extensions.sql_times import converting

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

#: Primary result codes of SQLite that have a code of their own.
_CODES = {5: BUSY, 6: BUSY, 19: CONSTRAINT, 8: READ_ONLY}

#: Bytes that a database may grow to, unless ``PULP_SQLITE_MAX_BYTES`` says more.
DATABASE_LIMIT = 4 << 30
#: Virtual-machine steps between two looks whether the cell was interrupted.
_PROGRESS_STEPS = 10_000

#: Pragmas that a cell may give an argument to; asking for a value is always allowed.
_PRAGMAS = frozenset(
    (
        "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
        "foreign_key_list", "foreign_key_check", "foreign_keys", "defer_foreign_keys", "user_version",
        "application_id", "recursive_triggers", "case_sensitive_like", "integrity_check", "quick_check",
        "optimize", "wal_checkpoint", "busy_timeout", "synchronous", "cache_size", "auto_vacuum",
        "incremental_vacuum", "secure_delete", "count_changes", "encoding",
    )
)  # fmt: skip
_SETUP = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA wal_autocheckpoint = 1",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA trusted_schema = OFF",
)


class Database:
    """One cell's connection; calls take turns in it."""

    def __init__(self, path: Path, limit: int) -> None:
        self._lock = threading.Lock()
        self._call: CellCall | None = None
        self._failure: BaseException | None = None
        self.last_insert_id = 0
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, detect_types=sqlite3.PARSE_DECLTYPES
        )
        try:
            for statement in (*_SETUP, f"PRAGMA max_page_count = {max(1, limit // 4096)}"):
                self._connection.execute(statement)
        except BaseException:
            self._connection.close()
            raise
        self._connection.set_authorizer(_authorize)
        self._connection.set_progress_handler(self._interrupted, _PROGRESS_STEPS)

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
            self._call, self._failure = call, None
            try:
                yield
            except sqlite3.Error as error:
                if self._failure is not None:
                    raise self._failure from None
                primary = getattr(error, "sqlite_errorcode", 1) & 0xFF
                raise SQLFailed(_CODES.get(primary, SQL_FAILED), str(error)) from None
            finally:
                self._call = None

    def _interrupted(self) -> int:
        """Stop a statement when its cell is out of time."""
        if self._call is None:
            return 0
        try:
            self._call.check()
        except CallError as error:
            self._failure = error
            return 1
        return 0


class SQLite(SQLStorage):
    """SQLite for cells, each with a database of its own."""

    summary: ClassVar[str] = "An SQLite database of the cell's own."

    def open(self, cell: Cell) -> Database:
        """Open the file of a cell."""
        limit = int(self._environment.settings.get("PULP_SQLITE_MAX_BYTES") or DATABASE_LIMIT)
        return Database(self._environment.directory_of(cell) / "data.db", limit)


def statements(sql: str) -> Iterator[str]:
    """Split SQL into its statements."""
    start = 0
    for match in re.finditer(";", sql):
        if sqlite3.complete_statement(sql[start : match.end()]):
            yield sql[start : match.end()]
            start = match.end()
    if sql[start:].strip():
        yield sql[start:]


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Keep a cell inside of its own file: no attaching, no settings that reach beyond it."""
    if action == sqlite3.SQLITE_ATTACH and first != "":  # plain VACUUM attaches a file without name
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and second is not None and (first or "").lower() not in _PRAGMAS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
