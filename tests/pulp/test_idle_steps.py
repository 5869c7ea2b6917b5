"""Idle steps: the straight way in, and everything that is out of the ordinary there (spec/pulp.md 5.3, 5.4)."""

from __future__ import annotations

import threading
import time

import pytest

from guesthouse import pulp
from guesthouse.errors import CallError, Cancelled, DeadlineExceeded, Trap
from guesthouse.testing import guests

#: What a step does is said by its call number.
CELL = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "pulp" "pulp_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "me")
  (global $top (mut i32) (i32.const 4096))
  (func (export "pulp_alloc") (param $n i32) (result i32)
    global.get $top
    (global.set $top (i32.add (global.get $top) (local.get $n))))
  (func (export "pulp_free") (param $at i32) (param i32) (global.set $top (local.get $at)))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_on_call") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param $at i32) (param $n i32) (result i32)
    (local $number i64)
    (local.set $number (i64.load (local.get $at)))
    (if (i64.eq (local.get $number) (i64.const 1)) (then (loop $for_ever (br $for_ever))))
    (if (i64.eq (local.get $number) (i64.const 2)) (then unreachable))
    (if (i64.eq (local.get $number) (i64.const 3)) (then (call $exit (i32.const 5))))
    (if (i64.eq (local.get $number) (i64.const 4)) (then
      (return (call $call (i32.const 16) (i32.const 2) (i32.const 16) (i32.const 2)
        (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 68)))))
    (if (i64.eq (local.get $number) (i64.const 5)) (then (return (global.get $top))))
    (i32.add (i32.load (i32.add (local.get $at) (i32.const 8))) (i32.load (i32.add (local.get $at) (i32.const 16)))))
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))"""
SPIN, TRAP, EXIT, CALL_ITSELF, HEAP = 1, 2, 3, 4, 5
NUMBER = 9


@pytest.fixture
def cell():
    with pulp.Cell.load(
        pulp.CellSpec("me", guests.wat(CELL), timeout=0.15), registry=pulp.registry()
    ) as cell:
        cell.init()
        yield cell


def test_number_and_time_arrive_and_the_code_comes_back(cell) -> None:
    assert cell.idle_step(NUMBER, 7) == 7
    assert cell.idle_step(NUMBER, 0xFFFFFFFF) == -1
    assert cell.idle_step((1 << 64) - 1, (7 << 32) + 5) == 5
    with pytest.raises(OverflowError):
        cell.idle_step(-1, 0)
    assert cell.idle_step(NUMBER, 3) == 3


def test_one_block_serves_all_of_them(cell) -> None:
    cell.idle_step(NUMBER, 0)
    top = cell.idle_step(HEAP, 0)
    for _ in range(100):
        cell.idle_step(NUMBER, 0)
        cell.step()
    assert cell.idle_step(HEAP, 0) == top  # also of those with an envelope of one's own


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (SPIN, DeadlineExceeded, "pulp_step trap"),
        (TRAP, Trap, "pulp_step trap: trap: unreachable"),
        (EXIT, Trap, r"pulp_step trap: .*module closed with exit_code\(5\)"),
    ],
)
def test_what_ends_the_guest_is_named_and_told_once(cell, first, number, kind, message) -> None:
    told: list[tuple[str, CallError]] = []
    cell.on_end = lambda function, error: told.append((function, error))
    if not first:
        cell.idle_step(NUMBER, 0)
    with pytest.raises(kind, match=message) as caught:
        cell.idle_step(number, 0)
    assert caught.value.guest == "me"
    assert [function for function, _ in told] == ["pulp_step"]
    assert not cell.usable
    assert not cell.busy
    with pytest.raises(pulp.CellClosed, match="cell has ended"):
        cell.idle_step(NUMBER, 0)
    cell.reload()
    assert cell.idle_step(NUMBER, 3) == 3
    assert len(told) == 1


def test_a_closed_cell_has_none(cell) -> None:
    cell.idle_step(NUMBER, 0)
    cell.close()
    with pytest.raises(pulp.CellClosed, match="cell is closed"):
        cell.idle_step(NUMBER, 0)


def test_one_that_is_interrupted_before_it_begins_does_not_run(cell) -> None:
    cell.idle_step(NUMBER, 0)
    cell.interrupt("enough")
    with pytest.raises(Cancelled, match="enough"):
        cell.idle_step(NUMBER, 0)
    assert not cell.busy


def test_the_budget_begins_anew_with_each(cell) -> None:
    until = time.monotonic() + 0.4
    while time.monotonic() < until:  # longer than a budget
        assert cell.idle_step(NUMBER, 1) == 1
        time.sleep(0.01)


def test_one_that_calls_itself_is_refused_and_the_turn_is_free_afterwards(application, tmp_path) -> None:
    path = tmp_path / "me.wasm"
    path.write_bytes(guests.wat(CELL))
    keys = {"wasm": str(path), "name": "me", "consumes": ["me"], "provides": ["me"]}
    app = application(keys, strict_links=True, run=False)
    app.runtime.units["me"].boot()
    cell = app.runtime.cell("me")
    for _ in range(3):
        assert cell.idle_step(CALL_ITSELF, 0) == 4
    assert not cell.busy
    assert cell.call("f") is None


def test_threads_that_tick_and_call_never_meet_inside(cell) -> None:
    skipped = done = 0
    failures: list[Exception] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            try:
                cell.call("f", timeout=20)
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        if cell.idle_step(NUMBER, 1) is None:
            skipped += 1
        else:
            done += 1
        time.sleep(0)
    over.set()
    for thread in threads:
        thread.join(10)
    assert not failures
    assert skipped
    assert not cell.busy
    assert cell.idle_step(NUMBER, 1) == 1
