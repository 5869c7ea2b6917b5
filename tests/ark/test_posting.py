"""Launches that idle workers are handed without the GIL: that they are, and that nobody can tell."""

from __future__ import annotations

import time

import pytest
from tests.ark.driving import BUFFER, INPUT, OUT, PATIENT, READY, Driver, wasm
from tests.ark.test_lifecycle import live, until

import guesthouse
from guesthouse.calls import CallLimits
from guesthouse.interfaces.ark import launching
from guesthouse.interfaces.ark.state import state_of

SUCCESS, INTERNAL, INVALID, NOT_FOUND, UNAVAILABLE = 0, 4, 5, 6, 7


def idle(host):
    """Wait until a worker waits for work."""
    until(lambda: host.scheduler._running.bell.idle > 0)


def warm(host, caller):
    """A function, after the host has started a worker for it."""
    function = caller.function("echo")
    assert caller.output(function, b"first") == (SUCCESS, b"first")
    idle(host)
    return function


def table(caller):
    return state_of(caller.call).requests


def round_trip(instance, function):
    """Launch, poll and retrieve as a guest does, without anything in between."""
    assert instance.invoke("launch", function, INPUT, 3, OUT) == SUCCESS
    request = int.from_bytes(instance.read(OUT, 8), "little")
    while instance.read(READY, 1) == b"\0":
        assert instance.invoke("ready", request, READY) == SUCCESS
    assert instance.invoke("retrieve", request, BUFFER, 3) == SUCCESS
    instance.write(READY, b"\0")
    return instance.read(BUFFER, 3)


def test_an_idle_worker_is_handed_a_launch(host, caller):
    function = warm(host, caller)
    assert not table(caller).posted
    assert caller.output(function, b"abc") == (SUCCESS, b"abc")
    assert table(caller).posted
    host.scheduler._refuse()  # nothing is posted any more, and Python says why
    assert caller.launch(function)[0] == UNAVAILABLE


def test_what_is_posted_has_a_record_a_receipt_and_a_place_in_the_tree(host, caller):
    function = warm(host, caller)
    idle(host)
    request = caller.request(function, b"abc")
    caller.wait(request)
    (run,) = [run for run in host.service("launches") if run.request == request]
    assert (run.state, run.function, run.caller, run.depth) == ("ok", "echo", caller.call.id, 1)
    assert 0 <= run.queued_s < 5
    graph = host.scheduler.graph(caller.call)
    assert [child.guest for child in graph.children] == ["worker", "worker"]
    assert graph.children[1].result.receipt.bytes_in == 3


def test_a_guest_that_sees_the_end_of_a_run_finds_it_tidied_up(host, caller):
    """The end is told last, when the worker has given up the GIL and is idle again."""
    function = warm(host, caller)
    caller.write(INPUT, b"abc")
    caller.write(READY, b"\0")

    def many(instance):
        for _ in range(300):
            assert round_trip(instance, function) == b"abc"
            assert not caller.call.live_children
            assert host.scheduler._running.bell.idle > 0

    caller.do(many)


def test_a_caller_may_end_right_behind_its_launch(host):
    """Nothing of it may be used after that, although the launch is still on its way."""
    text = """(module
      (import "ark-module-run-v0" "module_run__create_function"
        (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
      (import "ark-module-run-v0" "module_run__launch" (func $launch (param i64 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 16) "none")
      (func (export "none") (param i32 i32) (result i32) (i32.const 0))
      (func (export "run") (param i32 i32) (result i32)
        (drop (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 32)))
        (call $launch (i64.load (i32.const 32)) (i32.const 0) (i32.const 9) (i32.const 40))))"""
    guest = host.load(
        guesthouse.testing.guests.wat(text), name="hasty", grant=["ark.module_run"], limits=PATIENT
    )
    for _ in range(300):
        assert guest.invoke(entry="run").code == 0
    until(lambda: live(host) == 0)
    runs = list(host.service("launches"))
    assert len(runs) == 300
    assert {run.state for run in runs} <= {"ok", "failed"}
    assert all(run.cause.endswith("its caller has ended") for run in runs if run.state == "failed")


def test_a_function_may_be_removed_right_behind_its_launch(host, caller):
    warm(host, caller)
    for turn in range(100):
        function = caller.function("upper")
        request = caller.request(function, b"abc")
        assert caller.invoke("remove", function) == SUCCESS
        assert caller.launch(function)[0] == NOT_FOUND
        assert caller.wait(request) == 3
        assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"ABC"), turn


def test_requests_start_in_the_order_of_their_launches_whichever_way_they_went(engine):
    with guesthouse.Host(workers=1, engine=engine) as host:
        host.load(wasm("worker"), name="worker", limits=PATIENT)
        guest = host.load(wasm("caller"), name="caller", grant=["ark.module_run"], limits=PATIENT)
        with Driver(host, guest) as caller:
            warm(host, caller)
            function = caller.function("none")
            sizes = [
                n if n % 3 else 70_000 + n for n in range(1, 30)
            ]  # every third is too large to be handed over
            for _ in range(5):
                idle(host)
                before = len(caller.call.children)
                requests = caller.do(lambda instance: [_launch(instance, function, size) for size in sizes])
                for request in requests:
                    caller.wait(request)
                calls = [host.scheduler.find(number) for number in caller.call.children[before:]]
                calls.sort(key=lambda call: call.started_ns)
                assert [call.result.receipt.bytes_in for call in calls] == sizes
            assert table(caller).posted


