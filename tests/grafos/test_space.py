"""Where leases lie: extents never overlap, merge again, and are found while there is one (spec fabric.md 8.4)."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.leases.engine import LeaseEngine
from guesthouse.resources.leases.status import LeaseError

SIZE = 3000


class Hollow:
    """A pool without bytes, that tells who was prepared and scrubbed, and can be slow or fail at it."""

    def __init__(self, size: int = SIZE, grain: int = 1) -> None:
        self.size, self.grain = size, grain
        self.dirty: set[int] = set()
        self.fails = self.unproven = False
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def admit(self, start: int, units: int, generation: int) -> None:
        if self.unproven:
            raise OSError("not zero")
        mine = set(range(start, start + units))
        assert not mine & self.dirty, "given out without having been scrubbed"
        self.dirty |= mine

    def scrub(self, start: int, units: int) -> None:
        self.begun.set()
        assert self.go_on.wait(20)
        if self.fails:
            raise OSError("scrubbing failed")
        self.dirty -= set(range(start, start + units))


def engine_on(pool: Any, **options: Any) -> LeaseEngine:
    return LeaseEngine("test", pool, VirtualClock(), **{"quota": 1 << 40, "default_amount": 100, **options})


def refusal(call: Any, *args: Any) -> int:
    with pytest.raises(LeaseError) as caught:
        call(*args)
    return caught.value.code


def gaps(leases: list[Any]) -> list[int]:
    """Lengths of what is free between extents."""
    spans = sorted((lease.start, lease.start + lease.units) for lease in leases)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), SIZE]
    return [start - end for start, end in zip(starts, ends, strict=True)]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.one_of(st.integers(1, 12), st.integers(100, 160), st.integers(1, SIZE + 1)),
            st.integers(0, 50),
        ),
        max_size=80,
    )
)
def test_space_is_refused_only_where_no_gap_is_long_enough(script: list[tuple[bool, int, int]]) -> None:
    engine = engine_on(Hollow())
    held: list[Any] = []
    for is_free, amount, position in script:
        if is_free and held:
            engine.free("t", held.pop(position % len(held)).id)
        elif amount > max(gaps(held)):
            assert refusal(engine.grant, "t", amount, 10) == -4
        else:
            held.append(engine.grant("t", amount, 10))
        spans = sorted((lease.start, lease.start + lease.units) for lease in held)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), "extents overlap"
        assert not spans or spans[-1][1] <= SIZE
        assert engine.tenant("t").used == sum(lease.capacity for lease in held)
    for lease in held:
        engine.free("t", lease.id)
    assert engine.grant("t", SIZE, 10).start == 0  # all runs have merged


def test_the_default_is_what_is_left_in_one_piece() -> None:
    engine = engine_on(Hollow(size=20, grain=8), default_amount=50)
    held = [engine.grant("t", 8, 10) for _ in range(20)]
    for lease in [*held[3:6], held[9]]:  # gaps of three and of one
        engine.free("t", lease.id)
    assert engine.grant("t", 0, 10).capacity == 24
    assert engine.grant("t", 0, 10).capacity == 8
    assert refusal(engine.grant, "t", 0, 10) == -4


@pytest.mark.parametrize("amount", [0, 30])
def test_an_allocation_waits_for_space_that_is_being_scrubbed(amount: int) -> None:
    pool = Hollow(size=30)
    engine = engine_on(pool)
    lease = engine.grant("t", 30, 10)
    pool.go_on.clear()
    freeing = threading.Thread(target=engine.free, args=("t", lease.id))
    freeing.start()
    assert pool.begun.wait(20)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(engine.grant("t", amount, 10)))
    asking.start()
    asking.join(0.05)
    assert not found
    assert engine.query("t", lease.id).status == 2  # while it is scrubbed
    pool.go_on.set()
    asking.join(20)
    freeing.join(20)
    assert found[0].capacity == 30


def test_an_allocation_does_not_wait_for_what_will_not_come_back() -> None:
    pool = Hollow(size=30)
    engine = engine_on(pool)
    lease = engine.grant("t", 20, 10)
    pool.fails = True
    assert refusal(engine.free, "t", lease.id) == -3
    assert refusal(engine.grant, "t", 20, 10) == -4
    assert engine.grant("t", 0, 10).capacity == 10
    pool.fails = False
    engine.unfence(lease.id)
    assert engine.grant("t", 20, 10).capacity == 20


def test_units_that_cannot_be_proven_zero_are_nobodys() -> None:
    pool = Hollow(size=30)
    engine = engine_on(pool)
    pool.unproven = True
    assert refusal(engine.grant, "t", 20, 10) == -4
    pool.unproven = False
    assert (engine.tenant("t").used, engine.tenant("t").active) == (0, 0)
    assert refusal(engine.grant, "t", 20, 10) == -4
    engine.grant("t", 10, 10)
    engine.ready("t")


def test_nothing_is_ready_once_all_of_the_pool_is_fenced() -> None:
    pool = Hollow(size=30)
    pool.unproven = True
    engine = engine_on(pool)
    assert refusal(engine.grant, "t", 30, 10) == -4
    assert refusal(engine.ready, "t") == -3


def test_other_tenants_go_on_while_an_extent_is_prepared_and_scrubbed() -> None:
    pool = Hollow(size=30)
    engine = engine_on(pool)
    lease = engine.grant("t", 10, 10)
    pool.go_on.clear()
    freeing = threading.Thread(target=engine.free, args=("t", lease.id))
    freeing.start()
    assert pool.begun.wait(20)
    other = engine.grant("other", 20, 10)
    assert engine.renew("other", other.id, 20) == other.expires_at
    pool.go_on.set()
    freeing.join(20)


def test_a_tenant_has_no_more_leases_than_it_may() -> None:
    engine = engine_on(Hollow(), max_leases=2)
    held = [engine.grant("t", 1, 10) for _ in range(2)]
    assert refusal(engine.grant, "t", 1, 10) == -4
    engine.grant("other", 1, 10)
    engine.free("t", held[0].id)
    engine.grant("t", 1, 10)


def test_leases_expire_in_any_order_in_which_they_were_renewed() -> None:
    """The order of expiries against sorting, over grants, renewals, frees and steps of the clock."""
    rng = random.Random(8)
    clock = VirtualClock()
    engine = LeaseEngine("test", Hollow(1 << 16), clock, quota=1 << 16, default_amount=1)
    expires: dict[int, int] = {}
    for _ in range(4000):
        choice = rng.random()
        if choice < 0.5 or not expires:
            lease = engine.grant("t", 1, rng.randrange(1, 500))
            expires[lease.id] = lease.expires_at
        elif choice < 0.8:
            ident = rng.choice(list(expires))
            expires[ident] = engine.renew("t", ident, rng.randrange(1, 500))
        elif choice < 0.95:
            ident = rng.choice(list(expires))
            engine.free("t", ident)
            del expires[ident]
        else:
            clock.advance(rng.randrange(20))
            for ident in [ident for ident, moment in expires.items() if moment <= clock.now()]:
                assert engine.query("t", ident).status == 1
                del expires[ident]
        assert len(engine) == len(expires)
        assert engine.next_expiry() == min(expires.values(), default=None)
