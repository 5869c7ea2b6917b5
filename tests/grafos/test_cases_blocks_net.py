"""Acceptance cases 9 to 11, 21 and 22: blocks, hostile ranges, network, link-time rules (spec fabric.md 12)."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from tests.grafos.conftest import DATA, OUT, TEXT, mirror

import guesthouse
from guesthouse.interfaces.grafos.imports import FUNCTIONS
from guesthouse.interfaces.grafos.net import Network
from guesthouse.testing import (
    guests,
    mock_set_fbbu_num_blocks,
    mock_set_net_hello_error,
    mock_set_net_interface,
)

BLOCK = bytes(range(256)) + bytes(range(255, -1, -1))
PAGE = 65_536


def test_case_09_block_round_trip(program):
    assert program.fbbu_hello() == 0
    assert program.fbbu_get_num_blocks() == 1024
    program.write(DATA, BLOCK)
    program.write(DATA + 1024, b"\xcc" * 514)
    assert program.fbbu_write_block(1023, DATA) == 0
    assert program.fbbu_read_block(1023, DATA + 1025) == 0
    assert program.read(DATA + 1024, 514) == b"\xcc" + BLOCK + b"\xcc"
    for lba in (1024, 2**63, 2**64 - 1):
        assert program.fbbu_read_block(lba, DATA) == -4
        assert program.fbbu_write_block(lba, DATA) == -4


def test_case_09_leased_blocks(program, now):
    assert program.fbbu_alloc(0, 0, OUT) == 0
    lease, blocks, expires, size, status, zeros = struct.unpack("<QQQIB3s", program.read(OUT, 32))
    assert (blocks, expires, size, status, zeros) == (128, now() + 300, 512, 0, bytes(3))
    program.write(DATA, BLOCK)
    assert program.fbbu_write_block_lease(lease, 127, DATA) == 0
    assert program.fbbu_read_block_lease(lease, 127, DATA + 512) == 0
    assert program.read(DATA + 512, 512) == BLOCK
    assert program.fbbu_read_block_lease(lease, 0, DATA + 512) == 0
    assert program.read(DATA + 512, 512) == bytes(512)
    assert program.fbbu_write_block_lease(lease, 128, DATA) == -4
    assert program.fbbu_renew(lease, 400, OUT) == 0
    assert program.word() == now() + 400
    assert program.fbbu_free(lease) == 0
    assert program.fbbu_free(lease) == -6
    assert program.fbbu_query(lease, OUT) == 0
    assert program.read(OUT + 28, 1) == b"\x02"
    assert program.fbbu_read_block_lease(lease, 0, DATA) == -6


def test_a_device_belongs_to_the_tenant_and_is_shared_by_its_instances(programs):
    one, two, stranger = programs(), programs(), programs(tenant="other")
    for program in (one, two, stranger):
        assert program.fbbu_hello() == 0
    one.write(DATA, BLOCK)
    assert one.fbbu_write_block(5, DATA) == 0
    assert two.fbbu_read_block(5, DATA) == 0
    assert two.read(DATA, 512) == BLOCK
    assert stranger.fbbu_read_block(5, DATA) == 0
    assert stranger.read(DATA, 512) == bytes(512)
    lease = one.fbbu(8)
    assert two.fbbu_write_block_lease(lease, 0, DATA) == 0
    assert stranger.fbbu_write_block_lease(lease, 0, DATA) == -8


def test_the_number_of_blocks_can_be_changed(program):
    assert program.fbbu_hello() == 0
    program.write(DATA, BLOCK)
    for lba in (1, 99):
        assert program.fbbu_write_block(lba, DATA) == 0
    mock_set_fbbu_num_blocks(50)
    assert program.fbbu_get_num_blocks() == 50
    assert program.fbbu_read_block(99, DATA) == -4
    mock_set_fbbu_num_blocks(5000)
    assert program.fbbu_get_num_blocks() == 5000
    assert program.fbbu_read_block(1, DATA) == 0
    assert program.read(DATA, 512) == BLOCK
    assert program.fbbu_read_block(99, DATA) == 0
    assert program.read(DATA, 512) == bytes(512)


POINTERS = [row for row in FUNCTIONS if row.capability and "i" in row.params]


@pytest.mark.parametrize("grant", [("grafos",), ()], ids=["granted", "denied"])
@pytest.mark.parametrize("row", POINTERS, ids=lambda row: row.name)
def test_case_10_ranges_beyond_memory_are_refused_and_nothing_happens(programs, row, grant):
    program = programs(rows=[row], grant=grant)
    image = program.read(0, 2 * PAGE)
    for address in (2 * PAGE, 2 * PAGE + 1, 2**31, 2**32 - 1):
        args = [address if kind == "i" else 1 for kind in row.params]
        assert getattr(program, row.name)(*args) == -7
        assert program.read(0, 2 * PAGE) == image


def test_case_10_a_range_that_only_ends_outside(program):
    assert program.fbmu_hello() == 0
    lease, blocks = program.fbmu(1000), program.fbbu(8)
    end = 2 * PAGE
    assert program.fbmu_read_lease(lease, 0, end - 16, 16) == 0
    assert program.fbmu_read_lease(lease, 0, end - 16, 17) == -7
    assert program.fbmu_read(0, end, 0) == 0
    assert program.fbmu_read(0, end + 1, 0) == -7
    assert program.fbbu_read_block_lease(blocks, 0, end - 512) == 0
    assert program.fbbu_read_block_lease(blocks, 0, end - 511) == -7
    assert program.fbmu_query(lease, end - 31) == -7
    assert program.fbmu_renew(lease, 60, end - 7) == -7


def test_case_11_net_hello(program):
    assert program.net_hello(0, TEXT, 16, OUT, DATA) == 0
    assert program.read(OUT, 4) == b"\x05\0\0\0"
    assert program.read(TEXT, 5) == b"mock0"
    assert program.word(DATA) == 10_000_000_000
    assert program.net_hello(10_000_000_001, TEXT, 16, OUT, DATA) == -4
    program.write(OUT, bytes(4))
    program.write(TEXT, b"\xee" * 8)
    assert program.net_hello(0, TEXT, 2, OUT, DATA) == -9
    assert program.read(OUT, 4) == b"\x05\0\0\0"
    assert program.read(TEXT, 8) == b"\xee" * 8
    mock_set_net_interface("näher", 5)
    assert program.net_hello(5, TEXT, 6, OUT, DATA) == 0
    assert program.read(TEXT, 6) == "näher".encode()
    mock_set_net_hello_error(-1)
    assert program.net_hello(0, TEXT, 16, OUT, DATA) == -1


def test_network_reads_the_kernels_attributes(tmp_path):
    def interface(name, flags, state, speed=None):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "flags").write_text(flags)
        (folder / "operstate").write_text(state)
        if speed is not None:
            (folder / "speed").write_text(speed)

    interface("lo", "0x9", "unknown", "100000")
    interface("eth1", "0x1003", "up", "1000\n")
    interface("eth0", "0x1003", "up", "1000\n")
    interface("eth2", "0x1002", "down", "40000\n")
    interface("tap0", "0x1003", "unknown", "-1\n")
    interface("wlan0", "0x1003", "up")
    network = Network(kernel=tmp_path)
    assert [tuple(link) for link in network.links()] == [("eth0", 10**9), ("eth1", 10**9)]
    assert network.pick(10**9).name == "eth0"
    assert Network(kernel=tmp_path, hidden=["eth0"]).pick(0).name == "eth1"
    assert Network(kernel=tmp_path, pinned=["eth2"]).pick(0).bandwidth == 40 * 10**9
    assert Network(kernel=tmp_path, speeds={"wlan0": 5 * 10**9}).pick(0).name == "wlan0"
    assert Network(kernel=tmp_path / "none").links() == []


def test_case_21_a_wrong_import_type_is_refused_naming_both(guest_host):
    row = next(row for row in FUNCTIONS if row.name == "fbmu_alloc")
    wrong = dataclasses.replace(row, params="iIi")
    with pytest.raises(guesthouse.WrongImportType) as caught:
        guest_host.load(mirror([wrong]), name="wrong", grant=["grafos"])
    assert "(i32, i64, i32) -> i32" in str(caught.value)
    assert "(i64, i64, i32) -> i32" in str(caught.value)


@pytest.mark.parametrize("capability", sorted({row.capability for row in FUNCTIONS} - {""}))
def test_case_22_without_the_grant_everything_links_and_gives_unsupported(programs, capability):
    rows = [row for row in FUNCTIONS if row.capability == capability]
    assert rows
    others = {row.capability for row in FUNCTIONS if row.capability} - {capability}
    program = programs(rows=rows, grant=tuple(others))
    for row in rows:
        valid = [DATA if kind == "i" and position < 5 else 8 for position, kind in enumerate(row.params)]
        assert getattr(program, row.name)(*valid) == -5
        assert getattr(program, row.name)(*[0] * len(row.params)) == -5


def test_case_22_even_without_a_memory(guest_host):
    text = """(module (import "fabricbios_fbmu_v0" "fbmu_read" (func $f (param i64 i32 i32) (result i32)))
      (func (export "run") (result i32) (call $f (i64.const 0) (i32.const 0) (i32.const 8))))"""
    assert guest_host.load(guests.wat(text), name="bare").invoke().code == -5