def _launch(instance, function, size):
    assert instance.invoke("launch", function, 0, size, OUT) == SUCCESS
    return int.from_bytes(instance.read(OUT, 8), "little")


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 100_000])
def test_inputs_and_outputs_around_the_size_from_which_they_are_not_copied(host, caller, size):
    function = warm(host, caller)
    start = caller.do(lambda instance: instance.grow(4)) * 65536
    data = bytes(number % 251 for number in range(size))
    caller.write(start, data)
    idle(host)
    assert caller.invoke("launch", function, start, size, OUT) == SUCCESS
    request = int.from_bytes(caller.read(OUT, 8), "little")
    assert caller.wait(request) == size
    assert caller.invoke("retrieve", request, start + 131072, size) == SUCCESS
    assert caller.read(start + 131072, size) == data
    assert table(caller).retained == 0


def test_answers_are_the_same_where_a_worker_is_idle(host, drive):
    caller = drive(max_requests=2, max_input=100)
    function = warm(host, caller)
    assert caller.invoke("launch", function, 1 << 17, 1, OUT) == INVALID
    assert caller.invoke("launch", function, INPUT, 1, (1 << 17) - 7) == INVALID
    assert caller.invoke("launch", 12345, INPUT, 1, OUT) == NOT_FOUND
    assert caller.invoke("launch", function, INPUT, 101, OUT) == INVALID
    requests = [caller.request(function, b"x") for _ in range(2)]
    assert caller.launch(requests[0])[0] == NOT_FOUND
    idle(host)
    assert caller.launch(function)[0] == UNAVAILABLE


@pytest.mark.parametrize(
    ("bounds", "options"),
    [
        (CallLimits(tree=2), {}),
        (CallLimits(children=2), {}),
        (CallLimits(depth=0), {}),
        (None, {"max_depth": 0}),
    ],
    ids=["tree", "children", "depth of calls", "depth of launches"],
)
def test_bounds_of_calls_are_told_at_launch(engine, bounds, options):
    with guesthouse.Host(workers=2, engine=engine, calls=bounds) as host:
        host.load(wasm("worker"), name="worker", limits=PATIENT)
        guest = host.load(
            wasm("caller"), name="caller", grant=["ark.module_run"], limits=PATIENT, ark=options
        )
        host.submit("worker", b"", entry="echo").result(10)
        idle(host)
        with Driver(host, guest) as caller:
            function = caller.function("loop")
            codes = [caller.launch(function)[0] for _ in range(4)]
        assert codes == ([0, 0, 7, 7] if bounds and bounds.depth else [7, 7, 7, 7])


def test_a_cancelled_caller_launches_nothing_more(host, caller, monkeypatch):
    function = warm(host, caller)
    before = host.service("launches").metrics()["launched"]
    host.scheduler.cancel(caller.call, "enough")
    with pytest.raises(guesthouse.errors.Cancelled, match="enough"):
        caller.launch(function)
    caller.end()
    assert host.service("launches").metrics()["launched"] == before


def test_a_launch_that_the_scheduler_refuses_after_all_fails_in_retrieve(host, caller, monkeypatch):
    function = warm(host, caller)
    submit = type(host.scheduler).submit

    def refuse(self, *args, posted_ns=0, **options):
        if posted_ns:
            self._running.bell.take()
            raise guesthouse.errors.CallRefused("queued", limit=1)
        return submit(self, *args, **options)

    monkeypatch.setattr(type(host.scheduler), "submit", refuse)
    code, request = caller.launch(function)
    assert code == SUCCESS
    assert caller.wait(request) == 0
    assert caller.retrieve(request, 0)[0] == INTERNAL
    (run,) = [run for run in host.service("launches") if run.request == request]
    assert run.cause.startswith("refused")
    assert host.scheduler._running.bell.pending == 0


def test_the_same_code_answers_where_no_worker_is_idle(host, caller, monkeypatch):
    """Python is asked where all workers are busy, and comes to the same."""
    function = warm(host, caller)
    busy = [host.submit("worker", entry="loop") for _ in range(2)]
    until(lambda: host.scheduler._running.bell.idle == 0)
    asked = []
    accepted = launching._accepted
    monkeypatch.setattr(launching, "_accepted", lambda *args: asked.append(1) or accepted(*args))
    request = caller.request(function, b"abc")
    assert asked == [1]
    assert caller.ready(request) == (SUCCESS, bytes(8))
    for future in busy:
        future.cancel()
    assert caller.wait(request) == 3
    assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"abc")


def test_polling_in_vain_hands_over_what_nobody_has_taken(engine):
    """The one worker runs the guest that launches: its place is lent."""
    with guesthouse.Host(workers=1, engine=engine) as host:
        host.load(wasm("worker"), name="worker", grant=["ark.module_run"], limits=PATIENT)
        begun = time.monotonic()
        for _ in range(5):
            futures = [host.submit("worker", b"abc", entry="polls") for _ in range(3)]
            assert {future.result(30).unwrap() for future in futures} == {b"ABC"}
        assert time.monotonic() - begun < 30
