"""``storage.sqlite`` on a Postgres server (spec/pulp.md 3.8): the same imports, the server's SQL dialect.

Settings: ``DATABASE_URL``; ``STORAGE_POSTGRES_ISOLATE=true`` gives each cell a schema of its own, otherwise
all cells share ``STORAGE_POSTGRES_SHARED_SCHEMA`` (``public``).  Statements use ``$1`` for parameters;
``last_insert_id`` is always 0, since Postgres has none: use ``RETURNING``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.extensions.sql import (
    BUSY,
    CONSTRAINT,
    READ_ONLY,
    RESULT_LIMIT,
    SQL_FAILED,
    UNREACHABLE,
    SQLFailed,
    SQLStorage,
)

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

URL = "DATABASE_URL"
ISOLATE = "STORAGE_POSTGRES_ISOLATE"
SHARED_SCHEMA = "STORAGE_POSTGRES_SHARED_SCHEMA"

#: SQLSTATE, or its class, to the code that the guest is answered.
_CODES = {
    "23": CONSTRAINT, "25006": READ_ONLY, "40001": BUSY, "40P01": BUSY, "55P03": BUSY,
    "08": UNREACHABLE, "57P01": UNREACHABLE, "57P02": UNREACHABLE, "57P03": UNREACHABLE,
}  # fmt: skip
#: What the server says when a statement ran into the time that its cell had left.
_CANCELLED = "57014"
#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 5


class PostgresDatabase:
    """One cell's connection; made again when the server was away.

    Args:
        url: the server and database.
        schema: where unqualified names live.

    Raises:
        LoadError: the library is missing, or the server cannot be reached.
    """

    def __init__(self, url: str, schema: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise LoadError("psycopg is not installed: pip install 'guesthouse[pulp-postgres]'") from None
        self._library = psycopg
        self._url, self._schema = url, schema
        self._lock = threading.Lock()
        self._connection: Any = None
        try:
            self._connect()
        except psycopg.Error as error:
            raise LoadError(f"storage.sqlite: {URL}: {error}") from error

    def _connect(self) -> Any:
        """Return the connection, made if there is none or the last one broke."""
        if self._connection is None or self._connection.closed:
            psycopg = self._library
            connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, cursor_factory=psycopg.RawCursor
            )
            try:
                name = psycopg.sql.Identifier(self._schema)
                if self._schema != "public":
                    connection.execute(psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
                connection.execute(psycopg.sql.SQL("SET search_path TO {}").format(name))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def execute(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run statements that change something; returns the reply."""
        with self._entered(call) as connection:
            cursor = connection.execute(sql, params or None)
            return {"rows_affected": max(cursor.rowcount, 0), "last_insert_id": 0}

    def query(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run a query; returns the reply."""
        with self._entered(call) as connection:
            cursor = connection.execute(sql, params or None)
            columns = [column.name for column in cursor.description or ()]
            rows: list[list[Any]] = []
            size = 0
            for row in cursor if cursor.description else ():
                rows.append([told(value) for value in row])
                size += sum(len(value) if isinstance(value, str | bytes) else 9 for value in rows[-1])
                if size > RESULT_LIMIT:
                    raise SQLFailed(SQL_FAILED, f"the result is larger than {RESULT_LIMIT} bytes")
            return {"columns": columns, "rows": rows or None}

    @contextmanager
    def _entered(self, call: CellCall) -> Iterator[Any]:
        """Hold the connection for one call, for as long as its cell has time left."""
        with self._lock:
            try:
                connection = self._connect()
                failed = self._library.pq.TransactionStatus.INERROR
                if connection.info.transaction_status is not failed:  # then only ROLLBACK is listened to
                    left = call.remaining()
                    milliseconds = 0 if left is None else max(1, int(left * 1000))
                    connection.execute(f"SET statement_timeout = {milliseconds}")
                yield connection
            except self._library.Error as error:
                state = error.sqlstate or ""
                if state == _CANCELLED:  # the server counts in whole milliseconds, a little less than we
                    time.sleep(min(call.remaining() or 0, 0.05))
                    call.check()
                if isinstance(error, self._library.OperationalError) and not state:
                    raise SQLFailed(UNREACHABLE, str(error)) from None
                raise SQLFailed(
                    _CODES.get(state) or _CODES.get(state[:2]) or SQL_FAILED, str(error)
                ) from None


class Postgres(SQLStorage):
    """Postgres for cells."""

    summary: ClassVar[str] = "A Postgres database behind the imports of storage.sqlite."
    provider: ClassVar[str] = "guesthouse-postgres"

    def __init__(self) -> None:
        super().__init__()
        self._schemas: dict[str, str] = {}

    def open(self, cell: Cell) -> PostgresDatabase:
        """Connect a cell."""
        settings = self._environment.settings
        if not settings.get(URL):
            raise LoadError(f"storage.sqlite on Postgres needs {URL}", guest=cell.name)
        if settings.get(ISOLATE, "").lower() in ("1", "true", "yes"):
            schema = self._own_schema(cell)
        else:
            schema = settings.get(SHARED_SCHEMA) or "public"
        return PostgresDatabase(settings[URL], schema)

    def _own_schema(self, cell: Cell) -> str:
        """Return the schema that only this cell uses; a bare name gives the one that Pulp would use.

        Raises:
            LoadError: another cell of the runtime has a name that gives the same schema.
        """
        plain = "cell_" + re.sub(r"[^a-z0-9_]", "_", cell.name.lower())
        if cell.id != cell.name:  # of an application: the name alone is not unique
            plain = f"{plain[:46]}_{hashlib.sha256(cell.id.encode()).hexdigest()[:16]}"
        owner = self._schemas.setdefault(plain, cell.id)
        if owner != cell.id:
            raise LoadError(
                f"the cells {owner!r} and {cell.id!r} would share the schema {plain!r}; rename one",
                guest=cell.name,
            )
        return plain


def told(value: Any) -> Any:
    """Return a value of the server as cells get it: numbers, text, bytes and times; the rest as text."""
    if value is None or isinstance(value, bool | int | float | str | bytes | dt.datetime | dt.date):
        return value
    return bytes(value) if isinstance(value, memoryview | bytearray) else str(value)
