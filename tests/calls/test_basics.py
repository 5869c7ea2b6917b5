"""Submitting, waiting, results, receipts."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from tests.calls.fakes import FakeRunner, scheduler, spin

from guesthouse.calls import Call, CallLimits, Outcome
from guesthouse.errors import CallRefused, Cancelled, DeadlineExceeded, GuestFailed, NotFound


@pytest.fixture
def runner() -> FakeRunner:
    made = FakeRunner()

    @made.guest
    def echo(call: Call) -> Outcome:
        return Outcome(0, call.input)

    @made.guest
    def fail(call: Call) -> Outcome:
        return Outcome(3, b"half")

    @made.guest
    def crash(call: Call) -> Outcome:
        raise RuntimeError("a bug of the host")

    @made.guest
    def forever(call: Call) -> Outcome:
        spin(call)
        return Outcome(0, b"")

    @made.guest
    def where(call: Call) -> Outcome:
        return Outcome(0, threading.current_thread().name.encode())

    @made.guest
    def parent(call: Call) -> Outcome:
        child = call.scheduler.submit("echo", b"of a child", parent=call)
        return Outcome(0, call.scheduler.wait(child, waiter=call).unwrap())

    return made


def test_run_stays_on_the_callers_thread_and_submit_does_not(
    runner: FakeRunner,
) -> None:
    with scheduler(runner) as calls:
        assert calls.run("where").output == threading.current_thread().name.encode()
        assert calls.wait(calls.submit("where")).output.startswith(b"guesthouse-worker")


def test_result_tells_code_output_and_error_apart(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        assert calls.run("echo", b"hi").unwrap() == b"hi"
        failed = calls.run("fail")
        assert (failed.code, failed.output, failed.error, failed.ok) == (
            3,
            b"half",
            None,
            False,
        )
        with pytest.raises(GuestFailed) as caught:
            failed.unwrap()
        assert caught.value.code == 3 and caught.value.output == b"half"
        assert caught.value.receipt is failed.receipt
        crashed = calls.run("crash")
        assert crashed.code == 1 and isinstance(crashed.error, RuntimeError)
        with pytest.raises(RuntimeError, match="a bug of the host"):
            crashed.unwrap()
        assert isinstance(calls.run("nobody").error, NotFound)


def test_results_are_stable_and_can_be_asked_for_again_by_id(
    runner: FakeRunner,
) -> None:
    with scheduler(runner) as calls:
        call = calls.submit("echo", b"once")
        first = calls.wait(call.id)
        assert calls.wait(call.id) is first
        assert calls.wait(call) is first
        assert calls.result(call.id) is first
        assert call.input == b""


def test_unknown_ids_are_refused_at_once(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        for unknown in (0, 1, -1, 2**31, 2**64):
            with pytest.raises(NotFound):
                calls.wait(unknown, timeout=5)
            assert calls.result(unknown) is None
            assert calls.cancel(unknown) is False


def test_ids_are_positive_31_bit_unique_and_carry_the_node(runner: FakeRunner) -> None:
    with scheduler(runner, node=5, node_bits=8) as calls:
        ids = [calls.submit("echo").id for _ in range(2000)]
        assert len(set(ids)) == 2000
        assert all(0 < each < 2**31 and each >> 23 == 5 for each in ids)


def test_ids_wrap_around_without_meeting_a_live_or_remembered_call(
    runner: FakeRunner,
) -> None:
    with scheduler(runner, limits=CallLimits(results=10), node=1, node_bits=16) as calls:
        kept = calls.run("echo", kept=True).call_id
        calls._calls._last_id = (1 << 15) - 3
        seen = [calls.run("echo").call_id for _ in range(6)]
        assert kept not in seen and len(set(seen)) == 6 and all(each >> 15 == 1 for each in seen)


def test_old_results_go_by_number_bytes_and_age(runner: FakeRunner) -> None:
    with scheduler(runner, limits=CallLimits(results=3)) as calls:
        ids = [calls.run("echo", kept=True).call_id for _ in range(5)]
        assert [calls.result(each) is not None for each in ids] == [
            False,
            False,
            True,
            True,
            True,
        ]
    with scheduler(runner, limits=CallLimits(result_bytes=100)) as calls:
        ids = [calls.run("echo", b"x" * 40, kept=True).call_id for _ in range(4)]
        assert [calls.result(each) is not None for each in ids] == [
            False,
            False,
            True,
            True,
        ]
        assert calls.stats()["remembered_bytes"] == 80
    with scheduler(runner, limits=CallLimits(result_age=0.05)) as calls:
        old = calls.run("echo", kept=True).call_id
        time.sleep(0.1)
        assert calls.result(old) is None


def test_whoever_holds_the_call_keeps_its_result(runner: FakeRunner) -> None:
    with scheduler(runner, limits=CallLimits(results=1)) as calls:
        first = calls.submit("echo", b"mine")
        for _ in range(5):
            calls.wait(calls.submit("echo"))
        assert calls.result(first.id) is None
        assert calls.wait(first).unwrap() == b"mine"


def test_receipt_counts_bytes_time_and_children(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        result = calls.run("parent", b"abc", kept=True)
        assert result.receipt.bytes_in == 3
        assert result.receipt.bytes_out == len(b"of a child")
        assert result.receipt.wall_s > 0
        (child,) = result.receipt.children
        assert calls.result(child) is not None


def test_graph_shows_who_called_whom(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        top = calls.graph(calls.run("parent", kept=True).call_id)
        assert (top.guest, top.stage, top.forgotten) == ("parent", "done", 0)
        (child,) = top.children
        assert (child.guest, child.children) == ("echo", [])
        assert child.result is not None and child.result.output == b"of a child"
        with pytest.raises(NotFound):
            calls.graph(77)


def test_deadline_ends_running_and_pending_calls(runner: FakeRunner) -> None:
    with scheduler(runner, workers=1) as calls:
        running = calls.submit("forever", wall=0.2)
        while running.stage == 0:
            time.sleep(0.001)
        pending = calls.submit("forever", wall=0.05)
        late = calls.wait(pending, timeout=5).error
        assert isinstance(late, DeadlineExceeded) and late.limit == 0.05
        assert not running.done  # it did not have to wait for the worker
        late = calls.wait(running, timeout=5).error
        assert isinstance(late, DeadlineExceeded) and late.limit == 0.2


def test_waiting_can_time_out_and_be_resumed(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        call = calls.submit("forever", wall=0.3)
        with pytest.raises(TimeoutError):
            calls.wait(call, timeout=0.02)
        assert isinstance(calls.wait(call).error, DeadlineExceeded)


def test_future_resolves_once_and_cancels(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        call = calls.submit("echo", b"later")
        assert calls.future(call).result(timeout=5).unwrap() == b"later"
        call = calls.submit("forever")
        future = calls.future(call)
        assert future is calls.future(call)
        assert future.cancel() is True
        assert "its future was cancelled" in str(future.result(timeout=5).error)
        done = calls.submit("echo")
        calls.wait(done)
        assert calls.future(done).result(timeout=0).ok
        assert calls.future(done).cancel() is False


def test_future_can_be_awaited(runner: FakeRunner) -> None:
    async def ask() -> bytes:
        future = calls.future(calls.submit("echo", b"from asyncio"))
        return (await asyncio.wrap_future(future)).unwrap()

    with scheduler(runner) as calls:
        assert asyncio.run(ask()) == b"from asyncio"


def test_closed_scheduler_takes_nothing(runner: FakeRunner) -> None:
    with scheduler(runner) as calls:
        call = calls.submit("forever")
        calls.close()
        assert call.done and "shutting down" in str(call.result and call.result.error)
        with pytest.raises(CallRefused) as caught:
            calls.submit("echo")
        assert caught.value.what == "shutdown"
        assert calls.stats()["threads"] == 0


def test_drain_lets_live_calls_finish_with_their_children(runner: FakeRunner) -> None:
    gate = threading.Event()

    @runner.guest
    def late(call: Call) -> Outcome:
        gate.wait(5)
        return Outcome(0, call.scheduler.run("echo", b"child", parent=call).unwrap())

    with scheduler(runner) as calls:
        call = calls.submit("late")
        assert calls.drain(0.05) is False
        with pytest.raises(CallRefused):
            calls.submit("echo")
        gate.set()
        assert calls.drain(5) is True
        assert call.result is not None and call.result.unwrap() == b"child"


def test_on_end_sees_every_call_once(runner: FakeRunner) -> None:
    ended: list[int] = []
    with scheduler(runner, on_end=lambda call: ended.append(call.id)) as calls:
        calls.run("parent")
        calls.run("fail")
        assert len(ended) == len(set(ended)) == 3


def test_keyboard_interrupt_ends_the_call_and_goes_on_up(runner: FakeRunner) -> None:
    @runner.guest
    def interrupted(call: Call) -> Outcome:
        raise KeyboardInterrupt

    with scheduler(runner) as calls:
        with pytest.raises(KeyboardInterrupt):
            calls.run("interrupted")
        assert calls.stats()["live"] == 0


@pytest.mark.parametrize("refused", [1, 3])
def test_threads_that_cannot_be_started_make_do_with_less_or_fail_the_call(runner, monkeypatch, refused):
    start, asked = threading.Thread.start, []

    def starts(thread):
        asked.append(threading.stack_size())
        if len(asked) <= refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    with scheduler(runner) as calls:
        monkeypatch.setattr(threading.Thread, "start", starts)
        first = calls.wait(calls.submit("echo", b"x"), timeout=5)
        monkeypatch.undo()
        assert asked[:3] == [64 << 20, 8 << 20, 2 << 20][: refused + 1] + asked[refused + 1 : 3]
        if refused == 1:
            assert first.unwrap() == b"x"
        else:
            assert isinstance(first.error, RuntimeError)
        assert calls.wait(calls.submit("echo", b"y"), timeout=5).unwrap() == b"y"
        assert calls.stats()["live"] == calls._running.bell.pending == 0


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, KeyboardInterrupt, asyncio.CancelledError])
def test_no_exception_ends_a_worker_and_leaves_others_waiting(runner, kind):
    @runner.guest
    def leave(call: Call) -> Outcome:
        raise kind

    with scheduler(runner, workers=1) as calls:
        futures = [calls.future(calls.submit("leave")) for _ in range(5)]
        ends = [future.result(5).error for future in futures]
        assert [type(end.__cause__) for end in ends] == [kind] * 5
        assert all(isinstance(end, Cancelled) and kind.__name__ in str(end) for end in ends)
        assert calls.wait(calls.submit("echo", b"still here"), 5).output == b"still here"
