"""What leases cost: reads, writes and allocation from the guest's side, blocks against plain I/O."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guesthouse.bench.measure import Operation
from guesthouse.bench.transfers import plain
from guesthouse.engine import Instance, wat_to_wasm
from guesthouse.host import Host

#: Blocks that are gone through in turn, and leases that live beside those that are measured.
BLOCKS = 1024
LIVE = 100_000

_LOOP = """
  (func (export "{name}") (param $n i32)
    (loop $more
      {body}
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))"""

_BODIES = {
    **{
        f"{verb} {size}": f"(drop (call ${verb} (i64.load (i32.const 8)) (i64.const 0)"
        f" (i32.const 4096) (i32.const {size})))"
        for verb in ("read", "write")
        for size in (64, 4096)
    },
    **{
        f"{verb} block": f"(drop (call ${verb}_block (i64.load (i32.const 40))"
        f" (i64.and (i64.extend_i32_u (local.get $n)) (i64.const {BLOCKS - 1})) (i32.const 4096)))"
        for verb in ("read", "write")
    },
    "alloc": "(drop (call $alloc (i64.const 4096) (i64.const 60) (i32.const 72)))"
    " (drop (call $free (i64.load (i32.const 72))))",
    "keep": "(drop (call $alloc (i64.const 64) (i64.const 600) (i32.const 72)))",
}

GUEST = f"""(module
  (import "fabricbios_fbmu_v0" "fbmu_alloc" (func $alloc (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_free" (func $free (param i64) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_read_lease" (func $read (param i64 i64 i32 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_write_lease" (func $write (param i64 i64 i32 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_alloc" (func $blocks (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_read_block_lease" (func $read_block (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_write_block_lease" (func $write_block (param i64 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "begin") (result i32)
    (i32.or (call $alloc (i64.const 4096) (i64.const 86400) (i32.const 8))
            (call $blocks (i64.const {BLOCKS}) (i64.const 86400) (i32.const 40))))
  {"".join(_LOOP.format(name=name, body=body) for name, body in _BODIES.items())})"""


@contextmanager
def open_program() -> Iterator[tuple[Instance, Path]]:
    """Yield an instance with leases, and the file of the block pool."""
    with tempfile.TemporaryDirectory() as folder, Host(fabric={"directory": folder, "gpu": "off"}) as host:
        guest = host.load(wat_to_wasm(GUEST), name="fabric", grant=["grafos"])
        instance = guest.open(None)
        instance.start()
        if instance.invoke("begin"):
            raise RuntimeError("no leases for the benchmark")
        yield instance, Path(folder, "blocks")
        guest.dismiss(instance, None)


def repeated(instance: Instance, name: str) -> Operation:
    """An operation that the guest repeats by itself."""

    def operation(n: int) -> float:
        begun = time.perf_counter()
        instance.invoke(name, n)
        return time.perf_counter() - begun

    return operation


def fill(instance: Instance) -> None:
    """Have a hundred thousand leases live."""
    instance.invoke("keep", LIVE)


@contextmanager
def plain_file() -> Iterator[tuple[Operation, Operation]]:
    """Yield reading and writing blocks of a file in turn, without leases."""
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.fileno(), BLOCKS * 512)
        plain(file.fileno(), BLOCKS, True, BLOCKS)
        yield (
            lambda n: plain(file.fileno(), BLOCKS, False, n),
            lambda n: plain(file.fileno(), BLOCKS, True, n),
        )
