"""Faults reach every host function of every interface, whatever it is made of, and are counted exactly."""

from __future__ import annotations

import threading

import pytest

import guesthouse
from guesthouse import ark, pulp
from guesthouse.engine.functions import Constant, HostFunction, Trapping
from guesthouse.testing import Faults, current_faults, engine, guests, inject

WRITE = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "hello")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""

ECHO = """(module
  (import "env" "__faasm_read_input" (func $in (param i32 i32) (result i32)))
  (import "env" "__faasm_write_output" (func $out (param i32 i32)))
  (import "env" "__faasm_migrate_point" (func $migrate (param i32 i32)))
  (import "env" "__tless_is_enabled" (func $enclave (result i32)))
  (import "env" "MPI_Wtime" (func $wtime (result f64)))
  (memory (export "memory") 1)
  (func (export "_start") (call $out (i32.const 8) (call $in (i32.const 8) (i32.const 100))))
  (func (export "migrate") (call $migrate (i32.const 0) (i32.const 0)))
  (func (export "enclave") (result i32) (call $enclave))
  (func (export "late") (result i32) (i32.trunc_f64_s (call $wtime))))"""


def test_a_command_of_wasi(guest_host, faults):
    guest = guest_host.load(guests.wat(WRITE), name="writer")
    assert guest.run().stdout == b"hello"
    inject("fd_write", code=29)
    first, second = guest.run(), guest.run()
    assert (first.code, first.stdout, second.code, second.stdout) == (29, b"", 0, b"hello")
    assert faults.count("fd_write") == faults.count("wasi_snapshot_preview1.fd_write") == 1


def test_a_function_of_faasm(guest_host, faults):
    guest = guest_host.load(guests.wat(ECHO), name="echo")
    inject("__faasm_read_input", code=2)
    assert guest.call(b"abc") == b"\0\0"
    inject("__faasm_write_output")  # has no result: it does nothing
    assert guest.call(b"abc") == b""
    assert guest.call(b"abc") == b"abc"


def test_constants_traps_and_floats(guest_host, faults):
    guest = guest_host.load(guests.wat(ECHO), name="echo")
    inject("__tless_is_enabled", code=7)
    assert [guest.invoke(entry="enclave").code for _ in range(2)] == [7, 0]
    inject("__faasm_migrate_point", error=OSError("moved"))
    with pytest.raises(OSError, match="moved"):
        guest.call(entry="migrate")
    guest.call(entry="migrate")
    inject("MPI_Wtime", code=2.5)
    assert guest.invoke(entry="late").code == 2
    with pytest.raises(guesthouse.Trap, match="MPI"):
        guest.call(entry="late")


def test_an_ark_module(guest_host, faults):
    modules = ark.Modules(guest_host)
    modules.register_module("worker", guests.load("guests/ark/worker.c"))
    assert guest_host.call("worker", b"abc", entry="upper") == b"ABC"
    inject("core__return_slice", error=OSError("no answer"))
    with pytest.raises(OSError, match="no answer"):
        guest_host.call("worker", b"abc", entry="upper")
    assert guest_host.call("worker", b"abc", entry="upper") == b"ABC"


def test_a_program_of_wasix(guest_host, faults):
    text = """(module
      (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
      (import "wasix_32v1" "proc_exit2" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "_start") (call $exit (call $sleep (i64.const 0)))))"""
    guest = guest_host.load(guests.wat(text), name="sleeper", grant=["wasix"])
    inject("thread_sleep", code=28)
    assert [guest.run().code for _ in range(2)] == [28, 0]


CELL = """(module
  (import "pulp" "fs_mkdir_all" (func $make (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "pulp_free") (param i32 i32))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_on_call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $make (i32.const 0) (i32.const 0)))
  (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))"""


def test_a_pulp_cell_with_and_without_a_host(guest_host, cell_surroundings, faults):
    inject("fs_mkdir_all", code=77, times=2)
    assert guest_host.load(guests.wat(CELL), name="cell").invoke(entry="make").code == 77
    with pulp.Cell.load(guests.wat(CELL), pulp.registry(), surroundings=cell_surroundings) as cell:
        cell.init()
        with pytest.raises(pulp.CellFailed, match="77"):
            cell.call("make")
    assert faults.count("pulp.fs_mkdir_all") == 2


