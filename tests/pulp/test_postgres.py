"""``storage.sqlite`` on a real Postgres server (spec/pulp.md 3.8)."""

from __future__ import annotations

import datetime as dt

import pytest
from tests.pulp import folders
from tests.pulp.conftest import Window
from tests.pulp.daemons import postgres_url
from tests.pulp.test_up import up  # noqa: F401 - a fixture

from guesthouse.errors import DeadlineExceeded

SQL = "storage.sqlite"


@pytest.fixture(scope="module")
def url():
    with postgres_url() as found:
        yield found


@pytest.fixture
def postgres(window, url):
    def start(name: str = "any", **options):
        settings = {"DATABASE_URL": url, **options.pop("settings", {})}
        return window(SQL, name=name, settings=settings, sql="postgres", **options)

    return start


@pytest.fixture
def db(postgres):
    opened = postgres()
    assert opened.sqlite_exec("DROP TABLE IF EXISTS t", b"")[0] == 0
    assert (
        opened.sqlite_exec("CREATE TABLE t (id serial PRIMARY KEY, name text UNIQUE, data bytea)", b"")[0]
        == 0
    )
    return opened


def test_rows_go_in_and_come_out_with_their_types(db) -> None:
    code, done = db.sqlite_exec("INSERT INTO t (name, data) VALUES ($1, $2)", ["one", b"\0\xff"])
    assert (code, done) == (0, {"rows_affected": 1, "last_insert_id": 0})
    code, got = db.sqlite_query(
        "SELECT id, name, data, 1.5::float8, NULL, 9223372036854775807, 1.50::numeric, true,"
        " '2024-05-06 07:08:09.12+00'::timestamptz FROM t WHERE id = $1",
        [1],
    )
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 120000, tzinfo=dt.UTC)
    assert (code, got["rows"]) == (0, [[1, "one", b"\0\xff", 1.5, None, (1 << 63) - 1, "1.50", True, moment]])
    assert "error" not in got


def test_integers_are_full_width(db) -> None:
    _, raw = db("sqlite_query", "SELECT 1 AS x", b"")
    assert raw == b"\x82\xa7columns\x91\xa1x\xa4rows\x91\x91\xd3" + bytes(7) + b"\1"


def test_returning_takes_the_place_of_the_last_id(db) -> None:
    assert db.sqlite_query("INSERT INTO t (name) VALUES ($1) RETURNING id", ["x"])[1]["rows"] == [[1]]


@pytest.mark.parametrize(
    ("sql", "params", "code"),
    [
        ("", b"", 1),
        ("SELECT 1", b"\xc1", 3),
        ("SELEC 1", b"", 5),
        ("SELECT * FROM nowhere", b"", 5),
        ("SELECT $1::int", ["x"], 5),
        ("INSERT INTO t (name) VALUES ('a'), ('a')", b"", 13),
    ],
)
def test_codes(db, sql, params, code) -> None:
    assert db.sqlite_exec(sql, params)[0] == code


def test_a_read_only_transaction_is_code_14(db) -> None:
    assert db.sqlite_exec("BEGIN READ ONLY", b"")[0] == 0
    code, reply = db.sqlite_exec("INSERT INTO t (name) VALUES ('x')", b"")
    assert code == 14
    assert "read-only" in reply["error"]
    assert db.sqlite_exec("ROLLBACK", b"")[0] == 0


def test_transactions_are_plain_statements(db) -> None:
    for sql in ("BEGIN", "INSERT INTO t (name) VALUES ('x')", "ROLLBACK"):
        assert db.sqlite_exec(sql, b"")[0] == 0
    assert db.sqlite_query("SELECT count(*) FROM t", b"")[1]["rows"] == [[0]]


def test_a_slow_statement_ends_with_its_cell(postgres) -> None:
    slow = postgres(call_timeout_ms=300)
    with pytest.raises(DeadlineExceeded):
        slow.sqlite_query("SELECT pg_sleep(30)", b"")


def test_cells_share_tables_unless_isolated(postgres, url) -> None:
    first, second = postgres("one"), postgres("two")
    assert first.sqlite_exec("CREATE TABLE IF NOT EXISTS common (n int)", b"")[0] == 0
    assert second.sqlite_query("SELECT * FROM common", b"")[0] == 0
    apart = {"STORAGE_POSTGRES_ISOLATE": "true"}
    third, fourth = postgres("three", settings=apart), postgres("four", settings=apart)
    assert third.sqlite_exec("CREATE TABLE IF NOT EXISTS own (n int)", b"")[0] == 0
    assert fourth.sqlite_query("SELECT * FROM own", b"")[0] == 5
    assert fourth.sqlite_query("SELECT * FROM common", b"")[0] == 5


def test_a_connection_that_was_lost_is_code_10_and_comes_back(db) -> None:
    assert db.sqlite_query("SELECT pg_terminate_backend(pg_backend_pid())", b"")[0] == 10
    assert db.sqlite_query("SELECT 1", b"")[0] == 0


def test_a_server_that_is_not_there_fails_the_load(postgres) -> None:
    with pytest.raises(Exception, match="storage.sqlite"):
        postgres(settings={"DATABASE_URL": "postgresql://127.0.0.1:9/none"})
    with pytest.raises(Exception, match="DATABASE_URL"):
        postgres(settings={"DATABASE_URL": ""})


def pinned(name: str, provider: str = "") -> dict:
    table = {"wasm": "any.c", "name": name, "capabilities": [SQL]}
    return {**table, "capability_providers": {SQL: provider}} if provider else table


def test_both_are_there_for_cells_that_say_which(application, url) -> None:
    tables = pinned("files", "guesthouse"), pinned("server", "guesthouse-postgres"), pinned("neither")
    app = application(*tables, sql="both", settings={"DATABASE_URL": url})
    files, server = (Window(app.runtime.cell(name)) for name in ("files", "server"))
    assert files.sqlite_query("SELECT sqlite_version()", b"")[0] == 0
    assert server.sqlite_query("SELECT sqlite_version()", b"")[0] == 5
    assert server.sqlite_query("SELECT version()", b"")[1]["rows"][0][0].startswith("PostgreSQL")
    state = {row["name"]: row["error"] for row in app.runtime.status()}
    assert "which several offer (guesthouse, guesthouse-postgres)" in state["neither"]


@pytest.mark.parametrize("choice", ["postgres", "both", "oracle"])
def test_the_operator_chooses_when_starting(up, tmp_path, build, url, choice) -> None:  # noqa: F811
    keys = {"capability_providers": {SQL: "guesthouse-postgres"}} if choice == "both" else {}
    path = folders.cell(tmp_path, "any", build("any.c"), capabilities=[SQL], **keys)
    process = up(path, PULP_SQL=choice, DATABASE_URL=url)
    if choice == "oracle":
        assert process.process.wait(60) == 125
        assert (
            "storage.sqlite is served by sqlite, postgres, both, not by 'oracle'" in process.log.read_text()
        )
        return
    process.wait_for("serving at")
    assert process.interrupt()[0] == 0
    assert not (tmp_path / "data" / "any" / "data.db").exists()
