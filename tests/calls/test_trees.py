"""Parents and children: help, depth, fan-out, cancellation, fairness, cycles."""

from __future__ import annotations

import threading
import time

import pytest
from tests.calls.fakes import FakeRunner, scheduler, spin

from guesthouse.calls import Call, CallLimits, Outcome
from guesthouse.errors import CallRefused, Cancelled, DeadlineExceeded


@pytest.fixture
def runner() -> FakeRunner:
    made = FakeRunner()

    @made.guest
    def echo(call: Call) -> Outcome:
        return Outcome(0, call.input)

    @made.guest
    def chain(call: Call) -> Outcome:
        left = int(call.input)
        if not left:
            return Outcome(0, b"bottom")
        child = call.scheduler.submit("chain", b"%d" % (left - 1), parent=call)
        return Outcome(0, call.scheduler.wait(child, waiter=call).unwrap())

    @made.guest
    def fan(call: Call) -> Outcome:
        calls = [call.scheduler.submit("echo", b"%d" % n, parent=call) for n in range(int(call.input))]
        total = sum(int(call.scheduler.wait(each, waiter=call).unwrap()) for each in calls)
        return Outcome(0, b"%d" % total)

    @made.guest
    def forever(call: Call) -> Outcome:
        spin(call)
        return Outcome(0, b"")

    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_200_levels_finish_on_any_number_of_workers(runner: FakeRunner, workers: int) -> None:
    with scheduler(runner, workers=workers) as calls:
        assert calls.wait(calls.submit("chain", b"200"), timeout=30).unwrap() == b"bottom"
        assert calls.run("chain", b"200").unwrap() == b"bottom"


