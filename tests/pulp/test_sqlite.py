"""``storage.sqlite`` (spec/pulp.md 3.8, acceptance case 24)."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time

import pytest
from tests.pulp.conftest import Window

from guesthouse.errors import DeadlineExceeded
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.extensions import sqlite

SQL = "storage.sqlite"


@pytest.fixture
def db(window):
    opened = window(SQL)
    assert (
        opened.sqlite_exec(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB, at DATETIME)", b""
        )[0]
        == 0
    )
    return opened


def test_case_24_rows_go_in_and_come_out_with_their_types(db) -> None:
    code, done = db.sqlite_exec("INSERT INTO t (name, data) VALUES (?, ?)", ["one", b"\0\xff"])
    assert (code, done) == (0, {"rows_affected": 1, "last_insert_id": 1})
    assert db.sqlite_exec("INSERT INTO t (name) VALUES ('a'), ('b')", b"")[1] == {
        "rows_affected": 2,
        "last_insert_id": 3,
    }
    code, got = db.sqlite_query(
        "SELECT id, name, data, 1.5, NULL, 9223372036854775807 FROM t WHERE id = ?", [1]
    )
    assert (code, got["rows"]) == (0, [[1, "one", b"\0\xff", 1.5, None, (1 << 63) - 1]])
    assert got["columns"] == ["id", "name", "data", "1.5", "NULL", "9223372036854775807"]
    assert "error" not in got


def test_integers_are_full_width(db) -> None:
    _, raw = db("sqlite_query", "SELECT 1 AS x", b"")
    assert raw == b"\x82\xa7columns\x91\xa1x\xa4rows\x91\x91\xd3" + bytes(7) + b"\1"
    _, raw = db("sqlite_exec", "DELETE FROM t", b"")
    assert raw.count(b"\xd3") == 2


def test_no_rows_are_nil(db) -> None:
    assert db.sqlite_query("SELECT id FROM t", b"")[1] == {"columns": ["id"], "rows": None}


def test_parameters_of_every_kind(db) -> None:
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 120000, tzinfo=dt.UTC)
    _, got = db.sqlite_query("SELECT ?, ?, ?, ?, ?, typeof(?)", [None, True, -5, 2.5, "é", moment])
    assert got["rows"] == [[None, 1, -5, 2.5, "é", "text"]]


@pytest.mark.parametrize("params", [b"\xc1", codec.encode({"a": 1}), codec.encode([[1]]), codec.encode(5)])
def test_parameters_that_are_none(db, params) -> None:
    assert db("sqlite_exec", "SELECT 1", params) == (3, b"")


def test_times_come_back_as_times_in_columns_declared_so(db) -> None:
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 120000, tzinfo=dt.UTC)
    db.sqlite_exec("INSERT INTO t (name, at) VALUES ('bound', ?)", [moment])
    for number, text in enumerate(("2024-05-06T07:08:09Z", "2024-05-06", "soon", "2024-99-99")):
        db.sqlite_exec("INSERT INTO t (name, at) VALUES (?, ?)", [f"n{number}", text])
    db.sqlite_exec("INSERT INTO t (name, at) VALUES ('number', 12)", b"")
    _, got = db.sqlite_query("SELECT at AS whenever, at || '' FROM t ORDER BY id", b"")
    values = [row[0] for row in got["rows"]]
    assert values[0] == moment
    assert values[1] == dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
    assert values[2] == dt.datetime(2024, 5, 6, tzinfo=dt.UTC)
    assert values[3:] == ["soon", "2024-99-99", 12]
    assert got["rows"][1][1] == "2024-05-06T07:08:09Z"


def test_case_24_failures_have_codes_and_words(db) -> None:
    assert db.sqlite_exec("", b"")[0] == 1
    assert db.sqlite_exec("  ", b"")[0] == 1
    code, got = db.sqlite_exec("SELEKT", b"")
    assert code == 5
    assert "syntax error" in got["error"]
    db.sqlite_exec("INSERT INTO t (name) VALUES ('x')", b"")
    code, got = db.sqlite_exec("INSERT INTO t (name) VALUES ('x')", b"")
    assert code == 13
    assert got["error"] == "UNIQUE constraint failed: t.name"
    code, got = db.sqlite_query("SELECT * FROM nowhere", b"")
    assert (code, got["rows"], got["columns"]) == (5, None, [])
    assert db.sqlite_query("SELECT ?", [])[0] == 5
    assert db.sqlite_query("SELECT ?", [1 << 63])[0] == 5


def test_case_24_each_cell_has_its_own_database_which_lasts(application) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": [SQL]} for name in ("a", "b")]
    app = application(*tables)
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    a.sqlite_exec("CREATE TABLE mine (x)", b"")
    assert b.sqlite_query("SELECT * FROM mine", b"")[0] == 5
    app.runtime.reload("a")
    a = Window(app.runtime.cell("a"))
    assert a.sqlite_query("SELECT * FROM mine", b"")[0] == 0
    assert (app.runtime.environment.storage_root / "a" / "data.db").exists()


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH DATABASE '{other}' AS o",
        "ATTACH DATABASE ':memory:' AS o",
        "VACUUM INTO '{new}'",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = OFF",
        "PRAGMA max_page_count = 1000000000",
        "PRAGMA mmap_size = 1000000000",
        "PRAGMA trusted_schema = ON",
        "SELECT load_extension('/lib/x.so')",
        "CREATE VIRTUAL TABLE z USING fts3(tokenize=x); SELECT fts3_tokenizer('simple', x'00')",
    ],
)
def test_case_24_a_cell_stays_in_its_own_file(db, tmp_path, sql) -> None:
    other, new = tmp_path / "other.db", tmp_path / "new.db"
    with sqlite3.connect(other) as foreign:
        foreign.execute("CREATE TABLE secret (x)")
    foreign.close()
    code, got = db.sqlite_query(sql.format(other=other, new=new), b"")
    assert code == 5
    assert got["error"]
    assert not new.exists()
    assert db.sqlite_query("SELECT count(*) FROM t", b"")[1]["rows"] == [[0]]


def test_what_a_cell_may_ask_its_database(db) -> None:
    for sql in (
        "VACUUM",
        "PRAGMA user_version = 7",
        "PRAGMA table_info(t)",
        "PRAGMA journal_mode",
        "ANALYZE",
    ):
        assert db.sqlite_query(sql, b"")[0] == 0, sql
    assert db.sqlite_query("PRAGMA user_version", b"")[1]["rows"] == [[7]]
    assert db.sqlite_query("PRAGMA journal_mode", b"")[1]["rows"] == [["wal"]]
    assert db.sqlite_query("PRAGMA foreign_keys", b"")[1]["rows"] == [[1]]


def test_transactions_span_calls(db) -> None:
    db.sqlite_exec("BEGIN", b"")
    db.sqlite_exec("INSERT INTO t (name) VALUES ('gone')", b"")
    db.sqlite_exec("ROLLBACK", b"")
    assert db.sqlite_query("SELECT count(*) FROM t", b"")[1]["rows"] == [[0]]
    db.sqlite_exec(
        "BEGIN; INSERT INTO t (name) VALUES ('a;b'); INSERT INTO t (name) VALUES ('c'); COMMIT;", b""
    )
    assert db.sqlite_query("SELECT name FROM t", b"")[1]["rows"] == [["a;b"], ["c"]]


def test_a_locked_database_is_busy(db, window, monkeypatch) -> None:
    path = db.app.runtime.environment.storage_root / "any" / "data.db"
    db.sqlite_exec("PRAGMA busy_timeout = 50", b"")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert db.sqlite_exec("INSERT INTO t (name) VALUES ('x')", b"")[0] == 12
    other.execute("ROLLBACK")
    other.close()


def test_a_query_without_end_is_interrupted_and_the_database_is_sound(window) -> None:
    db = window(SQL, call_timeout_ms=200, restart="never")
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        db.sqlite_query(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", b""
        )
    assert time.monotonic() - started < 2


def test_results_and_databases_have_limits(window, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "RESULT_LIMIT", 10_000)
    db = window(SQL, settings={"PULP_SQLITE_MAX_BYTES": "1000000"})
    sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    code, got = db.sqlite_query(sql, b"")
    assert code == 5
    assert "larger than 10000 bytes" in got["error"]
    db.sqlite_exec("CREATE TABLE big (x)", b"")
    code, got = db.sqlite_exec("INSERT INTO big VALUES (zeroblob(2000000))", b"")
    assert code == 5
    assert "full" in got["error"]


def test_a_database_that_cannot_be_opened_fails_the_load(application, tmp_path) -> None:
    (tmp_path / "data" / "any" / "data.db").mkdir(parents=True)
    app = application(
        {"wasm": "any.c", "name": "any", "capabilities": [SQL]}, {"wasm": "kit.c", "name": "other"}
    )
    assert "bind capabilities: storage.sqlite: unable to open" in app.runtime.status()[0]["error"]


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "."])
def test_case_24_traversal_in_names_is_rejected(application, name) -> None:
    app = application(
        {"wasm": "any.c", "name": name, "capabilities": [SQL]}, {"wasm": "kit.c", "name": "other"}
    )
    assert "cannot name a directory" in app.runtime.status()[0]["error"]


def test_the_first_generation_of_exec_is_served_by_its_arity(application, build) -> None:
    app = application({"wasm": "old.wat", "name": "old", "capabilities": [SQL, "storage.fs"]})
    cell = app.runtime.cell("old")
    assert cell.call("exec", b"CREATE TABLE t (x)") == b"\0\0\0\0"
    assert cell.call("exec", b"SELEKT") == b"\5\0\0\0"
    # the first generation of fs_write: codes 4 and 5 exchanged, mode 0600
    assert cell.call("write", b"dir/file") == b"\0\0\0\0"
    assert cell.call("write", b"../up") == b"\4\0\0\0"
    path = app.runtime.environment.storage_root / "old" / "dir" / "file"
    assert path.read_bytes() == b"dir/file"
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_the_declaration_all_of_it_is_99(window) -> None:
    plain = window()
    assert plain("sqlite_exec", "SELECT 1", b"") == (99, b"")
    assert plain("sqlite_query", "SELECT 1", b"") == (99, b"")
