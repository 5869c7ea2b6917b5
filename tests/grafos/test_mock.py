"""The mock's functions one by one (spec fabric.md 9); what they do to guests is theirs, thread by thread."""

from __future__ import annotations

import struct
import threading

import pytest
from tests.grafos.conftest import DATA, OUT, TEXT, Programs

import guesthouse
from guesthouse import testing
from guesthouse.interfaces.grafos.net import Link
from guesthouse.testing import MockFabric, current_mock, engine

REQUEST = struct.pack("<8I2Q2I", *[0] * 7, 16, 0, 0, 0, 0)


def test_every_function_of_the_specification_is_there():
    names = {
        "reset_mock", "mock_set_fbmu_arena_size", "mock_set_fbbu_num_blocks", "mock_set_fbmu_hello_error",
        "mock_set_fbbu_hello_error", "mock_set_unix_time_secs", "mock_advance_time_secs",
        "mock_set_net_interface", "mock_set_net_hello_error", "mock_set_tasklet_result",
        "mock_set_tasklet_submit_error",
    }  # fmt: skip
    assert names <= set(testing.__all__)
    assert all(callable(getattr(testing, name)) for name in names)


def test_the_defaults(program, now):
    assert (program.fbmu_hello(), program.fbmu_get_arena_size()) == (0, 65_536)
    assert (program.fbbu_hello(), program.fbbu_get_num_blocks()) == (0, 1024)
    assert program.unix_time_secs() == now() == 1_700_000_000
    assert program.net_hello(0, TEXT, 16, OUT, DATA) == 0
    assert (program.read(TEXT, 5), program.word(DATA)) == (b"mock0", 10_000_000_000)
    program.write(TEXT, REQUEST)
    program.write(OUT, b"\xee" * 24)
    assert program.tasklet_submit(TEXT, OUT) == 0
    assert program.read(OUT, 24) == bytes(24)
    assert program.gpu_lease_alloc(1, 1 << 30, 0, OUT) == 0
    assert program.gpu_lease_alloc(1, 1, 0, OUT) == -4
    assert program.gpu_lease_alloc(2, 1, 0, OUT) == -4


def test_reset_undoes_every_setting(programs):
    testing.mock_set_fbmu_arena_size(1)
    testing.mock_set_fbbu_num_blocks(1)
    testing.mock_set_unix_time_secs(5)
    testing.mock_set_net_interface("other", 1)
    for name in ("fbmu_hello", "fbbu_hello", "net_hello", "tasklet_submit"):
        getattr(testing, f"mock_set_{name}_error")(-1)
    testing.mock_set_tasklet_result(7, b"x")
    current_mock().launch_log.append((1, "k", (), ()))
    testing.reset_mock()
    assert current_mock().launch_log == []
    assert current_mock().network.link == Link("mock0", 10_000_000_000)
    test_the_defaults(programs(), lambda: 1_700_000_000)


def test_blocks_can_be_fewer_and_more_and_leases_stay(program):
    lease = program.fbbu(600)
    program.write(DATA, b"\x5a" * 512)
    assert program.fbbu_write_block_lease(lease, 599, DATA) == 0
    testing.mock_set_fbbu_num_blocks(10)
    assert program.fbbu_alloc(1, 60, OUT) == -4
    assert program.fbbu_read_block_lease(lease, 599, TEXT) == 0
    assert program.read(TEXT, 512) == b"\x5a" * 512
    testing.mock_set_fbbu_num_blocks(2000)
    assert program.fbbu_alloc(1400, 60, OUT) == 0
    assert program.fbbu_alloc(1, 60, OUT) == -4


@pytest.mark.parametrize("unit", ["fbmu", "fbbu"])
def test_an_error_of_hello_stays_until_it_is_cleared_and_leases_go_on(program, unit):
    call = {"fbmu": (lambda lease: program.fbmu_read_lease(lease, 0, DATA, 1)),
            "fbbu": (lambda lease: program.fbbu_read_block_lease(lease, 0, DATA))}[unit]  # fmt: skip
    lease = getattr(program, unit)(1)
    set_error = getattr(testing, f"mock_set_{unit}_hello_error")
    for code in (-1, -6, -300):
        set_error(code)
        assert [getattr(program, f"{unit}_hello")() for _ in range(3)] == [code] * 3
        assert call(lease) == 0
    set_error(None)
    assert getattr(program, f"{unit}_hello")() == 0


