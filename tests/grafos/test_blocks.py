"""Block pools: files that stay sparse, devices that persist, sync policies, direct I/O (spec fabric.md 10)."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import guesthouse
from guesthouse.errors import ResourceError
from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.leases.status import LeaseError
from guesthouse.testing import guests

BLOCK = bytes(range(256)) * 2


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[str]:
    """A block device over a file; only root can make one."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    try:
        made = subprocess.run(
            ["losetup", "--find", "--show", str(image)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no loop device here: {error}")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], timeout=30, check=True)


@pytest.fixture
def bare_files(tmp_path: Path) -> Iterator[Path]:
    """A file system that can neither punch holes nor transfer directly; only root can mount one."""
    folder = tmp_path / "ramfs"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "ramfs", "none", str(folder)], check=True, timeout=30, capture_output=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=30)


def refusal(call: Any, *args: Any) -> int:
    with pytest.raises(LeaseError) as caught:
        call(*args)
    return caught.value.code


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
@pytest.mark.parametrize("sync", ["none", "interval", "each"])
def test_case_18_blocks_and_leases_survive_a_restart_and_the_file_stays_sparse(
    tmp_path: Path, clock: VirtualClock, sync: str, direct: bool
) -> None:
    path = tmp_path / "pool.blk"
    options: dict[str, Any] = {"blocks": 1024, "pool": 1 << 21, "sync": sync, "direct": direct}
    blocks = Blocks(clock, path, **options)
    lease, ended = blocks.leases.grant("t", 100, 600), blocks.leases.grant("t", 100, 10)
    blocks.write("t", lease.id, 99, BLOCK)
    blocks.write("t", ended.id, 0, BLOCK)
    blocks.write_device("t", 1023, BLOCK)
    blocks.close()

    clock.advance(60)
    blocks = Blocks(clock, path, **options)
    assert blocks.read("t", lease.id, 99) == BLOCK
    assert blocks.read("t", lease.id, 98) == bytes(512)
    assert blocks.read_device("t", 1023) == BLOCK
    assert blocks.leases.query("t", lease.id).status == 0
    assert refusal(blocks.read, "t", ended.id, 0) == -2
    rest = blocks.leases.grant("t", 1024 - 100, 600)
    assert all(blocks.read("t", rest.id, lba) == bytes(512) for lba in range(924))
    assert refusal(blocks.leases.grant, "t", 1, 600) == -4
    status = path.stat()
    assert status.st_size == 1 << 30
    assert status.st_blocks * 512 < 1 << 20
    blocks.close()


def test_freed_blocks_give_their_space_back(tmp_path: Path, clock: VirtualClock) -> None:
    blocks = Blocks(clock, tmp_path / "pool", blocks=8192)
    lease = blocks.leases.grant("t", 8192, 60)
    for lba in range(8192):
        blocks.write("t", lease.id, lba, BLOCK)
    os.fsync(blocks.pool.plain)
    assert (tmp_path / "pool").stat().st_blocks >= 8192
    blocks.leases.free("t", lease.id)
    assert (tmp_path / "pool").stat().st_blocks < 1024
    blocks.close()


def test_where_no_holes_can_be_punched_zeros_are_written(bare_files: Path, clock: VirtualClock) -> None:
    blocks = Blocks(clock, bare_files / "pool", blocks=8192, pool=1 << 14, direct=True)
    assert not blocks.pool.is_direct
    lease = blocks.leases.grant("t", 5000, 60)
    for lba in range(5000):
        blocks.write("t", lease.id, lba, BLOCK)
    blocks.leases.free("t", lease.id)
    data = (bare_files / "pool").read_bytes()
    assert data.count(0) == len(data)
    fresh = blocks.leases.grant("t", 8192, 60)
    assert all(blocks.read("t", fresh.id, lba) == bytes(512) for lba in range(8192))
    blocks.close()


def test_an_unscrubbed_extent_of_the_past_is_never_handed_out(tmp_path: Path, clock: VirtualClock) -> None:
    """Somebody wrote into the pool file while no host ran: a new lease reads zeros all the same."""
    path = tmp_path / "pool"
    Blocks(clock, path, blocks=1024).close()
    with path.open("r+b") as file:
        for at in range(0, 1 << 20, 4096):
            file.seek(at)
            file.write(b"\xee" * 4096)
    blocks = Blocks(clock, path, blocks=1024)
    lease = blocks.leases.grant("t", 1024, 60)
    assert all(blocks.read("t", lease.id, lba) == bytes(512) for lba in range(1024))
    blocks.close()


def test_bounds_and_refusals(clock: VirtualClock) -> None:
    blocks = Blocks(clock, blocks=64)
    lease = blocks.leases.grant("t", 3, 60)
    for lba in (3, 4, 2**63, 2**64 - 1):
        assert refusal(blocks.read, "t", lease.id, lba) == -4
        assert refusal(blocks.write, "t", lease.id, lba, BLOCK) == -4
    assert refusal(blocks.read_device, "t", 64) == -4
    assert refusal(blocks.read, "other", lease.id, 0) == -8
    blocks.close()


def test_tenants_have_devices_of_their_own(clock: VirtualClock) -> None:
    blocks = Blocks(clock, blocks=64)
    blocks.write_device("a", 0, BLOCK)
    assert blocks.read_device("b", 0) == bytes(512)
    assert blocks.read_device("a", 0) == BLOCK
    blocks.close()


