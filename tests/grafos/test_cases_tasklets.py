"""Acceptance cases 12 and 13: tasklets, mocked and real (spec fabric.md 12)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

import guesthouse
from guesthouse.testing import (
    guests,
    mock_set_tasklet_result,
    mock_set_tasklet_submit_error,
)

REQUEST, RESULT = struct.Struct("<8I2Q2I"), struct.Struct("<iIQII")

#: A guest that submits what its input says: a request whose pointers count from the input's begin.
SUBMITTER = """
(module
  (import "fabricbios_cpu_v0" "tasklet_submit" (func $submit (param i32 i32) (result i32)))
  (memory (export "memory") 2 64)
  (func $relocate (param $at i32) (param $base i32)
    (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $base))))
  (func (export "tasklet_run") (param $in i32) (param $len i32) (param $out i32) (param $cap i32) (result i32)
    (call $relocate (local.get $in) (local.get $in))
    (call $relocate (i32.add (local.get $in) (i32.const 8)) (local.get $in))
    (call $relocate (i32.add (local.get $in) (i32.const 16)) (local.get $in))
    (i32.store (i32.add (local.get $in) (i32.const 24)) (i32.add (local.get $out) (i32.const 28)))
    (i32.store (local.get $out) (call $submit (local.get $in) (i32.add (local.get $out) (i32.const 4))))
    (i32.add (i32.const 28) (i32.load (i32.add (local.get $in) (i32.const 28))))))
