"""Terms of a call: who takes the result over, and which worker comes."""

from __future__ import annotations

import threading

from tests.calls.fakes import FakeRunner, scheduler

from guesthouse.calls import Call, Outcome, Terms


def test_an_observer_takes_the_output_over():
    runner = FakeRunner()

    @runner.guest
    def echo(call: Call) -> Outcome:
        assert call.terms.target == "version 1"
        return Outcome(0, call.input)

    taken = []
    over = threading.Event()
    with scheduler(runner) as calls:
        terms = Terms("version 1", observer=lambda end: (taken.append(end), over.set()))
        call = calls.submit("echo", b"x" * 1000, terms=terms)
        assert over.wait(5)
        assert taken[0].output == b"x" * 1000
        remembered = calls.wait(call)
        assert (remembered.code, remembered.output) == (0, b"")
        assert remembered.receipt.bytes_out == 1000


def test_an_observer_hears_of_calls_that_never_started():
    runner = FakeRunner()
    gate = threading.Event()

    @runner.guest
    def wait(call: Call) -> Outcome:
        gate.wait(5)
        return Outcome(0, b"")

    ends = []
    with scheduler(runner, workers=1) as calls:
        calls.submit("wait")
        pending = calls.submit("wait", terms=Terms(observer=ends.append))
        calls.cancel(pending, "not needed")
        gate.set()
    assert [type(end.error).__name__ for end in ends] == ["Cancelled"]