def test_a_count_is_of_all_guests_together_and_of_all_their_threads(guest_host, faults):
    loop = """(module (import "fabricbios_fbmu_v0" "fbmu_free" (func $free (param i64) (result i32)))
      (func (export "run") (result i32) (local $n i32) (local $failed i32)
        (local.set $n (i32.const 5000))
        (loop $more
          (if (i32.eq (call $free (i64.const 1)) (i32.const -99))
            (then (local.set $failed (i32.add (local.get $failed) (i32.const 1)))))
          (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $failed)))"""
    faults.inject("fbmu_free", code=-99, times=7001, after=900)
    loaded = [guest_host.load(guests.wat(loop), name=f"g{number}", grant=["grafos"]) for number in range(4)]
    codes: list[int] = []
    threads = [threading.Thread(target=lambda g=guest: codes.append(g.invoke().code)) for guest in loaded]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(codes) == faults.count("fbmu_free") == 7001


def test_one_modules_function_can_be_meant(guest_host, faults):
    both = """(module
      (import "fabricbios_fbmu_v0" "unix_time_secs" (func $m (result i64)))
      (import "fabricbios_fbbu_v0" "unix_time_secs" (func $b (result i64)))
      (func (export "run") (result i32) (i32.wrap_i64 (i64.sub (call $m) (call $b)))))"""
    guest = guest_host.load(guests.wat(both), name="both", grant=["grafos"])
    faults.inject("fabricbios_fbmu_v0.unix_time_secs", code=1_700_000_009)
    assert guest.invoke().code == 9
    assert faults.count("unix_time_secs") == 1
    assert faults.count("fabricbios_fbbu_v0.unix_time_secs") == 0
    faults.inject("unix_time_secs", code=5, times=-1)
    faults.inject("fabricbios_fbbu_v0.unix_time_secs", code=2)
    assert [guest.invoke().code for _ in range(2)] == [3, 0]
    faults.clear()
    assert guest.invoke().code == 0


def test_what_is_not_granted_can_be_made_to_answer(guest_host, faults):
    text = """(module (import "fabricbios_fbmu_v0" "fbmu_hello" (func $hello (result i32)))
      (func (export "run") (result i32) (call $hello)))"""
    guest = guest_host.load(guests.wat(text), name="poor")
    faults.inject("fbmu_hello", code=0)
    assert [guest.invoke().code for _ in range(2)] == [0, -5]


def test_a_slip_in_a_name_is_told(faults):
    with pytest.raises(ValueError, match="no host function 'fbmu_helo'; did you mean fbmu_hello"):
        inject("fbmu_helo")
    with pytest.raises(ValueError, match="no host function 'qwertz' "):
        inject("qwertz")


def test_functions_of_ones_own_capabilities_can_fail(faults):
    def twice(call, value: guesthouse.i32) -> guesthouse.i32:
        """Double a number."""
        return 2 * value

    registry = guesthouse.Registry().always(guesthouse.capability("acme.math", twice))
    with guesthouse.Host(engine=engine(), registry=registry) as host:
        text = """(module (import "acme" "twice" (func $twice (param i32) (result i32)))
          (func (export "run") (result i32) (call $twice (i32.const 4))))"""
        guest = host.load(guests.wat(text), name="acme", interface="grafos")
        faults.inject("twice", code=3)
        assert [guest.invoke().code for _ in range(2)] == [3, 8]


@pytest.mark.parametrize("how", [Constant(5), Trapping("why not")])
def test_rows_of_every_kind_stay_what_they_are(how):
    from guesthouse.engine import Engine

    row = HostFunction("", "m", "f", "", "i", how, "")
    text = '(module (import "m" "f" (func $f (result i32))) (func (export "run") (result i32) (call $f)))'
    with Faults() as faults:
        own = Engine()
        template = own.compile(guests.wat(text)).link({("m", "f"): faults.cover(row)})
        with template.open(memory_limit=1 << 20, output_limit=1 << 10) as instance:
            instance.start()
            if isinstance(how, Constant):
                assert instance.invoke("run") == 5
            else:
                with pytest.raises(guesthouse.Trap, match="why not"):
                    instance.invoke("run")
        own.close()


def test_faults_of_one_test_are_gone_in_the_next():
    outer = current_faults()
    with Faults() as inner:
        assert current_faults() is inner
        inject("fbmu_hello")
    assert current_faults() is outer
    assert outer.count("fbmu_hello") == 0
