"""Functions that call functions: what a cold call, a chained call and a fan-out cost, end to end."""

from __future__ import annotations

import time
from collections.abc import Callable

from guesthouse.engine import wat_to_wasm
from guesthouse.host import Host
from guesthouse.limits import Limits
from guesthouse.testing import guests

#: Puts out its input.
ECHO = """(module
  (import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))
  (import "env" "__faasm_write_output" (func $output (param i32 i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (call $output (i32.const 0) (call $input (i32.const 0) (i32.const 65536)))))"""

#: Chains `echo` as often as its input says, and waits for each.
CHAIN = """(module
  (import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))
  (import "env" "__faasm_chain_name" (func $chain (param i32 i32 i32) (result i32)))
  (import "env" "__faasm_await_call" (func $await (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "echo\\00")
  (func (export "_start") (local $n i32)
    (drop (call $input (i32.const 0) (i32.const 4)))
    (local.set $n (i32.load (i32.const 0)))
    (loop $more
      (if (call $await (call $chain (i32.const 16) (i32.const 32) (i32.const 8))) (then unreachable))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"""

#: How many functions `fan` starts.
FANNED = 8
#: Starts eight functions by pointer, each counting for some milliseconds, and waits for all.
FAN = """(module
  (import "env" "__faasm_chain_ptr" (func $chain (param i32 i32 i32) (result i32)))
  (import "env" "__faasm_await_call" (func $await (param i32) (result i32)))
  (memory (export "memory") 1)
  (table (export "__indirect_function_table") 2 funcref) (elem (i32.const 1) $count)
  (func $count (export "count") (result i32) (local $n i64)
    (loop $more
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $more (i64.lt_u (i64.rem_u (local.get $n) (i64.const 3000017)) (i64.const 3000016))))
    (i32.const 0))
  (func (export "_start") (local $i i32)
    (loop $start
      (i32.store (local.get $i) (call $chain (i32.const 1) (i32.const 0) (i32.const 0)))
      (br_if $start (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 32))))
    (loop $wait
      (local.set $i (i32.sub (local.get $i) (i32.const 4)))
      (if (call $await (i32.load (local.get $i))) (then unreachable))
      (br_if $wait (local.get $i)))))"""


def _host(workers: int) -> Host:
    host = Host(workers=workers, limits=Limits(wall=None, children=1 << 24))
    for name, text in (("echo", ECHO), ("chain", CHAIN), ("fan", FAN)):
        host.load(wat_to_wasm(text), name=name, grant=["faasm.chain"])
    return host


def cold_call(host: Host, name: str = "echo") -> Callable[[int], float]:
    """Return what takes the time of `n` isolated calls of an echo function, one after the other."""
    guest = host.guest(name)

    def spend(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            output = guest.call(b"12345678")
        spent = time.perf_counter() - begun
        assert output == b"12345678"
        return spent

    return spend


def chained_call(host: Host) -> Callable[[int], float]:
    """Return what takes the time of one function that chains `n` others, waiting for each."""
    guest = host.guest("chain")

    def spend(n: int) -> float:
        begun = time.perf_counter()
        guest.call(n.to_bytes(4, "little"))
        return time.perf_counter() - begun

    return spend


def load_in_c(host: Host) -> None:
    """Load the echo function as a C program, with its libc, stack and allocator: ``echo in C``.

    Raises:
        BuildError: there is no compiler, or no checkout with its source.
    """
    host.load(guests.load("guests/faasm/echo.c"), name="echo in C")


def fan_out(*, batches: int) -> tuple[float, float]:
    """Measure fan-outs of eight pointer calls.

    Returns:
        How much faster two workers finish one than one worker does, and how long that one takes against
        eight such calls made one after the other without any fan-out.
    """
    with _host(1) as one, _host(2) as two:
        ways: tuple[Callable[[], object], ...] = (
            lambda: one.submit("fan").result().unwrap(),
            lambda: two.submit("fan").result().unwrap(),
            lambda: [one.call("fan", entry="count") for _ in range(FANNED)],
        )
        best = [float("inf")] * len(ways)
        for _ in range(max(3, batches)):
            for number, way in enumerate(ways):  # in turns, so that a noisy moment hits all of them
                begun = time.perf_counter()
                way()
                best[number] = min(best[number], time.perf_counter() - begun)
    single, double, bare = best
    return single / double, single / bare


def open_host() -> Host:
    """Return a host with the functions loaded."""
    return _host(2)