def test_deep_chains_in_every_worker_at_once_all_finish(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        chains = [calls.submit("chain", b"100") for _ in range(8)]
        assert [calls.wait(each, timeout=30).unwrap() for each in chains] == [b"bottom"] * 8


def test_chain_finishes_when_no_more_threads_may_be_started(runner: FakeRunner) -> None:
    limits = CallLimits(threads=1, nesting=2)
    with scheduler(runner, workers=1, limits=limits) as calls:
        assert calls.wait(calls.submit("chain", b"40"), timeout=30).unwrap() == b"bottom"


def test_10_000_children_of_one_parent(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        result = calls.wait(calls.submit("fan", b"10000"), timeout=60)
        assert int(result.unwrap()) == sum(range(10_000))
        assert len(result.receipt.children) == 10_000


def test_a_waiter_runs_its_child_on_its_own_thread(runner: FakeRunner) -> None:
    @runner.guest
    def where(call: Call) -> Outcome:
        return Outcome(0, b"%d" % threading.get_ident())

    @runner.guest
    def asks(call: Call) -> Outcome:
        child = call.scheduler.submit("where", parent=call)
        return Outcome(0, call.scheduler.wait(child, waiter=call).unwrap())

    with scheduler(runner, workers=1) as calls:
        blocker = calls.submit("forever")
        assert calls.run("asks").unwrap() == b"%d" % threading.get_ident()
        calls.cancel(blocker)


def test_an_unawaited_child_still_runs_and_outlives_its_parent(
    runner: FakeRunner,
) -> None:
    ran = threading.Event()

    @runner.guest
    def child(call: Call) -> Outcome:
        time.sleep(0.05)
        ran.set()
        return Outcome(0, b"")

    @runner.guest
    def forgets(call: Call) -> Outcome:
        call.scheduler.submit("child", parent=call)
        return Outcome(0, b"")

    with scheduler(runner) as calls:
        calls.run("forgets").unwrap()
        assert ran.wait(5)


def test_linked_children_end_with_their_parent_others_do_not(
    runner: FakeRunner,
) -> None:
    made: dict[bool, Call] = {}

    @runner.guest
    def launches(call: Call) -> Outcome:
        for linked in (True, False):
            made[linked] = call.scheduler.submit("forever", parent=call, linked=linked)
        time.sleep(0.05)
        return Outcome(0, b"")

    with scheduler(runner) as calls:
        calls.run("launches").unwrap()
        assert isinstance(calls.wait(made[True], timeout=2).error, Cancelled)
        assert not made[False].done
        calls.cancel(made[False])
        assert isinstance(calls.wait(made[False], timeout=2).error, Cancelled)


def test_cancelling_reaches_every_level_running_pending_and_blocked(
    runner: FakeRunner,
) -> None:
    tree: list[Call] = []
    ready = threading.Event()

    @runner.guest
    def grows(call: Call) -> Outcome:
        tree.append(call)
        if call.depth == 3:
            tree.extend(call.scheduler.submit("forever", parent=call) for _ in range(5))
            ready.set()
            spin(call)
        child = call.scheduler.submit("grows", parent=call)
        return Outcome(0, call.scheduler.wait(child, waiter=call).unwrap())

    with scheduler(runner, workers=2) as calls:
        top = calls.submit("grows")
        assert ready.wait(5)
        start = time.monotonic()
        assert calls.cancel(top, "enough") is True
        for call in tree:
            error = calls.wait(call, timeout=5).error
            assert isinstance(error, Cancelled) and error.reason == "enough"
        assert time.monotonic() - start < 1
        assert calls.cancel(top) is False
        assert calls.stats()["live"] == 0


def test_cancelling_wakes_a_blocked_waiter_but_not_what_it_waits_for(
    runner: FakeRunner,
) -> None:
    with scheduler(runner, workers=2) as calls:
        slow = calls.submit("forever")

        @runner.guest
        def waits(call: Call) -> Outcome:
            calls.wait(slow, waiter=call)
            return Outcome(0, b"")

        while slow.stage == 0:
            time.sleep(0.001)
        waiter = calls.submit("waits")
        time.sleep(0.05)
        calls.cancel(waiter, "no more")
        assert isinstance(calls.wait(waiter, timeout=2).error, Cancelled)
        assert not slow.done


def test_an_instance_set_after_the_cancellation_is_told_at_once(
    runner: FakeRunner,
) -> None:
    entered, gate = threading.Event(), threading.Event()

    @runner.guest
    def slow_to_start(call: Call) -> Outcome:
        entered.set()
        gate.wait(5)
        spin(call)
        return Outcome(0, b"")

    with scheduler(runner) as calls:
        call = calls.submit("slow_to_start")
        assert entered.wait(5)
        calls.cancel(call, "early")
        gate.set()
        assert isinstance(calls.wait(call, timeout=2).error, Cancelled)


def test_children_have_no_more_time_than_their_parent(runner: FakeRunner) -> None:
    seen: list[tuple[int, int]] = []
    limits: list[float | None] = []

    @runner.guest
    def looks(call: Call) -> Outcome:
        assert call.parent is not None
        seen.append((call.parent.deadline, call.deadline))
        limits.append(call.wall)
        return Outcome(0, b"")

    @runner.guest
    def asks(call: Call) -> Outcome:
        for wall in (None, 1000.0, 1.0):
            call.scheduler.run("looks", parent=call, wall=wall)
        return Outcome(0, b"")

    with scheduler(runner) as calls:
        calls.run("asks", wall=60).unwrap()
        (same, capped, shorter) = seen
        assert same[0] == same[1] == capped[1] > 0
        assert 0 < shorter[1] < shorter[0]
        assert limits == [60, 60, 1.0]
        calls.run("asks").unwrap()
        assert seen[3][1] == 0 and seen[4][1] > 0


def test_a_parents_deadline_ends_it_while_it_waits(runner: FakeRunner) -> None:
    @runner.guest
    def asks(call: Call) -> Outcome:
        child = call.scheduler.submit("forever", parent=call)
        return Outcome(0, call.scheduler.wait(child, waiter=call).unwrap())

    with scheduler(runner) as calls:
        start = time.monotonic()
        assert isinstance(
            calls.wait(calls.submit("asks", wall=0.1), timeout=5).error,
            DeadlineExceeded,
        )
        assert time.monotonic() - start < 2


def test_capabilities_only_shrink_on_the_way_down(runner: FakeRunner) -> None:
    seen: list[frozenset[str] | None] = []

    @runner.guest
    def looks(call: Call) -> Outcome:
        seen.append(call.capabilities)
        return Outcome(0, b"")

    @runner.guest
    def asks(call: Call) -> Outcome:
        call.scheduler.run("looks", parent=call)
        call.scheduler.run("looks", parent=call, capabilities=frozenset({"a", "z"}))
        return Outcome(0, b"")

    with scheduler(runner) as calls:
        calls.run("asks", capabilities=frozenset({"a", "b"}))
        calls.run("asks")
    assert seen == [frozenset("ab"), frozenset("a"), None, frozenset("az")]


def test_depth_fan_out_tree_and_queue_are_bounded(runner: FakeRunner) -> None:
    with scheduler(runner, limits=CallLimits(depth=5)) as calls:
        assert calls.run("chain", b"5").unwrap() == b"bottom"
        refused = calls.run("chain", b"6").error
        assert isinstance(refused, CallRefused) and (refused.what, refused.limit) == (
            "depth",
            5,
        )

    for limits, what in (
        (CallLimits(children=3), "children"),
        (CallLimits(tree=3), "tree"),
        (CallLimits(queued=3), "queued"),
    ):

        @runner.guest
        def greedy(call: Call) -> Outcome:
            for _ in range(20):
                call.scheduler.submit("forever", parent=call)
            return Outcome(0, b"")

        with scheduler(runner, workers=1, limits=limits) as calls:
            refused = calls.run("greedy").error
            assert isinstance(refused, CallRefused) and (
                refused.what,
                refused.limit,
            ) == (what, 3)


def test_calling_oneself_without_end_fails_and_the_scheduler_goes_on(
    runner: FakeRunner,
) -> None:
    @runner.guest
    def bomb(call: Call) -> Outcome:
        for _ in range(2):
            call.scheduler.submit("bomb", parent=call)
        return Outcome(0, b"")

    with scheduler(runner, limits=CallLimits(depth=12, tree=500)) as calls:
        calls.run("bomb")
        assert calls.run("echo", b"alive").unwrap() == b"alive"
        assert calls.wait(calls.submit("echo", b"alive"), timeout=20).unwrap() == b"alive"


def test_waiting_in_a_circle_is_refused_at_once(runner: FakeRunner) -> None:
    both = threading.Barrier(2)
    made: dict[str, Call] = {}

    @runner.guest
    def waits(call: Call) -> Outcome:
        both.wait(5)
        calls.wait(made["b" if call is made["a"] else "a"], waiter=call)
        return Outcome(0, b"")

    @runner.guest
    def waits_for_itself(call: Call) -> Outcome:
        calls.wait(call, waiter=call)
        return Outcome(0, b"")

    @runner.guest
    def waits_for_its_parent(call: Call) -> Outcome:
        assert call.parent is not None
        calls.wait(call.parent, waiter=call)
        return Outcome(0, b"")

    @runner.guest
    def parent(call: Call) -> Outcome:
        return Outcome(0, calls.run("waits_for_its_parent", parent=call).unwrap())

    with scheduler(runner, workers=2) as calls:
        made["a"] = calls.submit("waits")
        made["b"] = calls.submit("waits")
        errors = [calls.wait(each, timeout=5).error for each in made.values()]
        assert sum(isinstance(each, CallRefused) and each.what == "cycle" for each in errors) == 1
        for guest in ("waits_for_itself", "parent"):
            refused = calls.run(guest).error
            assert isinstance(refused, CallRefused) and refused.what == "cycle"


def test_tenants_take_turns(runner: FakeRunner) -> None:
    order: list[str] = []
    gate, held = threading.Event(), threading.Event()

    @runner.guest
    def hold(call: Call) -> Outcome:
        held.set()
        gate.wait(5)
        return Outcome(0, b"")

    @runner.guest
    def notes(call: Call) -> Outcome:
        order.append(call.tenant)
        return Outcome(0, b"")

    with scheduler(runner, workers=1) as calls:
        calls.submit("hold")
        assert held.wait(5)
        last = [calls.submit("notes", tenant="greedy") for _ in range(50)][-1]
        others = [calls.submit("notes", tenant=name) for name in ("a", "b", "a")]
        gate.set()
        for each in (*others, last):
            calls.wait(each, timeout=5)
    assert order[:5] == ["greedy", "a", "b", "greedy", "a"]
    assert order.count("greedy") == 50


def test_guests_that_poll_in_every_worker_do_not_starve_their_children(
    runner: FakeRunner,
) -> None:
    @runner.guest
    def polls(call: Call) -> Outcome:
        depth = int(call.input)
        if not depth:
            return Outcome(0, b"x")
        child = call.scheduler.submit("polls", b"%d" % (depth - 1), parent=call)
        end = time.monotonic() + 10
        while not call.scheduler.poll(child, call):
            assert time.monotonic() < end, "starved"
            time.sleep(0.0005)
        return Outcome(0, b"x")

    with scheduler(runner, workers=2) as calls:
        tops = [calls.submit("polls", b"5") for _ in range(4)]
        assert all(calls.wait(each, timeout=20).ok for each in tops)
        assert calls.stats()["active"] <= 2 + 8


def test_no_more_run_at_once_than_there_are_workers(runner: FakeRunner) -> None:
    @runner.guest
    def naps(call: Call) -> Outcome:
        time.sleep(0.002)
        return Outcome(0, b"")

    with scheduler(runner, workers=3) as calls:
        for each in [calls.submit("naps") for _ in range(60)]:
            calls.wait(each, timeout=10)
        assert 2 <= runner.most <= 3


def test_submitting_from_16_threads(runner: FakeRunner) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(40):
                data = b"%d" % (number * 1000 + turn)
                assert calls.wait(calls.submit("echo", data, tenant=str(number % 5)), 20).unwrap() == data
                assert calls.run("chain", b"3").unwrap() == b"bottom"
                assert int(calls.run("fan", b"5").unwrap()) == 10
        except BaseException as error:
            failures.append(error)

    with scheduler(runner) as calls:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert calls.stats()["live"] == calls.stats()["pending"] == 0
        assert calls._running.bell.pending == 0  # or idle workers would wake for nothing, for ever


def test_a_chain_on_the_callers_thread_does_not_wait_for_busy_workers(runner):
    with scheduler(runner, workers=1) as calls:
        blocker = calls.submit("forever")
        while blocker.stage == 0:
            time.sleep(0.001)
        assert calls.run("chain", b"200").unwrap() == b"bottom"
        assert not blocker.done


def test_a_waiter_in_a_hurry_gives_up_in_time_and_chains_still_finish(runner):
    @runner.guest
    def hurries(call):
        child = call.scheduler.submit("forever", parent=call)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            call.scheduler.wait(child, 0.05, waiter=call)
        assert time.monotonic() - start < 2
        return Outcome(0, b"given up")

    @runner.guest
    def hurried_chain(call):
        left = int(call.input)
        if left:
            child = call.scheduler.submit("hurried_chain", b"%d" % (left - 1), parent=call)
            call.scheduler.wait(child, 30, waiter=call).unwrap()
        return Outcome(0, b"bottom")

    with scheduler(runner, workers=1) as calls:
        assert calls.run("hurries").unwrap() == b"given up"
        for call in calls.live():
            calls.cancel(call)
        assert calls.wait(calls.submit("hurried_chain", b"60"), timeout=30).unwrap() == b"bottom"
