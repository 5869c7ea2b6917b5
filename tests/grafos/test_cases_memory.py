"""Acceptance cases 1 to 8: windows and leases on memory (spec fabric.md 12)."""

from __future__ import annotations

import struct

import pytest
from tests.grafos.conftest import DATA, OUT

from guesthouse.testing import (
    mock_advance_time_secs,
    mock_set_fbbu_hello_error,
    mock_set_fbmu_arena_size,
    mock_set_fbmu_hello_error,
    mock_set_unix_time_secs,
    reset_mock,
)

INFO = struct.Struct("<QQQB7s")


def test_case_01_hello_opens_a_window_that_keeps_bytes(program):
    assert program.fbmu_get_arena_size() == -1
    assert program.fbmu_read(0, DATA, 1) == -1
    assert program.fbmu_write(0, DATA, 1) == -1
    assert program.fbbu_get_num_blocks() == -1
    assert program.fbbu_read_block(0, DATA) == -1
    assert program.fbbu_write_block(0, DATA) == -1
    assert program.fbmu_hello() == 0
    assert program.fbmu_get_arena_size() == 65_536
    program.write(DATA, b"hello fabric")
    assert program.fbmu_write(0, DATA, 12) == 0
    assert program.fbmu_hello() == 0
    assert program.fbmu_read(0, DATA + 100, 12) == 0
    assert program.read(DATA + 100, 12) == b"hello fabric"


def test_case_02_injected_hello_errors_are_independent(program):
    mock_set_fbmu_hello_error(-1)
    assert program.fbmu_hello() == -1
    assert program.fbbu_hello() == 0
    mock_set_fbmu_hello_error(None)
    mock_set_fbbu_hello_error(-6)
    assert program.fbmu_hello() == 0
    assert program.fbbu_hello() == -6
    lease = program.fbmu(16)
    mock_set_fbmu_hello_error(-3)
    assert program.fbmu_read_lease(lease, 0, DATA, 16) == 0


def test_case_03_alloc_fills_the_struct(program, now):
    program.write(OUT, b"\xff" * 40)
    assert program.fbmu_alloc(4096, 60, OUT) == 0
    first = program.read(OUT, 40)
    lease, capacity, expires, status, zeros = INFO.unpack(first[:32])
    assert 0 < lease < 2**63
    assert (capacity, expires, status, zeros) == (4096, now() + 60, 0, bytes(7))
    assert first[32:] == b"\xff" * 8
    assert program.fbmu_query(lease, DATA) == 0
    assert program.read(DATA, 32) == first[:32]


def test_case_03_zeros_ask_for_defaults_and_ttl_is_clamped(program, now):
    assert program.fbmu_alloc(0, 0, OUT) == 0
    lease, capacity, expires, *_ = INFO.unpack(program.read(OUT, 32))
    assert (capacity, expires) == (65_536, now() + 300)
    assert program.fbmu_alloc(0, 0, OUT) == -4
    assert program.fbmu_free(lease) == 0
    program.fbmu(60_000)
    assert program.fbmu_alloc(0, 10**9, OUT) == 0
    _, capacity, expires, *_ = INFO.unpack(program.read(OUT, 32))
    assert (capacity, expires) == (5_536, now() + 86_400)


def test_case_04_the_arena_can_be_filled_exactly(program):
    program.write(OUT, b"\xee" * 32)
    for amount in (65_537, 2**31, 2**63, 2**64 - 1):
        assert program.fbmu_alloc(amount, 60, OUT) == -4
        assert program.read(OUT, 32) == b"\xee" * 32
    assert program.fbmu_alloc(40_001, 60, OUT) == 0
    assert program.fbmu_alloc(25_535, 60, OUT) == 0
    assert program.fbmu_alloc(1, 60, OUT) == -4
    assert program.fbmu_alloc(0, 60, OUT) == -4


