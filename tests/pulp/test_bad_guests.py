"""Malformed modules and guests that answer nonsense: a clear error, and nobody else is touched."""

from __future__ import annotations

import time

import httpx
import pytest
from tests.pulp.test_runtime import status, until

from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.testing.guests import wat

KIT = {"wasm": "kit.c", "name": "other"}

MEMORY = '(memory (export "memory") 1)'
ALLOC = '(func (export "pulp_alloc") (param i32) (result i32) i32.const 1024)'
INIT = '(func (export "pulp_init") (param i32 i32) (result i32) i32.const 0)'
STEP = '(func (export "pulp_step") (param i32 i32) (result i32) i32.const 0)'
STOP = '(func (export "pulp_shutdown") (result i32) i32.const 0)'
WHOLE = (MEMORY, ALLOC, INIT, STEP, STOP)


def module(*parts: str) -> bytes:
    return wat(f"(module {' '.join(parts)})")


@pytest.fixture
def beside(application, tmp_path):
    """Starts a cell of the given bytes beside a sound one, and checks in the end that this one is well."""
    started = []

    def start(wasm: bytes, **keys):
        path = tmp_path / "bad.wasm"
        path.write_bytes(wasm)
        app = application({"wasm": str(path), "name": "bad", **keys}, KIT)
        started.append(app)
        return app

    yield start
    for app in started:
        assert status(app, "other")["state"] == "ready"
        assert app.runtime.cell("other").call("reverse", b"abc") == b"cba"
        assert status(app, "other")["restarts"] == 0


@pytest.mark.parametrize(
    ("wasm", "message"),
    [
        (b"", "compile wasm"),
        (b"#!/bin/sh", "compile wasm"),
        (b"\0asm\1\0\0\0\xff\xff\xff\xff\xff", "compile wasm"),
        (module(), "missing required exports: [pulp_init pulp_step pulp_shutdown]"),
        (module(MEMORY, STEP), "missing required exports: [pulp_init pulp_shutdown]"),
        (module(*WHOLE).replace(b"pulp_step", b"pulp_stop"), "missing required exports: [pulp_step]"),
        (
            module(MEMORY, ALLOC, STEP, STOP, '(func (export "pulp_init") (param i32) (result i32) i32.const 0)'),
            "export pulp_init has type (i32) -> i32, but Pulp calls it as (i32, i32) -> i32",
        ),
        (
            module(MEMORY, ALLOC, INIT, STOP, '(func (export "pulp_step") (param i32 i32))'),
            "export pulp_step has type (i32, i32) -> ()",
        ),
        (
            module(MEMORY, INIT, STEP, STOP, '(func (export "pulp_alloc") (param i64) (result i32) i32.const 0)'),
            "export pulp_alloc has type (i64) -> i32",
        ),
        (
            module('(import "pulp" "pulp_call" (func (param i32) (result i32)))', *WHOLE),
            "pulp_call",
        ),
        (module('(import "pulp" "no_such_thing" (func))', *WHOLE), "no_such_thing"),
        (module('(import "mars" "land" (func))', *WHOLE), "mars.land"),
        (module(*WHOLE, '(func $s unreachable) (export "_initialize" (func $s))'), "instantiate wasm"),
        (module(INIT, STEP, STOP, '(global (export "pulp_alloc") i32 (i32.const 1))'), "does not export pulp_alloc"),
    ],
)  # fmt: skip
def test_a_module_that_does_not_fit_fails_alone_and_says_why(beside, wasm, message) -> None:
    app = beside(wasm, config={"a": 1})
    found = status(app, "bad")
    assert found["state"] == "failed"
    assert message in found["error"]


def test_a_declared_capability_that_nobody_offers_fails_the_cell(beside) -> None:
    app = beside(module(*WHOLE), capabilities=["transport.http.inbund"])
    assert 'did you mean "transport.http.inbound"?' in status(app, "bad")["error"]


SAYS = """
  (import "pulp" "http_register" (func $register (param i32 i32) (result i32)))
  (import "pulp" "http_respond" (func $respond (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $code (mut i32) (i32.const 0))
  (data (i32.const 16) "\\82\\a6method\\a3GET\\a4path\\a2/x")
  (data (i32.const 512) "{garbage}")
  (func (export "pulp_alloc") (param i32) (result i32) i32.const 4096)
  (func (export "pulp_init") (param i32 i32) (result i32) (call $register (i32.const 16) (i32.const 20)))
  (func (export "pulp_step") (param i32 i32) (result i32)
    (if (i32.gt_u (local.get 1) (i32.const 20))
      (then (global.set $code (call $respond (i32.const {pointer}) (i32.const {length})))))
    i32.const 0)
  (func (export "pulp_shutdown") (result i32) i32.const 0)
  (func (export "pulp_on_call") (param i32 i32 i32 i32 i32 i32) (result i32) (global.get $code))
"""