def test_a_device_grows_with_its_quota_and_keeps_its_bytes(tmp_path: Path, clock: VirtualClock) -> None:
    for size in (64, 640, 32, 640):
        blocks = Blocks(clock, tmp_path / "pool", blocks=size)
        volume = blocks.volume("t")
        assert volume.blocks == size
        if size == 64:
            blocks.write_device("t", 63, BLOCK)
        elif size == 32:
            assert refusal(blocks.read_device, "t", 63) == -4
        else:
            assert blocks.read_device("t", 63) == BLOCK
            assert blocks.read_device("t", 639) == bytes(512)
        blocks.close()


def test_two_hosts_cannot_use_one_pool(tmp_path: Path, clock: VirtualClock) -> None:
    blocks = Blocks(clock, tmp_path / "pool")
    with pytest.raises(ResourceError, match="in use by another process"):
        Blocks(clock, tmp_path / "pool")
    blocks.close()
    Blocks(clock, tmp_path / "pool").close()


def test_direct_io_is_used_where_the_file_system_can(tmp_path: Path, clock: VirtualClock) -> None:
    blocks = Blocks(clock, tmp_path / "pool", direct=True)
    if not blocks.pool.is_direct:
        pytest.skip("this file system has no direct I/O")
    lease = blocks.leases.grant("t", 8, 60)
    for lba in range(8):
        blocks.write("t", lease.id, lba, bytes([lba]) * 512)
    blocks.close()
    blocks = Blocks(clock, tmp_path / "pool")
    assert [blocks.read("t", lease.id, lba)[0] for lba in range(8)] == list(range(8))
    blocks.close()


def test_a_real_block_device(tmp_path: Path, clock: VirtualClock, loop_device: str) -> None:
    journal = tmp_path / "leases"
    for direct in (False, True):
        blocks = Blocks(clock, loop_device, blocks=1000, direct=direct, sync="each", journal=journal)
        assert blocks.pool.is_device and blocks.pool.is_direct == direct
        lease = blocks.leases.grant("t", 1000, 600)
        for lba in range(0, 1000, 9):
            blocks.write("t", lease.id, lba, bytes([lba % 251 + 1]) * 512)
        blocks.write_device("t", 999, BLOCK)
        blocks.close()
        blocks = Blocks(clock, loop_device, blocks=1000, direct=direct, journal=journal)
        assert all(
            blocks.read("t", lease.id, lba) == bytes([lba % 251 + 1]) * 512 for lba in range(0, 1000, 9)
        )
        assert blocks.read_device("t", 999) == BLOCK
        blocks.leases.free("t", lease.id)
        fresh = blocks.leases.grant("t", 1000, 600)
        assert all(blocks.read("t", fresh.id, lba) == bytes(512) for lba in range(1000))
        blocks.leases.free("t", fresh.id)
        blocks.close()


def test_a_block_is_read_whole_while_others_write_it(clock: VirtualClock) -> None:
    blocks = Blocks(clock, blocks=64)
    lease = blocks.leases.grant("t", 8, 60)
    stop = threading.Event()

    def write(value: int) -> None:
        while not stop.is_set():
            blocks.write("t", lease.id, 3, bytes([value]) * 512)

    threads = [threading.Thread(target=write, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    torn = sum(len(set(blocks.read("t", lease.id, 3))) != 1 for _ in range(5000))
    stop.set()
    for thread in threads:
        thread.join()
    assert torn == 0
    blocks.close()


def test_a_device_that_grows_under_its_users_loses_no_write(tmp_path: Path) -> None:
    """Writes go on without Python's lock while the device moves to a larger extent."""
    loop = """(module
      (import "fabricbios_fbbu_v0" "fbbu_hello" (func $hello (result i32)))
      (import "fabricbios_fbbu_v0" "fbbu_read_block" (func $read (param i64 i32) (result i32)))
      (import "fabricbios_fbbu_v0" "fbbu_write_block" (func $write (param i64 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "begin") (result i32) (call $hello))
      (func (export "use") (param $n i32) (result i32) (local $lost i32)
        (loop $more
          (i32.store (i32.const 1024) (local.get $n))
          (local.set $lost (i32.or (local.get $lost)
            (call $write (i64.extend_i32_u (i32.and (local.get $n) (i32.const 15))) (i32.const 1024))))
          (local.set $lost (i32.or (local.get $lost)
            (call $read (i64.extend_i32_u (i32.and (local.get $n) (i32.const 15))) (i32.const 2048))))
          (if (i32.ne (i32.load (i32.const 2048)) (local.get $n)) (then (local.set $lost (i32.const 1))))
          (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $lost)))"""
    with guesthouse.Host(fabric={"directory": tmp_path, "blocks": 1 << 13}) as host:
        guest = host.load(guests.wat(loop), name="loop", grant=["grafos"])
        blocks: Blocks = host.service("fabric").blocks
        instance = guest.open(None)
        instance.start()
        assert instance.invoke("begin") == 0
        for lba in range(0, 1 << 13, 8):  # so that moving it takes a while
            blocks.write_device("default", lba, BLOCK)
        stop = threading.Event()
        answers: list[int] = []

        def use() -> None:
            while not stop.is_set():
                answers.append(instance.invoke("use", 100))

        thread = threading.Thread(target=use)
        thread.start()
        try:
            for size in range(1 << 13, 1 << 15, 1 << 11):
                blocks.leases.set_quota("default", size)
                blocks.volume("default")
        finally:
            stop.set()
            thread.join()
        guest.dismiss(instance, None)
        assert answers
        assert not any(answers)
