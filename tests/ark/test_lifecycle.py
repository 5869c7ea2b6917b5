"""The life of a request (section 6): what ends it, and that nothing stays behind."""

from __future__ import annotations

import gc
import struct
import threading
import time

import psutil
import pytest
from tests.ark.driving import OUT, PATIENT, Driver, wasm

import guesthouse
from guesthouse import errors
from guesthouse.engine import Instance
from guesthouse.interfaces.ark.requests import Requests
from guesthouse.testing import guests

SUCCESS, INTERNAL, UNAVAILABLE = 0, 4, 7
HUNDRED = 100


def until(condition, seconds=30.0):
    """Wait for a condition; how long it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        time.sleep(0.002)
    return time.monotonic() - start


def count(kind):
    """How many objects of a kind there are."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


def live(host):
    return host.scheduler.stats()["live"]


@pytest.mark.parametrize("way", ["returns", "traps", "deadline", "killed"])
def test_a_hundred_children_end_with_their_caller_within_a_second(host, way):
    process = psutil.Process()
    threads = process.num_threads()
    worker = host.guest("worker")
    code = {"returns": 0, "traps": 1, "deadline": 2, "killed": 2}[way]
    wall = 1.0 if way == "deadline" else None
    call = host.scheduler.submit(
        "worker", bytes([HUNDRED, code]), entry="brood", wall=wall, tenant=worker.tenant
    )
    if way == "killed":
        until(lambda: live(host) > HUNDRED)
        host.scheduler.cancel(call, "killed by the test")
    result = host.scheduler.wait(call, 30)
    assert until(lambda: live(host) == 0) < 1.0
    expected = {"returns": None, "traps": errors.Trap, "deadline": errors.DeadlineExceeded}
    assert type(result.error) is expected.get(way, errors.Cancelled) or result.error is None
    assert (result.error is None) == (way == "returns")
    journal = host.service("launches")
    assert len(list(journal)) == HUNDRED
    assert {run.state for run in journal} == {"failed"}
    # one that got a core for itself may have run out of fuel before
    assert sum(journal.metrics()["failed"].values()) == HUNDRED
    until(lambda: process.num_threads() <= threads + 2)


#: Sleeps for a minute, so that a hundred can run at once without a core for each.
SLEEPER = """(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 60000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"""


@pytest.mark.parametrize("way", ["returns", "traps", "deadline", "killed"])
def test_a_hundred_children_that_run_all_at_once_end_with_their_caller(engine, way):
    """Each has a worker of its own; nothing stays behind: no thread that runs, no instance, no handle."""
    process = psutil.Process()
    gc.collect()
    threads, instances, tables = process.num_threads(), count(Instance), count(Requests)
    with guesthouse.Host(workers=HUNDRED, engine=engine) as host:
        host.load(wasm("worker"), name="worker", grant=["ark.module_run"], limits=PATIENT)
        guest = host.load(
            wasm("caller"), name="caller", grant=["ark.module_run"], limits=PATIENT.replace(wall="20s"),
            ark={"child_fuel": None},
        )  # fmt: skip
        host.load(guests.wat(SLEEPER), name="sleeper", limits=PATIENT)
        caller = Driver(host, guest)
        functions = [caller.function("_start", "sleeper")] * (HUNDRED - 2) + [caller.function("loop")] * 2
        for function in functions:
            caller.request(function)
        until(lambda: sum(call.instance is not None for call in host.scheduler.live()) > HUNDRED)
        if way == "killed":
            host.scheduler.cancel(caller.call, "by the test")
        elif way == "deadline":
            caller.call.instance.deadline = 1
        if way != "returns":
            with pytest.raises((errors.CallError, RuntimeError)):
                caller.invoke("trap" if way == "traps" else "ready", *([] if way == "traps" else [0, 0]))
        end = threading.Thread(target=caller.end)
        end.start()
        until(lambda: live(host) == 0, 5)  # a second, where nobody else uses the cores
        end.join()
        assert {run.state for run in host.service("launches")} == {"failed"}
        assert {run.cause.partition(":")[0] for run in host.service("launches")} == {"cancelled"}
        until(lambda: host.scheduler._running.bell.idle == host.scheduler.stats()["threads"])
    del caller, guest, end
    gc.collect()
    assert count(Instance) == instances
    assert count(Requests) == tables
    until(lambda: process.num_threads() <= threads)


def test_grandchildren_end_as_well(host):
    # 5 children, each with 5 of its own, each of those with 5 endless ones; nobody waits
    call = host.scheduler.submit("worker", bytes([5, 2, 2]), entry="brood")
    until(lambda: live(host) > 6)
    host.scheduler.cancel(call, "enough")
    assert until(lambda: live(host) == 0) < 1.0
    assert {run.state for run in host.service("launches")} == {"failed"}


def test_nothing_is_left_of_many_generations(host):
    worker = host.guest("worker")
    process = psutil.Process()

    def generation():
        worker.invoke(bytes([20, 1]), entry="brood")
        until(lambda: live(host) == 0)

    for _ in range(3):
        generation()
    gc.collect()
    before = process.memory_info().rss
    for _ in range(30):
        generation()
    gc.collect()
    assert process.memory_info().rss - before < 16 << 20


