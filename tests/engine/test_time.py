"""Deadlines, cancellation and fuel: the guest ends, and nobody else does."""

from __future__ import annotations

import threading
import time

import pytest

from guesthouse.errors import Cancelled, DeadlineExceeded, OutOfFuel

SPIN = '(module (func (export "spin") (loop (br 0))) (func (export "ok") (result i32) i32.const 5))'


def in_ms(milliseconds: float) -> int:
    return time.monotonic_ns() + int(milliseconds * 1e6)


def test_a_spinning_guest_ends_at_its_deadline(start):
    instance = start(SPIN)
    instance.deadline = in_ms(50)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        instance.invoke("spin")
    assert 0.05 <= time.monotonic() - begun < 1.0
    assert not instance.usable


def test_a_spinning_start_function_ends_too(link):
    instance = link("(module (func $s (loop (br 0))) (start $s))").open()
    instance.deadline = in_ms(20)
    with pytest.raises(DeadlineExceeded):
        instance.start()
    instance.close()


def test_a_deadline_that_passed_keeps_the_guest_from_running(start):
    instance = start(SPIN)
    instance.deadline = in_ms(-1)
    with pytest.raises(DeadlineExceeded):
        instance.invoke("ok")
    instance.deadline = 0
    assert instance.invoke("ok") == 5  # nothing had run, so nothing is broken


def test_a_deadline_in_host_code_ends_the_guest_right_after(start):
    text = '(module (import "h" "f" (func $f)) (func (export "run") (call $f) (loop (br 0))))'
    instance = start(text, {("h", "f"): ("", "", lambda call: time.sleep(0.1))})
    instance.deadline = in_ms(50)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        instance.invoke("run")
    assert time.monotonic() - begun < 1.0


def test_host_code_can_ask(start):
    text = '(module (import "h" "f" (func $f)) (func (export "run") (call $f)))'
    rounds = []

    def f(call):
        while True:
            call.check()
            rounds.append(1)
            time.sleep(0.005)

    instance = start(text, {("h", "f"): ("", "", f)})
    instance.deadline = in_ms(40)
    with pytest.raises(DeadlineExceeded):
        instance.invoke("run")
    assert rounds


def test_cancel_from_another_thread(start):
    instance = start(SPIN)
    threading.Timer(0.05, instance.cancel, ["no longer wanted"]).start()
    with pytest.raises(Cancelled, match="no longer wanted"):
        instance.invoke("spin")


def test_cancel_before_the_call(start):
    instance = start(SPIN)
    instance.cancel("too late")
    with pytest.raises(Cancelled, match="too late"):
        instance.invoke("ok")
    instance.resume()
    assert instance.invoke("ok") == 5


def test_close_from_another_thread_ends_the_call_first(start):
    text = '(module (import "h" "f" (func $f)) (func (export "run") (call $f) (loop (br 0))))'
    inside = threading.Event()
    instance = start(text, {("h", "f"): ("", "", lambda call: inside.set())})
    thread = threading.Thread(target=lambda: (inside.wait(), instance.close()))
    thread.start()
    with pytest.raises(Cancelled, match="closed"):
        instance.invoke("run")
    thread.join()
    assert instance.closed


def test_one_guests_end_hits_no_bystander(link):
    """DESIGN section 3, item 6: a tick asks each call; only the one whose time is up ends."""
    template = link(SPIN)
    count = link('(module (func (export "count") (param i32) (result i32) (local i32) (loop'
                 " (local.set 1 (i32.add (local.get 1) (i32.const 1)))"
                 " (br_if 0 (i32.lt_u (local.get 1) (local.get 0)))) (local.get 1)))")  # fmt: skip
    wrong: list[object] = []

    def bystander():
        for _ in range(5):
            with count.open() as instance:
                instance.start()
                instance.deadline = in_ms(60_000)
                if instance.invoke("count", 50_000_000) != 50_000_000:
                    wrong.append("miscounted")

    thread = threading.Thread(target=bystander)
    thread.start()
    while thread.is_alive():
        with template.open() as instance:
            instance.start()
            instance.deadline = in_ms(10)
            with pytest.raises(DeadlineExceeded):
                instance.invoke("spin")
    thread.join()
    assert wrong == []


def test_fuel_runs_out_and_is_counted_exactly(start):
    instance = start(SPIN, metered=True, fuel=10_000)
    with pytest.raises(OutOfFuel) as caught:
        instance.invoke("spin")
    assert caught.value.limit == 10_000
    used = []
    for _ in range(3):
        instance = start(SPIN, metered=True, fuel=10_000)
        instance.invoke("ok")
        used.append(instance.fuel_used())
    assert used[0] == used[1] == used[2] > 0


def test_fuel_without_metering_is_a_clear_error(link):
    with pytest.raises(ValueError, match="without metering"):
        link(SPIN).open(fuel=5)


def test_the_ticker_wakes_up_after_a_rest(start):
    time.sleep(1.3)  # long enough for the ticker to fall asleep
    instance = start(SPIN)
    instance.deadline = in_ms(30)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        instance.invoke("spin")
    assert time.monotonic() - begun < 1.0