"""

ECHO = guests.wat("""(module (memory (export "memory") 1)
  (func (export "tasklet_run") (param $in i32) (param $len i32) (param $out i32) (param $cap i32) (result i32)
    (memory.copy (local.get $out) (local.get $in) (local.get $len)) (local.get $len)))""")
LOOP = guests.wat("""(module (memory (export "memory") 1)
  (func (export "tasklet_run") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) (i32.const 0)))""")


def tasklet(body: str, extra: str = '(memory (export "memory") 1)') -> bytes:
    return guests.wat(f"""(module {extra}
      (func (export "tasklet_run") (param i32 i32 i32 i32) (result i32) {body}))""")


@dataclass
class Answer:
    status: int
    exit_code: int
    reason: int
    fuel: int
    output: bytes


@pytest.fixture
def submit(guest_host):
    guest = guest_host.load(
        guests.wat(SUBMITTER),
        name="submitter",
        grant=["grafos"],
        limits=guesthouse.Limits(wall="20s", memory="256MiB"),
        output_room=1 << 20,
    )

    def run(module, data=b"", *, entry=b"", room=64, fuel=0, memory=0, deadline=0, flags=0):
        at = REQUEST.size
        request = REQUEST.pack(
            at, len(module), at + len(module), len(entry), at + len(module) + len(entry), len(data),
            0, room, fuel, memory, deadline, flags,
        )  # fmt: skip
        answer = guest.call(request + module + entry + data)
        (status,) = struct.unpack_from("<i", answer)
        exit_code, length, used, reason, zero = RESULT.unpack_from(answer, 4)
        assert zero == 0
        assert answer[28 + length :] == bytes(room - length)
        return Answer(status, exit_code, reason, used, answer[28 : 28 + length])

    return run


@pytest.fixture
def real(mock_fabric):
    """Run tasklets instead of answering for them."""
    mock_fabric.tasklet = None


def test_case_12_the_mocked_result(submit):
    mock_set_tasklet_result(7, b"out")
    assert submit(b"no module at all") == Answer(0, 7, 0, 0, b"out")
    assert submit(b"", room=2).reason == 7
    mock_set_tasklet_submit_error(-10)
    assert submit(b"") == Answer(-10, 0, 0, 0, b"")
    mock_set_tasklet_submit_error(None)
    assert submit(b"").status == 0


def test_case_12_a_real_echo(submit, real):
    answer = submit(ECHO, b"to and fro")
    assert (answer.status, answer.reason, answer.exit_code, answer.output) == (0, 0, 0, b"to and fro")
    assert answer.fuel > 0


def test_case_13_an_endless_loop_uses_exactly_its_fuel(submit, real):
    for fuel in (1, 1000, 12_345):
        answer = submit(LOOP, fuel=fuel)
        assert (answer.status, answer.reason, answer.fuel) == (0, 2, fuel)
    assert submit(LOOP).fuel == 500_000


def test_case_13_memory_beyond_the_limit(submit, real):
    big = tasklet("(i32.const 0)", '(memory (export "memory") 600)')
    assert submit(big).reason == 3
    assert submit(big, memory=64 << 20).reason == 0
    assert submit(ECHO, b"x", memory=65_536).reason == 3  # no page for input and output


def test_case_13_missing_entries(submit, real):
    assert submit(ECHO, entry=b"other").reason == 6
    assert submit(ECHO, entry=b"memory").reason == 6
    assert submit(ECHO, entry=b"\xff").reason == 6
    wrong = guests.wat('(module (memory (export "memory") 1) (func (export "tasklet_run")))')
    assert submit(wrong).reason == 6
    assert submit(ECHO, b"named", entry=b"tasklet_run").output == b"named"


def test_fuel_is_the_same_in_every_run(submit, real):
    assert len({submit(ECHO, b"same input").fuel for _ in range(5)}) == 1


def test_ways_to_end(submit, real):
    assert submit(tasklet("unreachable")).reason == 1
    assert submit(b"\0asm junk").reason == 5
    unknown = '(import "env" "nobody" (func)) (memory (export "memory") 1)'
    assert submit(tasklet("(i32.const 0)", unknown)).reason == 5
    assert submit(ECHO, b"x" * 65, room=64).reason == 7
    assert submit(ECHO, b"x" * 64, room=64).reason == 0
    assert submit(tasklet("(i32.const -7)")).exit_code == -7
    slow = submit(LOOP, fuel=1 << 62, deadline=60)
    assert (slow.reason, slow.status) == (4, 0)
    assert submit(ECHO, flags=1).status == -7


def test_input_and_output_go_where_the_guest_allocates(submit, real):
    allocating = guests.wat("""(module (memory (export "memory") 1 1) (global $next (mut i32) (i32.const 1024))
      (func (export "ark_alloc") (param $size i32) (param i32) (result i32)
        (global.get $next) (global.set $next (i32.add (global.get $next) (local.get $size))))
      (func (export "tasklet_run") (param $in i32) (param $n i32) (param $out i32) (param i32) (result i32)
        (i32.store8 (local.get $out) (i32.eq (local.get $in) (i32.const 1024))) (i32.const 1)))""")
    assert submit(allocating, b"abc").output == b"\x01"


def test_a_child_has_the_tenants_leases_and_no_more_capabilities(guest_host, mock_fabric, submit, real):
    clock = tasklet(
        "(i32.wrap_i64 (call $t))",
        '(import "fabricbios_fbmu_v0" "unix_time_secs" (func $t (result i64))) (memory (export "memory") 1)',
    )
    mock_fabric.clock.set(5)
    assert submit(clock, room=5).output == bytes(5)
    free = tasklet(
        "(call $free (i64.const 1))",
        '(import "fabricbios_fbmu_v0" "fbmu_free" (func $free (param i64) (result i32))) (memory (export "memory") 1)',
    )
    assert submit(free).exit_code == -8
    poor = guest_host.load(guests.wat(SUBMITTER), name="poor", grant=["grafos.tasklet"])
    at = REQUEST.size
    request = REQUEST.pack(at, len(free), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert RESULT.unpack_from(poor.call(request + free), 4)[0] == -5


def test_tasklets_nest_four_deep_at_most(submit, real):
    module = guests.wat(SUBMITTER)

    def nested(depth: int) -> bytes:
        if depth == 0:
            return (
                REQUEST.pack(REQUEST.size, len(ECHO), 0, 0, REQUEST.size + len(ECHO), 0, 0, 8, 0, 0, 0, 0)
                + ECHO
            )
        inner = nested(depth - 1)
        at = REQUEST.size
        return (
            REQUEST.pack(
                at, len(module), 0, 0, at + len(module), len(inner), 0, 64 + 100 * depth, 1 << 40, 0, 0, 0
            )
            + module
            + inner
        )

    def statuses(depth: int) -> list[int]:
        answer = submit(module, nested(depth), room=4096, fuel=1 << 40).output
        found = []
        while len(answer) >= 28:
            found.append(struct.unpack_from("<i", answer)[0])
            answer = answer[28:]
        return found[: depth + 1]

    assert statuses(2) == [0, 0, 0]
    assert statuses(3)[-1] == -4


def test_a_wasi_program_runs_with_input_and_output_but_without_clock(submit, real):
    program = guests.wat("""(module
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $random (i32.add (i32.const 100) (i32.load (i32.const 8))) (i32.const 4)))
        (i32.store (i32.const 4) (i32.add (i32.load (i32.const 8)) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (call $clock (i32.const 0) (i64.const 0) (i32.const 16)))))""")
    first, second, other = submit(program, b"stdin"), submit(program, b"stdin"), submit(program, b"STDIN")
    assert (first.status, first.reason, first.exit_code) == (0, 0, 58)
    assert first.output[:5] == b"stdin"
    assert len(first.output) == 9
    assert first == second  # random bytes and fuel too
    assert first.output[5:] != other.output[5:]
