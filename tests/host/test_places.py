"""A full pool of instances: calls wait their turn, and are refused where nobody could ever make room."""

from __future__ import annotations

import threading
import time

import pytest

import guesthouse
from guesthouse import Limits
from guesthouse.engine import Engine, wat_to_wasm
from guesthouse.errors import Cancelled, PoolFull

SLOTS = 16
PATIENT = Limits(wall="60s")
NOOP = '(module (func (export "_start")))'
#: Stays in a host function until the test opens the gate.
HELD = """(module (import "demo" "hold" (func $hold)) (memory (export "memory") 1)
  (func (export "_start") (call $hold)))"""
#: Calls itself without end and waits for each.
DEEP = """(module
  (import "env" "__faasm_chain_name" (func $chain (param i32 i32 i32) (result i32)))
  (import "env" "__faasm_await_call" (func $await (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "deep\\00")
  (func (export "_start")
    (drop (call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 0))))))"""


@pytest.fixture(scope="module")
def engine():
    made = Engine(False, slots=SLOTS)
    yield made
    made.close()


class Gate:
    """Holds guests in a host function.

    Attributes:
        inside: released once by each that comes in.
        way_out: lets one out for each time it is released.
    """

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.way_out = threading.Semaphore(0)

    def hold(self, call) -> None:
        """Stay until the way out is open."""
        self.inside.release()
        while not self.way_out.acquire(timeout=0.01):
            call.check()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def host(engine, gate):
    registry = guesthouse.Registry()
    registry.gated(guesthouse.capability("demo.hold", gate.hold))
    with guesthouse.Host(engine=engine, workers=SLOTS + 8, registry=registry) as made:
        made.load(wat_to_wasm(HELD), name="held", grant=["demo.hold"], limits=PATIENT)
        made.load(wat_to_wasm(NOOP), name="noop", limits=PATIENT)
        made.load(wat_to_wasm(DEEP), name="deep", grant=["faasm.chain"], limits=PATIENT)
        yield made


def fill(host, gate, places=SLOTS):
    held = [host.submit("held") for _ in range(places)]
    for _ in held:
        assert gate.inside.acquire(timeout=30)
    return held


def waiting(host):
    return len(host.guest("noop").module.variant.places.line)


def chain(host, result):
    """A result and those of the calls below it, each of which made one."""
    below = [result]
    while below[-1].receipt.children:
        below.append(host.scheduler.result(below[-1].receipt.children[0]))
    return below


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_calls_wait_for_a_place_and_get_it_in_the_order_they_came(host, gate):
    held = fill(host, gate)
    ended: list[int] = []
    waiters = []
    for number in range(4):
        waiters.append(host.submit("noop"))
        waiters[-1].add_done_callback(lambda _, number=number: ended.append(number))
        until(lambda number=number: waiting(host) == number + 1)
    assert not ended
    gate.way_out.release()
    for waiter in waiters:
        assert waiter.result(30).ok
    assert ended == [0, 1, 2, 3]
    assert waiting(host) == 0
    gate.way_out.release(SLOTS)
    assert all(future.result(30).ok for future in held)


def test_a_call_waits_no_longer_than_its_deadline(host, gate):
    fill(host, gate)
    with pytest.raises(
        PoolFull, match="all 16 places .* none came free before the call's deadline"
    ) as caught:
        host.guest("noop").call(wall="100ms")
    assert (caught.value.limit, caught.value.resource) == (SLOTS, "instance pool")
    gate.way_out.release(SLOTS)
    assert host.invoke("noop").ok


def test_a_call_that_waits_can_be_cancelled(host, gate):
    fill(host, gate)
    first, second = host.submit("noop"), host.submit("noop")
    until(lambda: waiting(host) == 2)
    second.cancel()
    assert isinstance(second.result(30).error, Cancelled)
    assert not first.done()
    first.cancel()
    assert isinstance(first.result(30).error, Cancelled)
    gate.way_out.release(SLOTS)


def test_calls_that_hold_all_places_themselves_are_refused(host):
    result = host.invoke("deep")
    *above, bottom = chain(host, result)
    assert len(above) == SLOTS
    assert isinstance(bottom.error, PoolFull)
    assert all(each.ok for each in above)


def test_many_that_hold_the_places_together_make_room_for_one_that_holds_none(host):
    deep = [host.submit("deep") for _ in range(SLOTS + 4)]
    until(lambda: waiting(host) or all(future.done() for future in deep))
    assert host.invoke("noop").ok
    assert all(future.result(60).ok for future in deep)
    assert host.invoke("noop").ok


def test_one_that_holds_places_waits_while_others_compute(host, gate):
    fill(host, gate, SLOTS - 2)
    deep = host.submit("deep")
    until(lambda: waiting(host) == 1)
    time.sleep(0.1)
    assert not deep.done()
    gate.way_out.release(SLOTS)
    assert len(chain(host, deep.result(60))) == SLOTS + 1


def test_places_that_nobody_can_give_back_are_not_waited_for(host, engine):
    resident = [engine.compile(wat_to_wasm(NOOP)).link({}).open() for _ in range(SLOTS)]
    for instance in resident:
        instance.start()
    with pytest.raises(PoolFull):
        host.call("noop")
    for instance in resident:
        instance.close()
    assert host.call("noop") == b""
