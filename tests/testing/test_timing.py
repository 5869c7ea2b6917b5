"""In a test that asks for a virtual clock every guest goes by it, and to sleep takes no time."""

from __future__ import annotations

import struct
import time

import pytest

import guesthouse
from guesthouse.testing import VirtualClock, engine, guests, mock_advance_time_secs

START = 1_700_000_000
SECOND = 10**9

CLOCKS = """(module
  (import "{module}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "{module}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "{module}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\40\\00\\00\\00\\40\\00\\00\\00")
  (func $show
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 64)))
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 72)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $sleep (param $clock i32) (param $until i64) (param $flags i32) (param $extra i32)
    (i64.store (i32.const 1024) (i64.const 11))
    (i32.store (i32.add (i32.const 1040) (local.get $extra)) (local.get $clock))
    (i64.store (i32.add (i32.const 1048) (local.get $extra)) (local.get $until))
    (i32.store16 (i32.add (i32.const 1064) (local.get $extra)) (local.get $flags))
    (i32.store (i32.const 64) (call $poll (i32.const 1024) (i32.const 80) (i32.const 1) (i32.const 68))))
  (func (export "_start")
    (call $show)
    (call $sleep (i32.const 1) (i64.const 3600_000_000_000) (i32.const 0) (i32.const {extra}))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $show)
    (call $sleep (i32.const 0) (i64.const {until}) (i32.const 1) (i32.const {extra}))
    (call $show)))"""


def shown(module: str, extra: int, host: guesthouse.Host, until: int) -> list[tuple[int, ...]]:
    text = CLOCKS.format(module=module, extra=extra, until=until)
    guest = host.load(guests.wat(text), name="clocks", grant=["wasi", "wasix"])
    out = guest.run().stdout
    assert len(out) == 4 * 64
    return [
        struct.unpack_from(form, out, 64 * number) for number, form in enumerate(["<QQ", "<II", "<QQ", "<QQ"])
    ]


@pytest.mark.parametrize(
    ("module", "extra"), [("wasi_snapshot_preview1", 0), ("wasi_unstable", 8), ("wasix_32v1", 0)]
)
def test_clocks_stand_still_and_sleeping_moves_them(guest_host, virtual_clock, module, extra):
    virtual_clock.set_ns(START * SECOND + 7)
    begun = time.monotonic()
    first, (failed, events), second, third = shown(module, extra, guest_host, (START + 90_000) * SECOND)
    assert time.monotonic() - begun < 60
    assert (failed, events) == (0, 1)
    assert first == (START * SECOND + 7,) * 2
    assert second == ((START + 3600) * SECOND + 7,) * 2
    assert third == ((START + 90_000) * SECOND,) * 2
    assert virtual_clock.now_ns() == (START + 90_000) * SECOND


def test_without_the_clock_time_is_real(guest_host):
    text = CLOCKS.replace("3600_000_000_000", "1000").format(
        module="wasi_snapshot_preview1", extra=0, until=START
    )
    out = guest_host.load(guests.wat(text), name="clocks").run().stdout
    assert abs(struct.unpack_from("<Q", out)[0] / SECOND - time.time()) < 60


def test_threads_of_wasix_sleep_at_once(guest_host, virtual_clock):
    text = """(module
      (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") (drop (call $sleep (i64.const 5000000000)))))"""
    assert guest_host.load(guests.wat(text), name="sleeper", grant=["wasix"]).run().code == 0
    assert virtual_clock.now() == START + 5


def test_leases_and_programs_go_by_one_clock(guest_host, virtual_clock, mock_fabric):
    text = """(module
      (import "fabricbios_fbmu_v0" "fbmu_alloc" (func $alloc (param i64 i64 i32) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_read_lease" (func $read (param i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $sleep (param $seconds i64)
        (i32.store (i32.const 1040) (i32.const 1))
        (i64.store (i32.const 1048) (i64.mul (local.get $seconds) (i64.const 1000000000)))
        (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 8))))
      (func (export "run") (result i32)
        (drop (call $alloc (i64.const 64) (i64.const 60) (i32.const 64)))
        (call $sleep (i64.const 59))
        (if (call $read (i64.load (i32.const 64)) (i64.const 0) (i32.const 0) (i32.const 1))
          (then (return (i32.const 1))))
        (call $sleep (i64.const 1))
        (call $read (i64.load (i32.const 64)) (i64.const 0) (i32.const 0) (i32.const 1))))"""
    guest = guest_host.load(guests.wat(text), name="program", grant=["grafos"])
    assert guest.invoke().code == -2
    assert mock_fabric.clock is virtual_clock
    mock_advance_time_secs(40)
    assert virtual_clock.now() == START + 100


def test_a_clock_that_is_set_back_is_monotonic_all_the_same(guest_host, virtual_clock):
    text = """(module
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (import "__host" "__none" (func $none)) (memory (export "memory") 1)
      (func (export "now") (param $id i32) (result i64)
        (drop (call $clock (local.get $id) (i64.const 1) (i32.const 8))) (i64.load (i32.const 8))))"""
    text = text.replace('(import "__host" "__none" (func $none))', "")
    guest = guest_host.load(guests.wat(text), name="clocks", interface="wasi")
    instance = guest.open(None)
    instance.start()
    assert [instance.invoke("now", clock) for clock in (0, 1)] == [START * SECOND] * 2
    virtual_clock.advance(-100)
    assert [instance.invoke("now", clock) for clock in (0, 1)] == [(START - 100) * SECOND, START * SECOND]
    virtual_clock.advance(300)
    assert [instance.invoke("now", clock) for clock in (0, 1)] == [(START + 200) * SECOND] * 2
    assert instance.invoke("now", 2) < 3600 * SECOND  # processor time is what it is
    guest.dismiss(instance, None)


def test_a_program_in_c_sleeps_through_an_hour(guest_host, virtual_clock, tmp_path):
    source = tmp_path / "sleeper.c"
    source.write_text("""// build: command
    #include <stdio.h>
    #include <time.h>
    #include <unistd.h>
    int main(void) {
        time_t begun = time(NULL);
        sleep(3600);
        printf("%ld\\n", (long)(time(NULL) - begun));
        return 0;
    }""")
    guest = guest_host.load(guests.build(source), name="sleeper")
    assert guest.run().stdout == b"3600\n"
    assert virtual_clock.now() == START + 3600


def test_a_host_of_ones_own_may_have_the_clock():
    clock = VirtualClock(START)
    with guesthouse.Host(engine=engine(clock=clock)) as host:
        assert shown("wasi_snapshot_preview1", 0, host, 0)[2] == ((START + 3600) * SECOND,) * 2


def test_what_never_ends_is_for_the_deadline(guest_host, virtual_clock):
    text = CLOCKS.replace("3600_000_000_000", "-1").format(module="wasi_snapshot_preview1", extra=0, until=0)
    limits = guesthouse.Limits(wall="300ms")
    guest = guest_host.load(guests.wat(text), name="forever", limits=limits)
    with pytest.raises(guesthouse.DeadlineExceeded):
        guest.run()
    assert virtual_clock.now() == START