def test_unretrieved_outputs_count_against_the_callers_memory(drive):
    caller = drive(child_memory="4MiB")
    sized = caller.function("sized")
    want = struct.pack("<I", 1 << 20)
    requests = []
    while (answer := caller.launch(sized, want, blocking=True))[0] == SUCCESS:
        requests.append(answer[1])
        assert len(requests) < 10
    assert answer[0] == UNAVAILABLE
    assert len(requests) == 4
    start = caller.do(lambda instance: instance.grow(14)) * 65536
    assert caller.invoke("retrieve", requests[0], start - 65536, 1 << 20) == 5
    # a caller that grows has less left for outputs: two have to go before one more fits
    code, _ = caller.launch(sized, want, blocking=True)
    assert code == UNAVAILABLE


def test_outputs_are_freed_with_their_caller(host):
    guest = host.load(wasm("caller"), name="keeper", grant=["ark.module_run"], limits=PATIENT)
    process = psutil.Process()
    before = process.memory_info().rss
    with Driver(host, guest) as caller:
        sized = caller.function("sized")
        for _ in range(20):
            caller.request(sized, struct.pack("<I", 8 << 20), blocking=True)
        assert process.memory_info().rss - before > 100 << 20
    gc.collect()
    assert process.memory_info().rss - before < 60 << 20


def test_a_child_has_no_more_time_than_its_caller(host, drive):
    caller = drive(child_wall="20s", child_fuel=None, limits=PATIENT.replace(wall="600ms"))
    start = time.monotonic()
    function = caller.function("loop")
    with pytest.raises(errors.DeadlineExceeded):
        caller.request(function, blocking=True)
    assert 0.3 < time.monotonic() - start < 2


def test_the_depth_of_launches_is_bounded(host):
    worker = host.guest("worker")
    assert worker.call(bytes([16, 0]), entry="nest") == b"bottom"
    # the seventeenth is refused, and every level above passes the code on as its own: 7 reads as 4
    result = worker.invoke(bytes([17, 0]), entry="nest")
    assert result.code == 4


def test_functions_are_bounded_too(drive):
    caller = drive(max_functions=3)
    handles = [caller.function("echo") for _ in range(3)]
    assert caller.create("worker", "echo")[0] == UNAVAILABLE
    assert caller.invoke("remove", handles[0]) == SUCCESS
    assert caller.create("worker", "echo")[0] == SUCCESS


def test_handles_of_one_instance_mean_nothing_in_another(drive):
    one, other = drive(), drive()
    function = one.function("echo")
    request = one.request(function, b"abc", blocking=True)
    assert other.launch(function)[0] == 6
    assert other.invoke("remove", function) == 6
    assert other.ready(request)[0] == 5
    assert other.retrieve(request, 3)[0] == 5
    assert one.ready(function)[0] == 5
    assert one.launch(request)[0] == 6
    assert one.retrieve(request, 3)[:2] == (SUCCESS, b"abc")


def test_a_host_that_shuts_down_takes_no_launches_and_ends_callers(host, caller):
    function = caller.function("echo")
    host.scheduler.drain(0)
    # children of live calls are still taken while the host drains
    assert caller.output(function, b"x") == (SUCCESS, b"x")

    host.scheduler._refuse()
    assert caller.launch(function)[0] == UNAVAILABLE
    assert caller.launch(function, blocking=True)[0] == UNAVAILABLE
    assert host.service("launches").metrics()["launched"] == 1
    closing = threading.Thread(target=host.scheduler.close)
    closing.start()
    until(lambda: caller.call.cancelled is not None)
    with pytest.raises(errors.Cancelled):
        caller.launch(function)
    caller.end()
    closing.join(10)
    assert not closing.is_alive()
    assert live(host) == 0


def test_children_never_have_more_than_their_caller(host, drive):
    """A caller without a capability does not get it by launching a module that was granted it."""
    host.load(wasm("worker"), name="granted", grant=["ark.module_run"], limits=PATIENT)
    caller = drive()
    function = caller.function("own", "granted")
    assert caller.output(function, b"abc") == (SUCCESS, b"ABC")
    # under a ceiling that lacks module-run, the same module links and is told 2 by create_function
    result = host.scheduler.run("granted", b"abc", entry="own", capabilities=frozenset())
    assert result.code == 2
    assert "ark-module-run-v0.module_run__create_function" in result.receipt.refusals


def test_receipts_form_one_tree(host):
    call = host.scheduler.submit("worker", bytes([3, 0]), entry="nest")
    host.scheduler.wait(call, 10)
    depth, node = 0, host.scheduler.graph(call)
    while node.children:
        (node,) = node.children
        depth += 1
    assert depth == 3


def test_a_retrieved_request_can_be_launched_again_and_again(caller):
    function = caller.function("echo")
    for turn in range(3000):
        request = caller.request(function, b"%d" % turn, blocking=True)
        assert caller.invoke("retrieve", request, OUT, 8) == SUCCESS
    assert caller.do(lambda instance: instance.usable)
