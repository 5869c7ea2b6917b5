"""Threads: cases 5 to 8, 10, 24 and 30."""

from __future__ import annotations

import threading
import time

import pytest
from tests.wasix.driver import PREVIEW1, Driver

import guesthouse
from guesthouse.testing import guests
from guesthouse.wasix import PluggableRuntime, ThreadedRuntime, WasiExit

LIMITS = guesthouse.Limits(memory="128MiB", wall="60s", threads=64)


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "guest-thread"]


class Counting(ThreadedRuntime):
    def __init__(self, **options):
        super().__init__(**options)
        self.ids, self.spawned, self.yields = [], 0, []

    def thread_generate_id(self):
        self.ids.append(super().thread_generate_id())
        return self.ids[-1]

    def thread_spawn(self, callback):
        self.spawned += 1
        super().thread_spawn(callback)

    def yield_now(self, thread_id):
        self.yields.append(thread_id)


SHAPES = {
    "A": ("thread_spawn iiIiie", (0x100, 13, 5, 0, 0x200)),
    "B": ("thread_spawn IIIiie", (5, 0, 0, 0, 0x200)),
    "C": ("thread_spawn iie", (0x300, 0x200)),
    "D": ("wasi:thread-spawn ii", (0x300,)),
}
ENTRIES = """(func (export "wasi_thread_start") (param i32 i32)) (func (export "_start_thread") (param i32 i32))
    (func (export "_thread_start") (param i64))"""


@pytest.mark.parametrize("more", ["", ENTRIES], ids=["without-entries", "with-entries"])
@pytest.mark.parametrize("shape", SHAPES)
def test_case_05_no_threads_by_default(host, shape, more):
    line, arguments = SHAPES[shape]
    with Driver(host, [line], more=more, runtime=PluggableRuntime()) as guest:
        guest.write(0x100, b"_thread_start")
        guest.write(0x200, b"\xaa" * 4)
        before = threading.active_count()
        result = getattr(guest, line.split()[0].rpartition(":")[2])(*arguments)
        assert result == (2**32 - 58 if shape == "D" else 58)
        assert guest.read(0x200, 4) == b"\xaa" * 4
        assert threading.active_count() == before


def test_case_05_shape_a_knows_one_method(host):
    with Driver(host, ["thread_spawn iiIiie"], more=ENTRIES, runtime=ThreadedRuntime()) as guest:
        guest.write(0x100, b"_other_method")
        assert guest.thread_spawn(0x100, 13, 5, 0, 0x200) == 76
        guest.write(0x100, b"_thread_start")
        assert guest.thread_spawn(0x100, 13, 5, 2, 0x200) == 28


@pytest.mark.parametrize("shape", ["C", "D"])
def test_case_06_threads_share_memory(host, shape):
    runtime = Counting()
    program = guests.build("guests/wasix/spawn.c")
    guest = host.load(program, grant=["wasix.threads"], limits=LIMITS, runtime=runtime, replace=True)
    ended = guest.run([shape, "64", "16"])
    assert (ended.code, ended.stdout) == (0, b"wrong 0\n")
    assert runtime.spawned == 64 * 16
    assert len(runtime.ids) <= 64 * 16 + 1  # the main thread's own id is drawn again
    assert len(set(runtime.ids)) == len(runtime.ids)
    assert not alive()


@pytest.mark.parametrize(("generation", "expected"), [("G1", 0), ("G2", 0), ("G3", 1)])
def test_case_07_id_of_the_main_thread(host, generation, expected):
    with Driver(host, ["thread_id ie", "thread_join ie"], generation=generation) as guest:
        assert (guest.thread_id(0), guest.u32(0)) == (0, expected)
        assert guest.thread_join(12345) == 0


@pytest.fixture
def threads(host):
    guest = host.load(
        guests.build("guests/wasix/threads.wat"), grant=["wasix.threads"], limits=LIMITS, replace=True
    )
    return lambda mode, **options: guest.run([mode], **options)


