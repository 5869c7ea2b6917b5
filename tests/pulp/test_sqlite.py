"""``storage.sqlite`` (spec/pulp.md 3.8, acceptance case 24)."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pulp.conftest import Window

from guesthouse.errors import DeadlineExceeded
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.extensions import sql_rules, sqlite

SQL = "storage.sqlite"
KEYS = {"wasm": "any.c", "name": "any", "capabilities": [SQL]}


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


def test_case_24_opening_is_idempotent_and_instances_share_what_is_open(application) -> None:
    app = application({**KEYS, "instances": 3})
    first, second, third = (Window(cell) for cell in app.runtime.units["any"].cells)
    assert first.sqlite_exec("CREATE TABLE t (x)", b"")[0] == 0
    assert second.sqlite_exec("INSERT INTO t VALUES (1)", b"")[0] == 0
    first.cell.close()
    assert third.sqlite_query("SELECT * FROM t", b"")[1]["rows"] == [[1]]
    app.runtime.stop()
    again = Window(application({**KEYS, "instances": 1}).runtime.cell("any"))
    assert again.sqlite_exec("CREATE TABLE IF NOT EXISTS t (x)", b"")[0] == 0
    assert again.sqlite_query("SELECT * FROM t", b"")[1]["rows"] == [[1]]


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
        "PRAGMA cache_size = -100000000",
        "PRAGMA cache_size = 100000000",
        "PRAGMA cache_size = 99999999999999999999",
        "PRAGMA busy_timeout = 1000000000",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA temp.max_page_count = 1000000000",
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
        "PRAGMA cache_size = -2000",
        "PRAGMA busy_timeout = 100",
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


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
LARGE = sql_rules.LARGEST_VALUE - 1000


@pytest.mark.parametrize(
    "sql",
    [
        # Each takes a machine step or a function call for very long.
        ENDLESS + "SELECT count(randomblob(10000000)) FROM n",
        ENDLESS + "SELECT max(length(quote(randomblob(5000000)))) FROM n",
        ENDLESS + f"SELECT sum(hex(zeroblob(500000)) LIKE '%{'0' * 250}1%') FROM n",
    ],
)
def test_a_query_of_few_large_steps_is_interrupted_as_well(window, sql) -> None:
    db = window(SQL, call_timeout_ms=200, restart="never")
    with pytest.raises(DeadlineExceeded):
        db.sqlite_query(sql, b"")
    stopped = threading.Event()  # the thread that was in it is free again, and so is the database
    threading.Thread(target=lambda: (db.app.runtime.stop(), stopped.set()), daemon=True).start()
    assert stopped.wait(60)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT instr(zeroblob({LARGE}), CAST(zeroblob({LARGE // 2}) || x'01' AS BLOB))",
        f"SELECT instr(hex(zeroblob({LARGE // 2})), hex(zeroblob({LARGE // 4})) || '1')",
        f"SELECT length(replace(hex(zeroblob({LARGE // 2})), hex(zeroblob({LARGE // 8})) || '1', ''))",
        f"SELECT length(trim(hex(zeroblob({LARGE // 2})), hex(randomblob({LARGE // 2}))))",
    ],
)
def test_functions_of_quadratic_time_are_none_here(db, sql) -> None:
    assert db.sqlite_query(sql, b"")[0] == 0  # hours, if they were


def test_values_and_patterns_are_bounded(db) -> None:
    for sql in (
        "SELECT zeroblob(100000000)",
        "SELECT length(replace(hex(zeroblob(4000000)), '0', '0123456789'))",
        f"SELECT 'a' LIKE '{'%a' * 300}'",
        f"SELECT 'a' GLOB '{'*a' * 300}'",
    ):
        assert db.sqlite_query(sql, b"")[0] == 5, sql


def test_what_a_statement_writes_to_temporary_files_is_bounded(db, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "WRITTEN", 4 << 20)
    sql = ENDLESS + "SELECT length(b) FROM (SELECT randomblob(100000) AS b, x FROM n LIMIT 100000) ORDER BY b"
    code, got = db.sqlite_query(sql, b"")
    assert code == 5
    assert "wrote more than" in got["error"]
    assert db.sqlite_query("SELECT count(*) FROM t", b"")[1]["rows"] == [[0]]


def test_temporary_tables_are_bounded(window, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "WRITTEN", 1 << 20)
    db = window(SQL)
    db.sqlite_exec("CREATE TEMP TABLE big (x)", b"")
    codes = [db.sqlite_exec("INSERT INTO temp.big VALUES (zeroblob(100000))", b"")[0] for _ in range(12)]
    assert codes[:5] == [0] * 5
    assert codes[-1] == 5


texts = st.one_of(
    st.none(), st.text(st.sampled_from("abé "), max_size=6), st.sampled_from([b"", b"a", b" b", b"ab"]),
    st.integers(-99, 99), st.sampled_from([0.0, -0.0, 1.5, -2.25, 1e20, 1e-7, 123456.75, 0.1]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["instr", "trim", "ltrim", "rtrim", "replace"]), st.tuples(texts, texts, texts))
def test_functions_that_are_served_in_place_of_sqlites_answer_the_same(name, values) -> None:
    arguments = values if name == "replace" else values[:2]
    sql = f"SELECT {name}({', '.join('?' * len(arguments))}) AS it"
    theirs, ours = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    sql_rules.restrict(ours)
    try:
        expected, found = (each.execute(sql, arguments).fetchall() for each in (theirs, ours))
    finally:
        theirs.close(), ours.close()
    assert found == expected


def test_they_serve_in_schemas_as_well(db) -> None:
    for sql in (
        "CREATE TABLE p (name TEXT CHECK (instr(name, '/') = 0), plain TEXT AS (replace(name, 'a', 'b')))",
        "CREATE INDEX i ON p (trim(name, '.'))",
        "CREATE VIEW v AS SELECT replace(name, 'x', 'y') AS n FROM p",
        "INSERT INTO p (name) VALUES ('xa')",
    ):
        assert db.sqlite_exec(sql, b"")[0] == 0, sql
    assert db.sqlite_query("SELECT plain, n FROM p, v", b"")[1]["rows"] == [["xb", "ya"]]
    assert db.sqlite_exec("INSERT INTO p (name) VALUES ('/')", b"")[0] == 13


def test_statements_are_only_stopped_for_their_own_call(window) -> None:
    db = window(SQL, call_timeout_ms=300, restart="never")
    db.sqlite_exec("CREATE TABLE t (x)", b"")
    db.sqlite_exec("BEGIN", b"")
    until = time.monotonic() + 1.2  # longer than a call may take, and than the watch sleeps between looks
    while time.monotonic() < until:
        assert db.sqlite_exec("INSERT INTO t VALUES (1)", b"")[0] == 0
    assert db.sqlite_exec("COMMIT", b"")[0] == 0


def test_results_and_databases_have_limits(window, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "RESULT_LIMIT", 10_000)
    db = window(SQL, max_disk_bytes=1_000_000)
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