@pytest.mark.parametrize(
    ("garbage", "pointer", "length", "code"),
    [
        (r"\c1\c1\c1", 512, 3, 3),
        (r"\ff", 512, 1, 3),
        (r"\81\a2id\dd\ff\ff\ff\ff", 512, 9, 3),
        (r"\df\ff\ff\ff\ff", 512, 5, 3),
        (r"\81\a2id\a3abc", 512, 8, 3),
        (r"\80", 512, 1, 4),
        (r"\80", 512, 0, 1),
        (r"\80", 131_000, 4096, 2),
        (r"\80", 0xFFFFFFFF, 1, 2),
        (r"\80", 512, 0xFFFFFFFF, 2),
    ],
)  # fmt: skip
def test_garbage_for_an_import_is_a_code_and_the_request_is_answered(
    beside, garbage, pointer, length, code
) -> None:
    text = (
        SAYS.replace("{garbage}", garbage).replace("{pointer}", str(pointer)).replace("{length}", str(length))
    )
    app = beside(module(text), capabilities=["transport.http.inbound"])
    assert status(app, "bad")["error"] == ""
    answer = httpx.get(f"{app.url}/x")
    assert (answer.status_code, answer.text) == (500, "cell did not respond")
    with pytest.raises(Exception, match=f"pulp_on_call returned {code}"):
        app.runtime.cell("bad").call("code")
    until(lambda: status(app, "bad")["drops"].get("transport.http.inbound.unanswered") == 1)


@pytest.mark.parametrize("address", [0, 65_530, 0xFFFFFFF0, 1 << 31])
def test_an_allocator_that_hands_out_nonsense_fails_the_cell(beside, address) -> None:
    alloc = f'(func (export "pulp_alloc") (param i32) (result i32) i32.const {address})'
    app = beside(module(MEMORY, alloc, INIT, STEP, STOP), config={"long": "x" * 100}, restart="never")
    assert status(app, "bad")["state"] == "failed"
    assert "pulp_alloc" in status(app, "bad")["error"] or "pulp_init" in status(app, "bad")["error"]


def test_a_cell_without_an_allocator_says_so_and_does_not_flood_the_log(beside, caplog) -> None:
    app = beside(module(MEMORY, INIT, STEP, STOP), restart="never")
    until(lambda: "step failed" in caplog.text)
    time.sleep(0.5)
    assert "cell does not export pulp_alloc" in caplog.text
    assert caplog.text.count("step failed") <= 3
    assert app.runtime.post(Event("k", b"\1", "bad")) is Posted.QUEUED
    until(lambda: status(app, "bad")["queued"] == 0)


def test_a_shutdown_or_probe_that_traps_or_hangs_keeps_nobody_from_stopping(application, tmp_path) -> None:
    trap, hang = "unreachable", "(loop (br 0)) unreachable"
    cells = {
        "probe-traps": (STOP, f'(func (export "probe_last_call") (result i64) {trap})'),
        "probe-hangs": (STOP, f'(func (export "probe_last_call") (result i64) {hang})'),
        "stop-traps": (f'(func (export "pulp_shutdown") (result i32) {trap})',),
        "stop-hangs": (f'(func (export "pulp_shutdown") (result i32) {hang})',),
    }
    tables = []
    for name, parts in cells.items():
        (tmp_path / f"{name}.wasm").write_bytes(module(MEMORY, ALLOC, INIT, STEP, *parts))
        tables.append({"wasm": str(tmp_path / f"{name}.wasm"), "name": name, "call_timeout_ms": 300})
    app = application(*tables, {"wasm": "kit.c", "name": "kit", "config": {"shutdown_code": 3}})
    started = time.monotonic()
    app.runtime.stop()
    assert time.monotonic() - started < 10
    assert {row["state"] for row in app.runtime.status()} == {"stopped"}


def test_endless_growth_ends_at_the_limit(beside) -> None:
    grows = '(func (export "pulp_init") (param i32 i32) (result i32) (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 7))'
    app = beside(module(MEMORY, ALLOC, grows, STEP, STOP), max_memory_pages=64)
    assert "pulp_init returned 7" in status(app, "bad")["error"] or "memory" in status(app, "bad")["error"]


def test_all_problems_of_one_start_are_in_one_error(application, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.wasm").write_bytes(module(MEMORY))
    app = application(*({"wasm": str(tmp_path / f"{n}.wasm"), "name": n} for n in "ab"), run=False)
    with pytest.raises(LoadError, match=r"all cells failed: .*'a'.*missing.*; .*'b'.*missing"):
        app.runtime.start()
