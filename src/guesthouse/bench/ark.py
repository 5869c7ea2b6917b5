"""Ark functions that launch functions, and calls that cross interfaces: what one costs, end to end."""

from __future__ import annotations

import time
from collections.abc import Callable

from guesthouse.bench import faasm
from guesthouse.engine import wat_to_wasm
from guesthouse.host import Host
from guesthouse.limits import Limits

#: `tiny` returns its input, `busy` counts for about a millisecond; the others launch one of them as often as
#: the first four bytes of their input say: blocking, in the background and polled, or all at once.
MODULE = """(module
  (import "ark-module-run-v0" "module_run__create_function"
    (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__blocking_launch"
    (func $blocking (param i64 i32 i32 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__launch" (func $launch (param i64 i32 i32 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__is_ready" (func $ready (param i64 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__retrieve" (func $retrieve (param i64 i32 i32) (result i32)))
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 16) "tiny") (data (i32.const 24) "busy") (data (i32.const 32) "input***")
  (func (export "ark_alloc") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "tiny") (param i32 i32) (result i32)
    (call $return (local.get 0) (local.get 1) (local.get 1)))
  (func (export "busy") (param i32 i32) (result i32) (local $n i64)
    (loop $more
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $more (i64.lt_u (i64.rem_u (local.get $n) (i64.const 200003)) (i64.const 200002))))
    (i32.const 0))
  (func $find (param $name i32)
    (if (call $create (i32.const 0) (i32.const 0) (i32.const 0) (local.get $name) (i32.const 4)
        (i32.const 64))
      (then unreachable)))
  (func $collect (param $at i32) (local $n i32)
    (loop $poll
      (if (call $ready (i64.load (local.get $at)) (i32.const 80)) (then unreachable))
      (br_if $poll (i32.eqz (i32.load8_u (i32.const 80)))))
    (if (call $retrieve (i64.load (local.get $at)) (i32.const 128) (i32.const 8)) (then unreachable)))
  (func (export "blocking") (param $input i32) (param i32) (result i32) (local $n i32)
    (local.set $n (i32.load (local.get $input)))
    (call $find (i32.const 16))
    (loop $more
      (if (call $blocking (i64.load (i32.const 64)) (i32.const 32) (i32.const 8) (i32.const 72))
        (then unreachable))
      (if (call $retrieve (i64.load (i32.const 72)) (i32.const 128) (i32.const 8)) (then unreachable))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "polled") (param $input i32) (param i32) (result i32) (local $n i32)
    (local.set $n (i32.load (local.get $input)))
    (call $find (i32.const 16))
    (loop $more
      (if (call $launch (i64.load (i32.const 64)) (i32.const 32) (i32.const 8) (i32.const 72))
        (then unreachable))
      (call $collect (i32.const 72))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func $all (param $n i32) (local $at i32)
    (loop $start
      (if (call $launch (i64.load (i32.const 64)) (i32.const 32) (i32.const 8)
          (i32.add (i32.const 4096) (i32.shl (local.get $at) (i32.const 3))))
        (then unreachable))
      (br_if $start (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $n))))
    (loop $end
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (call $collect (i32.add (i32.const 4096) (i32.shl (local.get $at) (i32.const 3))))
      (br_if $end (local.get $at))))
  (func (export "flight") (param $input i32) (param i32) (result i32)
    (call $find (i32.const 16)) (call $all (i32.load (local.get $input))) (i32.const 0))
  (func (export "fan") (param $input i32) (param i32) (result i32)
    (call $find (i32.const 24)) (call $all (i32.load (local.get $input))) (i32.const 0)))"""

#: A function of its own interface that does as little as `tiny`, for the price of crossing.
TINY = """(module
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "ark_alloc") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "run") (param i32 i32) (result i32)
    (call $return (local.get 0) (local.get 1) (local.get 1))))"""

IN_FLIGHT = 10_000


def open_host(workers: int = 2) -> Host:
    """Return a host with the module, a Faasm function to call and one that calls."""
    host = Host(workers=workers, limits=Limits(wall=None, children=1 << 24))
    host.load(wat_to_wasm(MODULE), name="launcher", grant=["ark.module_run"], ark={"max_requests": IN_FLIGHT})
    host.load(wat_to_wasm(TINY), name="tiny")
    host.load(wat_to_wasm(faasm.ECHO), name="echo")
    for callee in ("echo", "tiny"):
        text = faasm.CHAIN.replace("echo", callee)
        host.load(wat_to_wasm(text), name=f"to {callee}", grant=["faasm.chain"])
    return host


def launches(host: Host, way: str) -> Callable[[int], float]:
    """Return what takes the time of `n` launches with their results.

    Args:
        host: from :func:`open_host`.
        way: ``blocking``, or ``polled`` for the background.
    """
    guest = host.guest("launcher")

    def spend(n: int) -> float:
        begun = time.perf_counter()
        guest.call(n.to_bytes(4, "little"), entry=way)
        return time.perf_counter() - begun

    return spend


def in_flight(host: Host) -> float:
    """Return the seconds per request where :data:`IN_FLIGHT` are launched before the first is read."""
    begun = time.perf_counter()
    host.guest("launcher").call(IN_FLIGHT.to_bytes(4, "little"), entry="flight")
    return (time.perf_counter() - begun) / IN_FLIGHT


def two_workers(*, batches: int) -> float:
    """Return how much faster two workers finish functions of a millisecond than one does."""
    count = 64
    with open_host(1) as one, open_host(2) as two:
        best = dict.fromkeys((one, two), float("inf"))
        for _ in range(max(3, batches)):
            for host in best:  # in turns, so that a noisy moment hits both
                begun = time.perf_counter()
                futures = [host.submit("launcher", entry="busy") for _ in range(count)]
                for future in futures:
                    future.result().unwrap()
                best[host] = min(best[host], time.perf_counter() - begun)
        return best[one] / best[two]


def crossing(host: Host, callee: str) -> Callable[[int], float]:
    """Return what takes the time of a Faasm function that calls `n` others, waiting for each.

    Args:
        host: from :func:`open_host`.
        callee: ``echo`` for functions of its own interface, ``tiny`` for those of Ark.
    """
    guest = host.guest(f"to {callee}")

    def spend(n: int) -> float:
        begun = time.perf_counter()
        guest.call(n.to_bytes(4, "little"))
        return time.perf_counter() - begun

    return spend