def test_case_05_bounds_of_a_lease(program):
    lease = program.fbmu(100)
    for function in (program.fbmu_write_lease, program.fbmu_read_lease):
        assert function(lease, 99, DATA, 1) == 0
        assert function(lease, 99, DATA, 2) == -4
        assert function(lease, 100, DATA, 0) == 0
        assert function(lease, 101, DATA, 0) == -4
        for offset in (2**32, 2**63, 2**64 - 1, 2**64 - 99):
            assert function(lease, offset, DATA, 100) == -4
    assert program.fbmu_hello() == 0
    for function in (program.fbmu_write, program.fbmu_read):
        assert function(65_535, DATA, 1) == 0
        assert function(65_535, DATA, 2) == -4
        assert function(65_536, DATA, 0) == 0
        assert function(65_537, DATA, 0) == -4
        assert function(2**64 - 1, DATA, 2) == -4


def test_case_06_leases_and_window_never_alias(program):
    assert program.fbmu_hello() == 0
    one, two = program.fbmu(64), program.fbmu(64)
    for write, mark in (
        (lambda: program.fbmu_write(0, DATA, 8), b"window.."),
        (lambda: program.fbmu_write_lease(one, 0, DATA, 8), b"lease 1."),
        (lambda: program.fbmu_write_lease(two, 0, DATA, 8), b"lease 2."),
    ):
        program.write(DATA, mark)
        assert write() == 0
    seen = []
    for read in (
        lambda: program.fbmu_read(0, DATA, 8),
        lambda: program.fbmu_read_lease(one, 0, DATA, 8),
        lambda: program.fbmu_read_lease(two, 0, DATA, 8),
    ):
        assert read() == 0
        seen.append(program.read(DATA, 8))
    assert seen == [b"window..", b"lease 1.", b"lease 2."]


def test_case_07_renew_extends_and_never_shortens(program, now):
    lease = program.fbmu(64, 60)
    assert program.fbmu_renew(lease, 10, OUT) == 0
    assert program.word() == now() + 60
    assert program.fbmu_renew(lease, 120, OUT) == 0
    assert program.word() == now() + 120
    assert program.fbmu_renew(lease, 240, 0) == 0
    mock_advance_time_secs(239)
    assert program.fbmu_read_lease(lease, 0, DATA, 1) == 0
    mock_advance_time_secs(1)
    assert program.fbmu_renew(lease, 60, OUT) == -2
    assert program.fbmu_read_lease(lease, 0, DATA, 1) == -2
    assert program.fbmu_query(lease, OUT) == 0
    assert program.read(OUT + 24, 1) == b"\x01"


def test_case_08_free_is_final(program):
    lease = program.fbmu(64)
    assert program.fbmu_free(lease) == 0
    assert program.fbmu_free(lease) == -6
    assert program.fbmu_read_lease(lease, 0, DATA, 1) == -6
    assert program.fbmu_renew(lease, 60, OUT) == -6
    assert program.fbmu_query(lease, OUT) == 0
    assert program.read(OUT + 24, 1) == b"\x02"


def test_leases_outlive_the_instance_and_the_window_does_not(programs):
    first = programs()
    assert first.fbmu_hello() == 0
    lease = first.fbmu(64)
    first.write(DATA, b"kept")
    assert first.fbmu_write_lease(lease, 0, DATA, 4) == 0
    assert first.fbmu_write(0, DATA, 4) == 0
    second = programs()
    assert second.fbmu_hello() == 0
    assert second.fbmu_read_lease(lease, 0, DATA, 4) == 0
    assert second.read(DATA, 4) == b"kept"
    assert second.fbmu_read(0, DATA, 4) == 0
    assert second.read(DATA, 4) == bytes(4)
    stranger = programs(tenant="other")
    assert stranger.fbmu_read_lease(lease, 0, DATA, 4) == -8
    assert stranger.fbmu_query(lease, OUT) == -8
    assert stranger.fbmu_free(lease) == -8


