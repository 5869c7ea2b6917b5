"""Guests that are initialised once and start from a snapshot ever after (faasm.md 3.2, 5.3)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from guesthouse import snapshots
from guesthouse.engine import read, wat_to_wasm
from guesthouse.engine.snapshot import SnapshotRefused, is_snapshot
from guesthouse.errors import CallError, LoadError
from guesthouse.testing import guests

CHECK = "guests/faasm/snapshot_check.c"


@pytest.mark.parametrize("snapshot", [False, True])
def test_case_snapshot_check_restores_what_the_zygote_wrote(load, snapshot):
    guest = load("snapshot_check", guests.build(CHECK), snapshot=snapshot)
    assert is_snapshot(guest.info) is snapshot
    for _ in range(3):
        assert guest.call() == b"200 1 1"  # one construction, one zygote, untouched by the last call


def test_a_snapshot_is_a_file_like_any_module(tmp_path, load):
    path = tmp_path / "frozen.wasm"
    command = [sys.executable, "-m", "guesthouse.cli", "snapshot", str(guests.build(CHECK)), "-o", str(path),
               "--grant", "faasm"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "frozen.wasm" in done.stdout
    assert is_snapshot(read(path.read_bytes()))
    assert load("frozen", path).call() == b"200 1 1"


def test_constructors_run_once_in_a_snapshot_without_a_level_below_start(tmp_path, load):
    path = tmp_path / "frozen.wasm"
    command = [sys.executable, "-m", "guesthouse.cli", "snapshot", str(guests.build("guests/faasm/zygote_start.c")),
               "-o", str(path), "--grant", "faasm", "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["after"] == "its zygote"
    assert load("frozen", path).call() == b"1 10 1 function.wasm"


def test_a_named_export_can_warm_a_guest_up(host):
    wasm = wat_to_wasm("""(module (memory (export "memory") 1) (global $warm (mut i32) (i32.const 0))
      (func (export "warm") (result i32) (global.set $warm (i32.const 5)) (i32.const 0))
      (func (export "cold") (result i32) (i32.const 3))
      (func (export "get") (result i32) (global.get $warm)))""")
    frozen = snapshots.take(host, wasm, "w", initialiser="warm").wasm
    assert "warm" not in read(frozen).exports
    assert host.load(frozen, name="w").invoke(entry="get").code == 5
    with pytest.raises(SnapshotRefused, match="cold returned 3"):
        snapshots.take(host, wasm, "w", initialiser="cold")
    with pytest.raises(LoadError, match="no function 'hot'"):
        snapshots.take(host, wasm, "w", initialiser="hot")


HOLDER = wat_to_wasm("""(module
  (import "env" "__faasm_read_state_ptr" (func $map (param i32 i32) (result i32)))
  (memory (export "memory") 1 100) (data (i32.const 16) "k\\00")
  (func (export "_faasm_zygote") (result i32) (drop (call $map (i32.const 16) (i32.const 100))) (i32.const 0))
  (func (export "_start")))""")


def test_what_an_instance_holds_outside_of_its_memory_is_not_lost_silently(load):
    with pytest.raises(SnapshotRefused, match="1 pointers into state"):
        load("holder", HOLDER, snapshot=True)


def test_a_zygote_that_fails_fails_the_snapshot(load):
    wasm = wat_to_wasm("""(module (memory (export "memory") 1)
      (func (export "_faasm_zygote") (result i32) (i32.const 7)) (func (export "_start")))""")
    with pytest.raises(CallError, match="7"):
        load("failing", wasm, snapshot=True)


def test_modules_that_cannot_be_frozen_are_refused_with_the_reason(host):
    wasm = wat_to_wasm('(module (table 1 externref) (func (export "_start")))')
    with pytest.raises(SnapshotRefused, match=r"guest 'odd'.*something else than functions"):
        snapshots.take(host, wasm, "odd")


def test_a_guest_that_only_its_zygote_marks_stays_a_faasm_function(load):
    wasm = wat_to_wasm("""(module (memory (export "memory") 1) (global $ready (mut i32) (i32.const 0))
      (func (export "_faasm_zygote") (result i32) (global.set $ready (i32.const 5)) (i32.const 0))
      (func (export "__main_void") (result i32) (global.get $ready)))""")
    guest = load("marked", wasm, snapshot=True)
    assert guest.interface == "faasm"
    assert guest.invoke().code == 5