def test_time_can_be_set_back_and_revives_nothing(program):
    lease, later = program.fbmu(1, 10), program.fbmu(1, 100)
    testing.mock_advance_time_secs(10)
    testing.mock_set_unix_time_secs(1_000)
    assert program.unix_time_secs() == 1_000
    assert program.fbmu_read_lease(lease, 0, DATA, 1) == -2
    assert program.fbmu_read_lease(later, 0, DATA, 1) == 0
    fresh = program.fbmu(1, 10)
    testing.mock_advance_time_secs(10)
    assert program.fbmu_read_lease(fresh, 0, DATA, 1) == -2
    assert program.fbmu_read_lease(later, 0, DATA, 1) == 0


def test_the_network_can_be_another_and_unreachable(program):
    testing.mock_set_net_interface("wan", 5)
    assert program.net_hello(5, TEXT, 16, OUT, DATA) == 0
    assert (program.read(TEXT, 3), program.word(DATA)) == (b"wan", 5)
    assert program.net_hello(6, TEXT, 16, OUT, DATA) == -4
    testing.mock_set_net_hello_error(-10)
    assert program.net_hello(0, TEXT, 16, OUT, DATA) == -10
    testing.mock_set_net_hello_error(None)
    assert program.net_hello(0, TEXT, 16, OUT, DATA) == 0


def test_tasklets_end_as_told_and_are_not_run(program):
    testing.mock_set_tasklet_result(7, b"out")
    request = struct.pack("<8I2Q2I", DATA, 4, 0, 0, 0, 0, DATA + 100, 16, 0, 0, 0, 0)
    program.write(TEXT, request)
    program.write(DATA, b"junk")
    assert program.tasklet_submit(TEXT, OUT) == 0
    assert struct.unpack("<iIQII", program.read(OUT, 24)) == (7, 3, 0, 0, 0)
    assert program.read(DATA + 100, 3) == b"out"
    testing.mock_set_tasklet_result(0, b"x" * 17)
    assert program.tasklet_submit(TEXT, OUT) == 0
    assert struct.unpack("<iIQII", program.read(OUT, 24)) == (0, 0, 0, 7, 0)
    program.write(OUT, b"\xee" * 24)
    testing.mock_set_tasklet_submit_error(-4)
    assert program.tasklet_submit(TEXT, OUT) == -4
    assert program.read(OUT, 24) == b"\xee" * 24
    testing.mock_set_tasklet_submit_error(None)
    assert program.tasklet_submit(TEXT, OUT) == 0


def test_a_lease_can_be_ended_by_its_id(program, mock_fabric):
    leases = [program.fbmu(1, 50), program.fbbu(1, 70)]
    assert program.gpu_lease_alloc(0, 4096, 90, OUT) == 0
    leases.append(program.word())
    for number, lease in enumerate(leases):
        mock_fabric.expire(lease)
        assert [mock_fabric.clock.now() - 1_700_000_000] == [(50, 70, 90)[number]]
    assert (
        program.fbmu_free(leases[0])
        == program.fbbu_free(leases[1])
        == program.gpu_lease_free(leases[2])
        == -2
    )
    with pytest.raises(guesthouse.ResourceError, match="no such lease"):
        mock_fabric.expire(1)


def test_each_thread_has_a_mock_of_its_own(program):
    """Eight threads with hosts of their own, each with other settings, at the same time."""
    together = threading.Barrier(8)
    wrong: list[object] = []

    def use(number: int) -> None:
        testing.reset_mock()
        testing.mock_set_fbmu_arena_size(1000 + number)
        testing.mock_set_unix_time_secs(number)
        with guesthouse.Host(fabric="mock", engine=engine()) as host:
            together.wait(20)
            programs = Programs(host)
            own = programs()
            own.fbmu_hello()
            seen = (own.fbmu_get_arena_size(), own.unix_time_secs(), current_mock() is host.service("fabric"))
            if seen != (1000 + number, number, True):
                wrong.append((number, seen))
            programs.close()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert program.unix_time_secs() == 1_700_000_000


def test_mocks_nest():
    outer = current_mock()
    with MockFabric() as one:
        assert current_mock() is one
        with MockFabric() as two:
            testing.mock_set_unix_time_secs(1)
            assert (two.clock.now(), one.clock.now()) == (1, 1_700_000_000)
        assert current_mock() is one
    assert current_mock() is outer
