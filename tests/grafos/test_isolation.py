"""A million lease lives with poison patterns: no tenant ever sees a foreign byte (DESIGN section 8)."""

from __future__ import annotations

import ctypes
import os
import random
import threading

import pytest

from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.memory.arena import Memory
from guesthouse.testing import guests

LIVES = int(os.environ.get("GUESTHOUSE_LEASE_LIVES", "1000000"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_lives_of_memory_leases_see_no_foreign_byte() -> None:
    rng = random.Random(6)
    clock = VirtualClock()
    memory = Memory(clock, arena=1 << 22, pool=1 << 23)
    grant, free, read, write = memory.leases.grant, memory.leases.free, memory.read, memory.write
    tenants = ("red", "green", "blue")
    held: list[tuple[str, int]] = []
    sizes = (1, 17, 4095, 4096, 4097, 9000, 70_000)
    poison = b"\xa5" * (max(sizes) + 64)
    for life in range(LIVES):
        tenant = tenants[life % 3]
        size = sizes[0 if rng.random() < 0.9 else rng.randrange(len(sizes))] + rng.randrange(64)
        lease = grant(tenant, size, 1 + life % 50)
        ident = lease.id
        assert read(tenant, ident, 0, size).count(0) == size  # all of it
        write(tenant, ident, 0, poison[:size])
        held.append((tenant, ident))
        if len(held) > 40:
            tenant, ident = held.pop(rng.randrange(len(held)))
            if memory.leases.query(tenant, ident).status == 0:
                free(tenant, ident)
        if life % 100 == 0:
            clock.advance(1)
    memory.close()


def test_lives_of_block_leases_see_no_foreign_byte(tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(7)
    clock = VirtualClock()
    blocks = Blocks(clock, tmp_path_factory.mktemp("pool") / "pool", blocks=512, pool=1 << 11)
    blocks.leases.journal.durable = False  # the device's speed is not what is tested
    held: list[tuple[str, int]] = []
    for life in range(3000):
        tenant = ("red", "blue")[life % 2]
        count = rng.randrange(1, 20)
        lease = blocks.leases.grant(tenant, count, 1 + life % 20)
        assert all(blocks.read(tenant, lease.id, lba) == bytes(512) for lba in range(count))
        for lba in range(count):
            blocks.write(tenant, lease.id, lba, b"\x5a" * 512)
        held.append((tenant, lease.id))
        if len(held) > 10:
            tenant, ident = held.pop(rng.randrange(len(held)))
            if blocks.leases.query(tenant, ident).status == 0:
                blocks.leases.free(tenant, ident)
        if life % 7 == 0:
            clock.advance(1)
    blocks.close()


def test_guests_on_threads_share_leases_that_end_under_their_hands(mock_fabric, guest_host):
    """Native calls without the GIL against renewals, frees, expiries and new leases of other tenants."""
    loop = """(module
      (import "fabricbios_fbmu_v0" "fbmu_write_lease" (func $write (param i64 i64 i32 i32) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_read_lease" (func $read (param i64 i64 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (global $torn (mut i32) (i32.const 0))
      (func (export "use") (param $lease i64) (param $mark i32) (param $n i32) (result i32) (local $at i32)
        (memory.fill (i32.const 4096) (local.get $mark) (i32.const 4096))
        (loop $more
          (drop (call $write (local.get $lease) (i64.const 0) (i32.const 4096) (i32.const 4096)))
          (if (i32.eqz (call $read (local.get $lease) (i64.const 0) (i32.const 8192) (i32.const 4096)))
            (then (if (i32.ne (i32.load8_u (i32.const 8192)) (i32.load8_u (i32.const 12287)))
              (then (global.set $torn (i32.const 1))))))
          (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (global.get $torn)))"""
    guest = guest_host.load(guests.wat(loop), name="loop", grant=["grafos"])
    leases = mock_fabric.memory.leases
    shared = [leases.grant("default", 4096, 60) for _ in range(3)]
    stop = threading.Event()
    torn: list[int] = []

    def use(mark: int) -> None:
        instance = guest.open(None)
        instance.start()
        while not stop.is_set():
            torn.extend([instance.invoke("use", lease.id, mark, 200) for lease in list(shared)])
        guest.dismiss(instance, None)

    threads = [threading.Thread(target=use, args=(mark,)) for mark in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for round_number in range(1500):
        position = round_number % 3
        old = shared[position]
        if round_number % 5:
            leases.renew("default", old.id, 100)
            leases.free("default", old.id)
        else:
            mock_fabric.clock.advance(100_000)
            shared[:] = [leases.grant("default", 4096, 60) for _ in range(3)]
        other = leases.grant("other", 4096, 60)
        assert mock_fabric.memory.read("other", other.id, 0, 4096) == bytes(4096)
        leases.free("other", other.id)
        if round_number % 5:
            shared[position] = leases.grant("default", 4096, 60)
    stop.set()
    for thread in threads:
        thread.join()
    assert torn
    assert not any(torn)


def test_leases_are_granted_and_freed_while_python_holds_its_lock(mock_fabric, guest_host):
    loop = """(module
      (import "fabricbios_fbmu_v0" "fbmu_alloc" (func $alloc (param i64 i64 i32) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_free" (func $free (param i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "lease") (param $n i32) (result i32) (local $failed i32)
        (loop $more
          (local.set $failed (i32.or (local.get $failed) (call $alloc (i64.const 64) (i64.const 60) (i32.const 8))))
          (local.set $failed (i32.or (local.get $failed) (call $free (i64.load (i32.const 8)))))
          (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $failed)))"""
    guest = guest_host.load(guests.wat(loop), name="loop", grant=["grafos"])
    leases = mock_fabric.memory.leases
    instance = guest.open(None)
    instance.start()
    turns, answers = 300_000, []
    thread = threading.Thread(target=lambda: answers.append(instance.invoke("lease", turns)))
    thread.start()
    before = leases.grant("t", 1).generation
    ctypes.PyDLL(None).usleep(50_000)  # calls through PyDLL keep the lock
    granted = leases.grant("t", 1).generation - before
    thread.join()
    guest.dismiss(instance, None)
    assert answers == [0]
    assert granted > 1000


def test_threads_that_lease_at_once_get_space_of_their_own(guest_host):
    """Each finds zeros, leaves its mark in all of it, and finds nothing but its mark before it gives it up."""
    loop = """(module
      (import "fabricbios_fbmu_v0" "fbmu_alloc" (func $alloc (param i64 i64 i32) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_free" (func $free (param i64) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_write_lease" (func $write (param i64 i64 i32 i32) (result i32)))
      (import "fabricbios_fbmu_v0" "fbmu_read_lease" (func $read (param i64 i64 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $same (param $size i32) (param $mark i32) (result i32) (local $at i32)
        (drop (call $read (i64.load (i32.const 8)) (i64.const 0) (i32.const 8192) (local.get $size)))
        (loop $more
          (if (i32.ne (i32.load8_u (i32.add (i32.const 8192) (local.get $at))) (local.get $mark))
            (then (return (i32.const 0))))
          (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 509))) (local.get $size))))
        (i32.const 1))
      (func (export "lease") (param $mark i32) (param $n i32) (result i32) (local $size i32)
        (memory.fill (i32.const 32768) (local.get $mark) (i32.const 16384))
        (loop $more
          (local.set $size (i32.add (i32.const 1) (i32.and (i32.mul (local.get $n) (i32.const 977)) (i32.const 0x3fff))))
          (if (i32.eqz (call $alloc (i64.extend_i32_u (local.get $size)) (i64.const 60) (i32.const 8)))
            (then
              (if (i32.eqz (call $same (local.get $size) (i32.const 0))) (then (return (i32.const 1))))
              (drop (call $write (i64.load (i32.const 8)) (i64.const 0) (i32.const 32768) (local.get $size)))
              (if (i32.eqz (call $same (local.get $size) (local.get $mark))) (then (return (i32.const 2))))
              (if (call $free (i64.load (i32.const 8))) (then (return (i32.const 3))))))
          (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.const 0)))"""
    answers: list[int] = []

    def run(mark: int) -> None:
        guest = guest_host.load(guests.wat(loop), name=f"loop{mark}", grant=["grafos"], tenant=f"t{mark % 2}")
        instance = guest.open(None)
        instance.start()
        answers.append(instance.invoke("lease", mark, 20_000))
        guest.dismiss(instance, None)

    threads = [threading.Thread(target=run, args=(mark,)) for mark in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0, 0, 0, 0]