def test_case_07_joining_waits(threads):
    started = time.monotonic()
    assert threads("j").code == 0
    assert 0.05 <= time.monotonic() - started < 5


def test_case_08_sleeping_yields(host):
    runtime = Counting()
    functions = ["thread_sleep Ie", "sched_yield e"]
    with Driver(host, functions, runtime=runtime, generation="G1") as guest:
        for _ in range(20):  # a machine that oversleeps takes fewer slices, and longer: once must be right
            runtime.yields.clear()
            started = time.monotonic()
            assert guest.thread_sleep(30_000_000) == 0
            spent = time.monotonic() - started
            assert spent >= 0.03
            assert set(runtime.yields) == {0}
            if len(runtime.yields) >= 3 and spent < 0.2:
                break
        else:
            raise AssertionError(f"{len(runtime.yields)} yields in {spent} s")
        runtime.yields.clear()
        assert guest.sched_yield() == 0
        assert runtime.yields == [0]


class Ending(PluggableRuntime):
    def yield_now(self, thread_id):
        raise WasiExit(17)


def test_the_idle_hook_can_end_the_guest(host):
    from guesthouse.engine import Exit

    with Driver(host, ["sched_yield e"], runtime=Ending()) as guest, pytest.raises(Exit) as ended:
        guest.sched_yield()
    assert ended.value.code == 17


def test_a_sleep_ends_with_the_call(host):
    with Driver(host, ["thread_sleep Ie"]) as guest:
        timer = threading.Timer(0.05, guest.instance.cancel)
        started = time.monotonic()
        timer.start()
        with pytest.raises(guesthouse.Cancelled):
            guest.thread_sleep(60 * 10**9)
        assert time.monotonic() - started < 1
        timer.join()


FUTEX = ["futex_wait iiiie", "futex_wake iie", "futex_wake_all iie"]


def test_case_10_futex_alone_honours_the_timeout(host):
    import struct

    with Driver(host, FUTEX) as guest:
        guest.write(0, struct.pack("<I", 5))
        guest.write(32, struct.pack("<B7xQ", 1, 40_000_000))
        started = time.monotonic()
        assert guest.futex_wait(0, 5, 32, 64) == 0
        assert time.monotonic() - started >= 0.04
        assert guest.read(64, 1) == b"\0"
        assert guest.futex_wait(0, 6, 32, 64) == 0
        assert guest.read(64, 1) == b"\1"
        assert guest.futex_wake(0, 64) == 0
        assert guest.read(64, 1) == b"\0"
        assert guest.futex_wait(2, 6, 32, 64) == 28
        assert guest.futex_wait(2**32 - 4, 6, 32, 64) == 21


WAITERS = """
(module
  (import "env" "memory" (memory 1 4 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
  (import "wasix_32v1" "futex_wait" (func $wait (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "futex_wake" (func $wake (param i32 i32) (result i32)))
  (import "wasix_32v1" "futex_wake_all" (func $wake_all (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "wasi_thread_start") (param i32 i32)
    (if (call $wait (i32.const 64) (i32.const 0) (i32.const 128) (i32.add (i32.const 256) (local.get 1)))
      (then (unreachable)))
    (drop (i32.atomic.rmw.add (i32.const 512) (i32.const 1))))
  (func $pause (drop (call $sleep (i64.const 60000000))))
  (func $expect (param i32)
    (if (i32.ne (i32.atomic.load (i32.const 512)) (local.get 0)) (then (call $exit (i32.add (local.get 0) (i32.const 10))))))
  (func (export "_start")
    (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 1)))
    (drop (call $spawn (i32.const 2))) (drop (call $spawn (i32.const 3)))
    (call $pause) (call $expect (i32.const 0))
    (drop (call $wake (i32.const 64) (i32.const 300)))
    (call $pause) (call $expect (i32.const 1))
    (drop (call $wake_all (i32.const 64) (i32.const 301)))
    (call $pause) (call $expect (i32.const 4))
    (call $exit (i32.ne (i32.load (i32.const 256)) (i32.const 0x01010101)))))
"""


