"""Ark modules that are frozen after what precedes their functions."""

from __future__ import annotations

import pytest

import guesthouse
from guesthouse import snapshots
from guesthouse.engine import wat_to_wasm
from guesthouse.engine.snapshot import SnapshotRefused, is_snapshot

MODULE = """(module
  (import "ark-module-run-v0" "module_run__is_ready" (func $ready (param i64 i32) (result i32)))
  (memory (export "memory") 1) (global $started (mut i32) (i32.const 0))
  (func (export "ark_register_panic_hook") (global.set $started (i32.add (global.get $started) (i32.const 1))))
  (func (export "ark_initialize") (global.set $started (i32.add (global.get $started) (i32.const 10))) {more})
  (func (export "run") (param i32 i32) (result i32) (global.get $started)))"""


@pytest.fixture
def host():
    with guesthouse.Host(workers=1) as made:
        yield made


def module(more=""):
    return wat_to_wasm(MODULE.format(more=more))


@pytest.mark.parametrize("snapshot", [False, True])
def test_what_precedes_a_function_runs_once(host, snapshot):
    guest = host.load(module(), name="m", grant=["ark"], snapshot=snapshot)
    assert (guest.interface, is_snapshot(guest.info)) == ("ark", snapshot)
    assert [guest.invoke(b"x").code for _ in range(3)] == [11] * 3
    assert guest.invoke(entry="run").code == 11


def test_naming_what_runs_anyway_runs_it_no_second_time(host):
    taken = snapshots.take(host, module(), "m", grant=["ark"], initialiser="ark_initialize")
    assert taken.after == "ark_initialize"
    assert host.load(taken.wasm, name="m", grant=["ark"]).invoke().code == 11


def test_a_module_that_looks_for_others_meanwhile_is_refused(host):
    reaching = module("(drop (call $ready (i64.const 1) (i32.const 0)))")
    with pytest.raises(SnapshotRefused, match="it calls ark-module-run-v0.module_run__is_ready"):
        snapshots.take(host, reaching, "m", grant=["ark"])