def test_order_of_checks(program, mock_fabric):
    """Spec fabric.md 3.5: range, hello, unknown, fenced, revoked, expired, bounds."""
    outside = 2**32 - 1
    assert program.fbmu_read(2**64 - 1, outside, 1) == -7  # before hello and bounds
    assert program.fbmu_read(2**64 - 1, DATA, 1) == -1  # before bounds
    assert program.fbmu_read_lease(1, 2**64 - 1, outside, 1) == -7
    assert program.fbmu_read_lease(1, 2**64 - 1, DATA, 1) == -8
    lease = program.fbmu(64, 10)
    mock_fabric.fail_next_teardown(lease)
    assert program.fbmu_free(lease) == -3
    mock_advance_time_secs(10)
    assert program.fbmu_read_lease(lease, 2**64 - 1, DATA, 1) == -3
    freed = program.fbmu(64, 10)
    assert program.fbmu_free(freed) == 0
    mock_advance_time_secs(10)
    assert program.fbmu_read_lease(freed, 2**64 - 1, DATA, 1) == -6
    expired = program.fbmu(64, 10)
    mock_advance_time_secs(10)
    assert program.fbmu_read_lease(expired, 2**64 - 1, DATA, 1) == -2


def test_hello_is_fenced_only_when_nothing_usable_is_left(programs, mock_fabric):
    program = programs()
    lease = program.fbmu(65_536)
    mock_fabric.fail_next_teardown(lease)
    assert program.fbmu_free(lease) == -3
    assert program.fbmu_hello() == -3
    assert programs(tenant="other").fbmu_hello() == 0
    mock_fabric.memory.leases.unfence(lease)
    assert program.fbmu_hello() == 0


def test_null_results_are_refused_except_where_said(program):
    assert program.fbmu_alloc(1, 1, 0) == -7
    lease = program.fbmu(64)
    assert program.fbmu_query(lease, 0) == -7
    assert program.fbmu_renew(lease, 60, 0) == 0


def test_the_arena_can_be_resized_and_leases_stay(program):
    assert program.fbmu_hello() == 0
    program.write(DATA, b"x" * 16)
    assert program.fbmu_write(992, DATA, 16) == 0
    lease = program.fbmu(40_000)
    mock_set_fbmu_arena_size(1000)
    assert program.fbmu_get_arena_size() == 1000
    assert program.fbmu_read(992, DATA, 9) == -4
    assert program.fbmu_write_lease(lease, 39_990, DATA, 10) == 0
    assert program.fbmu_alloc(1, 1, OUT) == -4
    mock_set_fbmu_arena_size(100_000)
    assert program.fbmu_read(992, DATA, 16) == 0
    assert program.read(DATA, 16) == b"x" * 8 + bytes(8)
    assert program.fbmu_write(99_999, DATA, 1) == 0
    assert program.fbmu_alloc(60_000, 1, OUT) == 0


def test_the_clock_is_what_the_guest_sees(program):
    assert program.unix_time_secs() == 1_700_000_000
    mock_set_unix_time_secs(1_000)
    assert program.unix_time_secs() == 1_000
    mock_advance_time_secs(61)
    assert program.unix_time_secs() == 1_061


def test_reset_forgets_everything(programs):
    lease = programs().fbmu(65_536)
    mock_advance_time_secs(5)
    reset_mock()
    fresh = programs()
    assert fresh.fbmu_query(lease, OUT) == -8
    assert fresh.unix_time_secs() == 1_700_000_000
    assert fresh.fbmu(65_536) != lease


@pytest.mark.parametrize("times", [1, 3])
def test_faults_can_be_injected_into_any_function(program, faults, times):
    lease = program.fbmu(64)
    faults.inject("fbmu_write_lease", code=-1, times=times, after=1)
    assert program.fbmu_write_lease(lease, 0, DATA, 1) == 0
    assert [program.fbmu_write_lease(lease, 0, DATA, 1) for _ in range(times + 1)] == [-1] * times + [0]
    faults.inject("fabricbios_fbmu_v0.fbmu_hello", code=-9, times=-1)
    assert [program.fbmu_hello() for _ in range(3)] == [-9] * 3
    faults.clear()
    assert program.fbmu_hello() == 0
    assert faults.count("fbmu_write_lease") == times