def test_case_10_futex_wakes_one_and_all(host):
    guest = host.load(guests.wat(WAITERS), name="futex", grant=["wasix.threads"], limits=LIMITS, replace=True)
    assert guest.run().code == 0


def test_case_24_threads_share_descriptors(threads, tmp_path):
    (tmp_path / "file").write_text("0123456789")
    assert threads("f", dirs={"/": str(tmp_path)}).code == 0


@pytest.mark.parametrize(("mode", "code"), [("e", 3), ("w", 5), ("x", 0), ("m", 0)])
def test_case_30_how_a_program_ends(threads, mode, code):
    started = time.monotonic()
    assert threads(mode).code == code
    assert time.monotonic() - started < 2
    assert not alive()


def test_case_30_a_trap_in_a_thread_ends_the_program(threads):
    with pytest.raises(guesthouse.Trap, match="unreachable"):
        threads("t")
    assert not alive()


def test_case_30_main_returns_while_a_thread_spins(threads):
    started = time.monotonic()
    assert threads("s").code == 0
    assert time.monotonic() - started < 2
    assert not alive()


def test_ending_one_program_leaves_others_alone(threads):
    results = []
    other = threading.Thread(target=lambda: results.append(threads("j").code))
    other.start()
    assert threads("s").code == 0
    other.join()
    assert results == [0]


def test_threads_are_bounded(host):
    limits = guesthouse.Limits(memory="128MiB", wall="20s", threads=8)
    guest = host.load(
        guests.build("guests/wasix/spawn.c"), name="few", grant=["wasix.threads"], limits=limits, replace=True
    )
    ended = guest.run(["D", "9", "1"])
    assert (ended.code, ended.stdout) == (2, b"spawn: -6\n")
    assert not alive()


def test_a_deadline_ends_all_threads(host):
    guest = host.load(
        guests.build("guests/wasix/threads.wat"),
        name="late",
        grant=["wasix.threads"],
        limits=LIMITS,
        replace=True,
    )
    with pytest.raises(guesthouse.DeadlineExceeded):
        guest.run(["w"], wall=0.005)  # the main thread waits in memory, the other one sleeps
    assert not alive()


def test_shared_memory_needs_the_grant(host):
    with pytest.raises(guesthouse.MissingImports) as refused:
        host.load(guests.build("guests/wasix/threads.wat"), name="ungranted")
    assert refused.value.imports[0][2] == "wasix.threads"


def test_signals_reach_the_handler_at_a_host_call(host):
    handler = """(global $seen (mut i32) (i32.const 0))
      (func (export "__wasm_signal") (param i32) (global.set $seen (local.get 0)))
      (func (export "seen") (result i32) (global.get $seen))"""
    functions = ["thread_signal iie", "sched_yield e", "proc_raise ie", f"{PREVIEW1}:fd_tell iie"]
    with Driver(host, functions, more=handler) as guest:
        assert guest.thread_signal(1, 10) == 0
        assert guest.seen() == 0
        assert guest.sched_yield() == 0
        assert guest.seen() == 10
        assert guest.proc_raise(12) == 0
        assert guest.seen() == 12
        assert guest.thread_signal(99, 10) == 71


def test_thread_local_values(host):
    functions = [
        "thread_local_create Iie",
        "thread_local_destroy ie",
        "thread_local_set iIe",
        "thread_local_get iie",
    ]
    with Driver(host, functions) as guest:
        assert guest.thread_local_create(7, 0) == 0
        key = guest.u32(0)
        assert (guest.thread_local_get(key, 8), guest.u64(8)) == (0, 0)
        assert guest.thread_local_set(key, 2**63) == 0
        assert (guest.thread_local_get(key, 8), guest.u64(8)) == (0, 2**63)
        assert guest.thread_local_destroy(key) == 0
        assert guest.thread_local_set(key, 1) == 28
