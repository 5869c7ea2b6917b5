"""Many threads, many functions, failures in between: every caller gets its own output and nothing leaks."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from tests.faasm.conftest import module
from tests.faasm.test_edges import ECHO

from guesthouse import CallLimits, Host, Limits
from guesthouse.errors import CallRefused, Cancelled, DeadlineExceeded, GuestFailed, InputLimit, Trap
from guesthouse.testing import guests

SPIN = module("input", '(func (export "_start") (loop $again (br $again)))')
TRAP = module("input", '(func (export "_start") unreachable)')
#: Starts six children that spin and waits for the first.
FANS = module(
    "chain await",
    """(data (i32.const 64) "spin\\00")
    (func (export "_start") (local $i i32)
      (loop $more
        (i32.store (local.get $i) (call $chain (i32.const 64) (i32.const 0) (i32.const 0)))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 24))))
      (drop (call $await (i32.load (i32.const 0)))))""",
)


def test_16_threads_calling_chaining_failing_and_cancelling(load, host):
    load("echo", ECHO)
    load("trap", TRAP)
    load("spin", SPIN, limits=Limits(wall="20ms"))
    load("chain_deep", guests.build("guests/faasm/chain_deep.c"), limits=Limits(wall="60s"))
    load("chain_many", guests.build("guests/faasm/chain_many.c"), limits=Limits(wall="60s"))
    for user in ("a", "b"):
        load("echo", ECHO, tenant=user)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(12):
                data = b"%d/%d" % (number, turn)
                user = ("default", "a", "b")[turn % 3]
                assert host.call("echo", data * 100, tenant=user) == data * 100
                assert host.submit("echo", data, tenant=user).result(60).unwrap() == data
                match (number + turn) % 6:
                    case 0:
                        assert host.call("chain_deep", b"40") == b"bottom"
                    case 1:
                        assert host.invoke("chain_many", b"60").code == 0
                    case 2:
                        with pytest.raises(Trap):
                            host.call("trap")
                    case 3:
                        with pytest.raises(DeadlineExceeded):
                            host.call("spin")
                    case 4:
                        future = host.submit("spin")
                        future.cancel()
                        assert isinstance(future.result(60).error, Cancelled | DeadlineExceeded)
                    case _:
                        assert host.submit("chain_deep", b"20").result(60).unwrap() == b"bottom"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert not failures, failures[0]
    assert not any(thread.is_alive() for thread in threads)
    assert host.scheduler.drain(10)
    stats = host.scheduler.stats()
    assert (stats["live"], stats["pending"]) == (0, 0)


def test_a_cancelled_parent_takes_its_spinning_children_with_it(load, host):
    load("spin", SPIN, limits=Limits(wall=None))
    load("fans", FANS, limits=Limits(wall=None))
    call = host.scheduler.submit("fans")
    while len(call.children) < 6:
        time.sleep(0.002)
    children = list(call.live_children.values())
    start = time.monotonic()
    host.scheduler.cancel(call, "enough")
    assert isinstance(host.scheduler.wait(call, 5).error, Cancelled)
    assert all(isinstance(host.scheduler.wait(child, 5).error, Cancelled) for child in children)
    assert time.monotonic() - start < 1


def test_children_get_no_more_time_than_their_parent(load, host):
    load("spin", SPIN, limits=Limits(wall=None))
    load("fans", FANS, limits=Limits(wall="100ms"))
    start = time.monotonic()
    result = host.submit("fans").result(10)
    assert isinstance(result.error, DeadlineExceeded)
    assert host.scheduler.drain(5)
    assert time.monotonic() - start < 2
    errors = [host.scheduler.result(child).error for child in result.receipt.children]
    assert all(isinstance(error, DeadlineExceeded) for error in errors)


@pytest.mark.parametrize(
    ("limit", "what"), [({"children": 3}, "children"), ({"fan_out": 3}, "fan_out"), ({"depth": 0}, "depth")]
)
def test_fan_out_and_depth_have_limits(load, limit, what):
    load("spin", SPIN, limits=Limits(wall="1s"))
    guest = load("fans", FANS, limits=Limits(wall="1s", **limit))
    error = guest.invoke().error
    assert isinstance(error, CallRefused)
    assert error.what == what


def test_an_input_beyond_the_callees_limit_fails_the_chained_call(load, host):
    load("echo", ECHO, limits=Limits(input="1KiB"))
    guest = load("f", module("input chain await", """(data (i32.const 16) "echo\\00") (func (export "_start")
      (drop (call $input (i32.const 0) (i32.const 4)))
      (if (i32.ne (i32.const 1) (call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 1025))))
        (then unreachable))
      (if (call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 1024))) (then unreachable)))"""),
      limits=Limits(input=4))  # fmt: skip
    result = guest.invoke()
    result.unwrap()
    refused, taken = (host.scheduler.result(child) for child in result.receipt.children)
    assert isinstance(refused.error, InputLimit)
    assert (refused.error.needed, refused.error.limit, refused.error.guest) == (1025, 1024, "echo")
    assert taken.ok


def test_closing_the_host_ends_what_runs(load, host):
    load("spin", SPIN, limits=Limits(wall=None))
    load("fans", FANS, limits=Limits(wall=None))
    calls = [host.scheduler.submit("fans") for _ in range(3)]
    while not calls[0].children:
        time.sleep(0.002)
    start = time.monotonic()
    host.close()
    assert time.monotonic() - start < 5
    assert all(call.done for call in calls)


def test_calls_do_not_wait_for_the_garbage_collector(load):
    guest = load("echo", ECHO)
    deep = load("chain_deep", guests.build("guests/faasm/chain_deep.c"))
    for _ in range(3):
        guest.call(b"x")
        deep.call(b"3")
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            guest.call(b"x")
            deep.call(b"3")
        with pytest.raises(GuestFailed):
            load("ret_one", guests.build("guests/faasm/ret_one.c")).call()
        assert gc.collect() < 500  # what loading and the exception leave, nothing per call
    finally:
        gc.enable()


def test_time_spent_in_the_queue_is_not_the_guests(load, host):
    nap = guests.build("guests/faasm/sleep.c")
    load("nap", nap, limits=Limits(wall="400ms"))
    futures = [host.submit("nap", b"100") for _ in range(12)]  # 0.6 s on two workers
    assert all(future.result(20).ok for future in futures)


def test_bounds_of_all_calls_are_the_hosts(tmp_path):
    with Host(calls=CallLimits(depth=10), limits=Limits(wall="20s"), cache=tmp_path) as host:
        host.load(guests.build("guests/faasm/chain_deep.c"), name="chain_deep", grant=["faasm"])
        assert host.call("chain_deep", b"10") == b"bottom"
        assert host.invoke("chain_deep", b"11").code == 1
