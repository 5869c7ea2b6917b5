"""The global tier in one SQLite file in WAL mode: survives ``kill -9`` of the process.

A push is one transaction, so that a crash leaves all of it or nothing.  Values are stored in chunks
of 64 KiB, so that a small dirty run rewrites one chunk and not the value.  Several processes may
share the file; SQLite's own locking keeps them apart.
"""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator

from guesthouse.resources.state.errors import BackendLost, QuotaExceeded, SizeMismatch
from guesthouse.resources.state.tiers import ELEMENT_COST, VALUE_COST, first_version

CHUNK = 65536

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state_values (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key BLOB NOT NULL,
    size INTEGER NOT NULL, version INTEGER NOT NULL, UNIQUE (tenant, key));
CREATE TABLE IF NOT EXISTS state_chunks (
    value INTEGER NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (value, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_elements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, key BLOB NOT NULL, bytes BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS state_elements_by_key ON state_elements (tenant, key, number);
CREATE TABLE IF NOT EXISTS state_usage (
    tenant TEXT PRIMARY KEY, list_bytes INTEGER NOT NULL, value_bytes INTEGER NOT NULL) WITHOUT ROWID;
"""


class SqliteTier:
    """Values and lists in a database file; see :class:`GlobalTier`.

    Args:
        path: the database file; created with its directory where missing.
        power_safe: wait for the disk at every push, so that it survives a power failure, too.
        patience: seconds to wait for another process's transaction before :class:`BackendLost`.

    Raises:
        BackendLost: the file cannot be opened, or is no database.
    """

    def __init__(self, path: str | pathlib.Path, *, power_safe: bool = False, patience: float = 10) -> None:
        self._path = pathlib.Path(path)
        self._synchronous = "FULL" if power_safe else "NORMAL"
        self._patience = patience
        self._idle: list[sqlite3.Connection] = []  # as many as there were users at a time
        self._lock = threading.Lock()  # one writer of this process at a time: waits without polling
        self._closed = False
        with self._failures():
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.executescript(_SCHEMA)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; SQLite's own failures become :class:`BackendLost`."""
        if self._closed:
            raise BackendLost(f"{self._path} is closed")
        with self._failures():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        self._idle.append(connection)
        if self._is_closed():  # by another thread, meanwhile
            self.close()

    def _is_closed(self) -> bool:
        return self._closed

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as problem:
            raise BackendLost(f"{self._path}: {problem}") from problem

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def size(self, tenant: str, key: bytes) -> int | None:
        """See :meth:`GlobalTier.size`."""
        with self._connection() as connection:
            row = _value(connection, tenant, key)
            return None if row is None else row[1]

    def read(self, tenant: str, key: bytes, size: int, offset: int, into: memoryview) -> int | None:
        """See :meth:`GlobalTier.read`."""
        with self._connection() as connection:
            connection.execute("BEGIN")  # one snapshot for the row and its chunks
            try:
                row = _value(connection, tenant, key)
                if row is None:
                    return None
                if row[1] != size:
                    raise _other_size(tenant, key, row[1], size)
                end = offset + len(into)
                into[:] = bytes(len(into))
                for number, chunk in connection.execute(
                    "SELECT number, bytes FROM state_chunks WHERE value = ? AND number BETWEEN ? AND ?",
                    (row[0], offset // CHUNK, (end - 1) // CHUNK),
                ):
                    start = number * CHUNK
                    low, high = max(start, offset), min(start + len(chunk), end)
                    into[low - offset : high - offset] = memoryview(chunk)[low - start : high - start]
                return row[2]
            finally:
                connection.execute("ROLLBACK")

    def write(
        self, tenant: str, key: bytes, size: int, runs: Iterable[tuple[int, memoryview]], quota: int
    ) -> int:
        """See :meth:`GlobalTier.write`."""
        with self._transaction() as connection:
            row = _value(connection, tenant, key)
            held = 0 if row is None else row[1]
            if held not in (0, size):
                raise _other_size(tenant, key, held, size)
            if held != size or row is None:
                more = size - held if row is not None else size + VALUE_COST
                if _usage(connection, tenant)[1] + more > quota:
                    raise QuotaExceeded(f"more than {quota} bytes of values", tenant=tenant, key=key)
                _charge(connection, tenant, values=more)
                connection.execute(
                    "INSERT INTO state_values (tenant, key, size, version) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (tenant, key) DO UPDATE SET size = excluded.size",
                    (tenant, key, size, first_version()),
                )
                row = _value(connection, tenant, key)
                assert row is not None
            for number, chunk in _chunks(connection, row[0], size, runs):
                connection.execute(
                    "INSERT OR REPLACE INTO state_chunks VALUES (?, ?, ?)", (row[0], number, chunk)
                )
            connection.execute("UPDATE state_values SET version = version + 1 WHERE id = ?", (row[0],))
            return row[2] + 1

    def delete(self, tenant: str, key: bytes) -> bool:
        """See :meth:`GlobalTier.delete`."""
        with self._transaction() as connection:
            row = _value(connection, tenant, key)
            if row is not None:
                connection.execute("DELETE FROM state_chunks WHERE value = ?", (row[0],))
                connection.execute("DELETE FROM state_values WHERE id = ?", (row[0],))
                _charge(connection, tenant, values=-(row[1] + VALUE_COST))
            return _empty(connection, tenant, key) > 0 or row is not None

    def append(self, tenant: str, key: bytes, element: bytes, quota: int) -> None:
        """See :meth:`GlobalTier.append`."""
        cost = len(element) + ELEMENT_COST
        with self._transaction() as connection:
            if _usage(connection, tenant)[0] + cost > quota:
                raise QuotaExceeded(f"more than {quota} bytes in lists", tenant=tenant, key=key)
            _charge(connection, tenant, lists=cost)
            connection.execute(
                "INSERT INTO state_elements (tenant, key, bytes) VALUES (?, ?, ?)", (tenant, key, element)
            )

    def appended(self, tenant: str, key: bytes, count: int | None) -> list[bytes]:
        """See :meth:`GlobalTier.appended`."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT bytes FROM state_elements WHERE tenant = ? AND key = ? ORDER BY number LIMIT ?",
                (tenant, key, -1 if count is None else count),
            )
            return [row[0] for row in rows]

    def clear(self, tenant: str, key: bytes) -> None:
        """See :meth:`GlobalTier.clear`."""
        with self._transaction() as connection:
            _empty(connection, tenant, key)

    def keys(self, tenant: str) -> list[bytes]:
        """See :meth:`GlobalTier.keys`."""
        with self._connection() as connection:
            rows = connection.execute("SELECT key FROM state_values WHERE tenant = ? ORDER BY key", (tenant,))
            return [row[0] for row in rows]

    def close(self) -> None:
        """See :meth:`GlobalTier.close`."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


def _value(connection: sqlite3.Connection, tenant: str, key: bytes) -> tuple[int, int, int] | None:
    """Return ``(id, size, version)`` of a value, or ``None``."""
    row: tuple[int, int, int] | None = connection.execute(
        "SELECT id, size, version FROM state_values WHERE tenant = ? AND key = ?", (tenant, key)
    ).fetchone()
    return row


def _chunks(
    connection: sqlite3.Connection, value: int, size: int, runs: Iterable[tuple[int, memoryview]]
) -> Iterator[tuple[int, bytes | bytearray | memoryview]]:
    """Turn ascending runs into whole chunks with their numbers, merged with what is stored."""
    number, chunk = -1, bytearray()
    for offset, data in runs:
        while len(data):
            here, inside = divmod(offset, CHUNK)
            piece = data[: CHUNK - inside]
            length = min(CHUNK, size - here * CHUNK)
            if here != number and number >= 0:
                yield number, chunk
                number = -1
            if len(piece) == length:
                yield here, piece
            else:
                if here != number:
                    row = connection.execute(
                        "SELECT bytes FROM state_chunks WHERE value = ? AND number = ?", (value, here)
                    ).fetchone()
                    number, chunk = here, bytearray(row[0] if row else length)
                chunk[inside : inside + len(piece)] = piece
            offset, data = offset + len(piece), data[len(piece) :]
    if number >= 0:
        yield number, chunk


def _usage(connection: sqlite3.Connection, tenant: str) -> tuple[int, int]:
    """Return the bytes that a tenant has in lists and in values."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT list_bytes, value_bytes FROM state_usage WHERE tenant = ?", (tenant,)
    ).fetchone()
    return row or (0, 0)


def _charge(connection: sqlite3.Connection, tenant: str, *, lists: int = 0, values: int = 0) -> None:
    connection.execute(
        "INSERT INTO state_usage VALUES (?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET "
        "list_bytes = list_bytes + excluded.list_bytes, value_bytes = value_bytes + excluded.value_bytes",
        (tenant, lists, values),
    )


def _empty(connection: sqlite3.Connection, tenant: str, key: bytes) -> int:
    """Delete the list of a key; return how many elements it had."""
    count, held = connection.execute(
        "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM state_elements WHERE tenant = ? AND key = ?",
        (tenant, key),
    ).fetchone()
    if count:
        connection.execute("DELETE FROM state_elements WHERE tenant = ? AND key = ?", (tenant, key))
        _charge(connection, tenant, lists=-(held + count * ELEMENT_COST))
    return int(count)


def _other_size(tenant: str, key: bytes, held: int, size: int) -> SizeMismatch:
    return SizeMismatch(
        f"the global value has {held} bytes, not {size}; delete it first", tenant=tenant, key=key
    )
