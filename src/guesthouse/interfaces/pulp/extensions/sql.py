"""SQL for cells, whatever database is behind it: requests, replies and codes (spec/pulp.md 3.8)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused
from guesthouse.interfaces.pulp.memory import deliver
from guesthouse.interfaces.pulp.storage import PerCell

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

SQL_FAILED = 5
NO_HANDLE = 9
UNREACHABLE = 10
BUSY = 12
CONSTRAINT = 13
READ_ONLY = 14

#: Bytes that a result may take.
RESULT_LIMIT = 50 << 20


class SQLFailed(Exception):
    """The database refused a statement.

    Attributes:
        code: what the guest is answered.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class SQLDatabase(Protocol):
    """One cell's database; calls take turns in it."""

    def execute(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run statements that change something; returns the reply.

        Raises:
            SQLFailed: the database refused.
            CallError: the cell is out of time.
        """

    def query(self, call: CellCall, sql: str, params: list[Any]) -> dict[str, Any]:
        """Run a query; returns the reply, and raises as `execute`."""

    def close(self) -> None:
        """Close the connection."""


class SQLStorage(Extension):
    """The imports, for any database; subclasses open them."""

    name: ClassVar[str] = "storage.sqlite"

    def __init__(self) -> None:
        self._environment = Environment()
        self._databases: PerCell[SQLDatabase] = PerCell()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports, ``sqlite_exec`` in both generations."""
        row = self.row
        return (
            row("sqlite_exec", "iiiiii", self.exec, "Run statements; returns what they changed."),
            row("sqlite_exec", "iiii", self.exec_first, "Run statements (first generation: no reply)."),
            row("sqlite_query", "iiiiii", self.query, "Run a query; returns columns and rows."),
        )

    def setup(self, environment: Environment) -> None:
        """Remember where storage lies."""
        self._environment = environment

    def open(self, cell: Cell) -> SQLDatabase:
        """Open a cell's database; failing to do so fails the cell's load."""
        raise NotImplementedError(f"{type(self).__name__} opens no databases")

    def attach(self, cell: Cell) -> None:
        """Open a cell's database, or count one more instance of the cell."""
        self._databases.acquire(cell.id, lambda: self.open(cell))

    def release(self, cell: Cell) -> None:
        """Close a cell's database once its last instance is gone."""
        database = self._databases.release(cell.id)
        if database is not None:
            database.close()

    # -- imports

    def exec(
        self,
        call: CellCall,
        sql: int,
        length: int,
        params: int,
        params_length: int,
        out: int,
        out_length: int,
    ) -> int:
        """Serve ``sqlite_exec``."""
        code, answer = self._run(call, "execute", sql, length, params, params_length)
        return deliver(call, codec.encode(answer), out, out_length) or code

    def exec_first(self, call: CellCall, sql: int, length: int, params: int, params_length: int) -> int:
        """Serve ``sqlite_exec`` as the first generation knew it."""
        return self._run(call, "execute", sql, length, params, params_length)[0]

    def query(
        self,
        call: CellCall,
        sql: int,
        length: int,
        params: int,
        params_length: int,
        out: int,
        out_length: int,
    ) -> int:
        """Serve ``sqlite_query``."""
        code, answer = self._run(call, "query", sql, length, params, params_length)
        return deliver(call, codec.encode(answer), out, out_length) or code

    def _run(
        self, call: CellCall, how: str, sql: int, length: int, params: int, params_length: int
    ) -> tuple[int, dict[str, Any]]:
        """Run one request; SQL failures come back as code and ``error``."""
        text = call.instance.read(sql, length).decode("utf-8", "replace") if length else ""
        if not text.strip():
            raise Refused(memory.EMPTY, "empty SQL")
        values = bound(call.instance.read(params, params_length)) if params_length else []
        database = self._databases.get(call.cell.id)
        if database is None:
            raise Refused(NO_HANDLE, "the cell has no database")
        run = database.execute if how == "execute" else database.query
        empty: dict[str, Any] = (
            {"rows_affected": 0, "last_insert_id": 0} if how == "execute" else {"columns": [], "rows": None}
        )
        try:
            return memory.OK, run(call, text, values)
        except SQLFailed as error:
            return error.code, {**empty, "error": str(error)}
        except (OverflowError, UnicodeError, ValueError) as error:
            return SQL_FAILED, {**empty, "error": str(error)}


def bound(data: bytes) -> list[Any]:
    """Decode parameters: an array of plain values; refused with 3 otherwise."""
    values = codec.decode(data)
    if values is None:
        return []
    if not isinstance(values, list):
        raise codec.DecodeError("parameters are an array")
    return [_value(value) for value in values]


def _value(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    raise codec.DecodeError(f"a {type(value).__name__} is no SQL value")
