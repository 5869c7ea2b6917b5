"""The lease engine: time, quotas, fencing, memory of the past, concurrency (spec fabric.md 8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from guesthouse.resources.leases.clock import LeaseClock, VirtualClock
from guesthouse.resources.leases.reaper import Reaper
from guesthouse.resources.leases.status import LeaseError
from guesthouse.resources.memory.arena import Memory

ARENA = 65_536


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def memory(clock: VirtualClock) -> Iterator[Memory]:
    memory = Memory(clock, arena=ARENA, pool=1 << 24)
    yield memory
    memory.close()


def refusal(call: object, *args: object) -> int:
    with pytest.raises(LeaseError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


def test_a_lease_is_usable_until_the_second_before_its_expiry(memory: Memory, clock: VirtualClock) -> None:
    lease = memory.leases.grant("t", 100, 10)
    clock.set(lease.expires_at - 1)
    assert memory.read("t", lease.id, 0, 1) == b"\0"
    clock.advance(1)
    assert refusal(memory.read, "t", lease.id, 0, 1) == -2
    assert refusal(memory.leases.renew, "t", lease.id, 100) == -2
    assert memory.leases.query("t", lease.id).status == 1


def test_setting_the_clock_back_revives_nothing(memory: Memory, clock: VirtualClock) -> None:
    lease = memory.leases.grant("t", 100, 10)
    clock.advance(10)
    clock.advance(-10)
    assert refusal(memory.read, "t", lease.id, 0, 1) == -2


def test_renewal_never_shortens(memory: Memory, clock: VirtualClock) -> None:
    lease = memory.leases.grant("t", 100, 60)
    assert memory.leases.renew("t", lease.id, 10) == clock.now() + 60
    assert memory.leases.renew("t", lease.id, 120) == clock.now() + 120
    clock.advance(119)
    assert memory.read("t", lease.id, 0, 1) == b"\0"


def test_expired_capacity_is_there_for_the_next_allocation(memory: Memory, clock: VirtualClock) -> None:
    first = memory.leases.grant("t", ARENA, 10)
    memory.write("t", first.id, 0, b"\xaa" * ARENA)
    assert refusal(memory.leases.grant, "t", 1, 10) == -4
    clock.advance(10)
    second = memory.leases.grant("t", ARENA, 10)
    assert memory.read("t", second.id, 0, ARENA) == bytes(ARENA)


def test_ids_of_others_unknown_ids_and_forgotten_ids_look_the_same(
    memory: Memory, clock: VirtualClock
) -> None:
    lease = memory.leases.grant("t", 100, 10)
    memory.leases.free("t", lease.id)
    clock.advance(3600)
    assert memory.leases.query("t", lease.id).status == 2
    clock.advance(2)
    for tenant, ident in (("t", lease.id), ("other", lease.id), ("t", 12345), ("t", 0), ("t", 2**64 - 1)):
        assert refusal(memory.leases.query, tenant, ident) == -8
        assert refusal(memory.read, tenant, ident, 0, 0) == -8
        assert refusal(memory.leases.free, tenant, ident) == -8


def test_at_most_65536_ended_leases_are_remembered_and_the_oldest_go_first(memory: Memory) -> None:
    ids = []
    for _ in range(65_536 + 2):
        lease = memory.leases.grant("t", 1, 10)
        memory.leases.free("t", lease.id)
        ids.append(lease.id)
    assert refusal(memory.leases.query, "t", ids[0]) == -8
    assert refusal(memory.leases.query, "t", ids[1]) == -8
    assert memory.leases.query("t", ids[2]).status == 2


def test_a_failed_teardown_fences_until_an_operator_acts(memory: Memory) -> None:
    lease = memory.leases.grant("t", ARENA, 10)
    memory.write("t", lease.id, 0, b"secret")
    memory.leases.fail_next_teardown(lease.id)
    assert refusal(memory.leases.free, "t", lease.id) == -3
    assert memory.leases.query("t", lease.id).status == 3
    assert refusal(memory.read, "t", lease.id, 0, 1) == -3
    assert refusal(memory.leases.free, "t", lease.id) == -3
    assert refusal(memory.leases.grant, "t", 1, 10) == -4
    assert refusal(memory.leases.ready, "t") == -3
    memory.leases.ready("other")
    memory.leases.unfence(lease.id)
    assert memory.leases.query("t", lease.id).status == 2
    memory.leases.ready("t")
    fresh = memory.leases.grant("t", ARENA, 10)
    assert memory.read("t", fresh.id, 0, ARENA) == bytes(ARENA)


def test_several_tenants_may_overcommit_one_pool(clock: VirtualClock) -> None:
    memory = Memory(clock, arena=ARENA, pool=ARENA)
    memory.leases.grant("a", ARENA // 2, 10)
    memory.leases.grant("b", ARENA // 2, 10)
    assert refusal(memory.leases.grant, "a", 1, 10) == -4
    assert refusal(memory.leases.grant, "c", 0, 10) == -4
    clock.advance(10)
    assert memory.leases.grant("c", 0, 10).capacity == ARENA


def test_the_real_clock_ends_leases_by_itself() -> None:
    memory = Memory(LeaseClock(), arena=ARENA)
    reaper = Reaper([memory.leases])
    try:
        lease = memory.leases.grant("t", ARENA, 1)
        memory.write("t", lease.id, 0, b"x")
        while memory.leases.clock.now() < lease.expires_at:
            time.sleep(0.01)
        assert refusal(memory.read, "t", lease.id, 0, 1) == -2
        limit = time.monotonic() + 2
        while memory.leases.tenant("t").used and time.monotonic() < limit:
            time.sleep(0.01)
        assert memory.leases.tenant("t").used == 0
    finally:
        reaper.close()


def test_freeing_waits_for_calls_in_flight_and_later_ones_fail(memory: Memory) -> None:
    """Two threads use leases while a third frees them: no byte ends up in somebody else's lease."""
    stop = threading.Event()
    current = [memory.leases.grant("t", 4096, 60)]
    seen: set[int] = set()
    broken: list[str] = []

    def use(value: int) -> None:
        while not stop.is_set():
            lease = current[0]
            try:
                memory.write("t", lease.id, 0, bytes([value]) * 4096)
                data = memory.read("t", lease.id, 0, 4096)
            except LeaseError as error:
                seen.add(error.code)
                continue
            if set(data) - {0, 1, 2} or len(set(data)) != 1:
                broken.append(f"torn read {set(data)}")

    threads = [threading.Thread(target=use, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        old = current[0]
        fresh = memory.leases.grant("t", 4096, 60)
        if memory.read("t", fresh.id, 0, 4096) != bytes(4096):
            broken.append("a new lease is not empty")
        current[0] = fresh
        memory.leases.free("t", old.id)
    stop.set()
    for thread in threads:
        thread.join()
    assert not broken
    assert seen <= {-6}
