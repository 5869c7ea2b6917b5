"""Mailboxes: what waits for a cell, and which of its instances takes it (spec/pulp.md 5.3)."""

from __future__ import annotations

import gc
import queue
import threading
import time

import pytest

from guesthouse.interfaces.pulp.extension import Event, Posted
from guesthouse.interfaces.pulp.mailbox import Mailbox, Seat

FOR_EVER = 30.0


def event(number: int, kind: str = "k") -> Event:
    return Event(kind, b"\1", id=number)


class Taker:
    """An instance: a thread that takes events and says so; some let it compute, some keep it until it is freed."""

    def __init__(self, mailbox: Mailbox, name: str, taken: queue.Queue) -> None:
        self.freed = threading.Event()
        self.pause = FOR_EVER
        self._stopping = False
        self._mailbox = mailbox
        self._thread = threading.Thread(target=self._run, args=(name, taken))
        self._thread.start()

    def _run(self, name: str, taken: queue.Queue) -> None:
        seat = Seat(self._mailbox)
        while not self._stopping:
            found = seat.get(self.pause, lambda: self._stopping)
            if found is None:
                continue
            until = time.thread_time() + (0.005 if found.kind == "compute" else 0)
            while time.thread_time() < until:
                pass
            if found.kind == "wait":
                time.sleep(0.005)
            taken.put((name, found.id))
            if found.kind == "keep":
                self.freed.wait(FOR_EVER)
        seat.leave()

    def stop(self) -> None:
        self._stopping = True
        self.freed.set()
        self._mailbox.wake()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def crew():
    """Starts takers at a mailbox, and stops them afterwards."""
    started: list[Taker] = []

    def start(mailbox: Mailbox, number: int) -> tuple[list[Taker], queue.Queue]:
        taken: queue.Queue = queue.Queue()
        started.extend(Taker(mailbox, str(place), taken) for place in range(number))
        return started, taken

    yield start
    for each in started:
        each.stop()


def test_events_come_out_in_order_and_a_full_box_drops() -> None:
    box = Mailbox(3)
    assert [box.put(event(number)) for number in range(4)] == [Posted.QUEUED] * 3 + [Posted.FULL]
    assert (len(box), box.dropped, box.limit) == (3, 1, 3)
    seat = Seat(box)
    assert [seat.get(0).id for _ in range(3)] == [0, 1, 2]
    assert seat.get(0) is None
    assert box.put(event(9)) is Posted.QUEUED


def test_a_closed_box_takes_nothing_and_gives_back_what_was_left() -> None:
    box = Mailbox()
    seat = Seat(box)
    box.put(event(1))
    assert [each.id for each in box.close()] == [1]
    assert box.closed
    assert box.put(event(2)) is Posted.GONE
    assert seat.get(FOR_EVER) is None
    box.reopen()
    box.put(event(3))
    assert seat.get(0).id == 3


def test_whoever_waits_is_woken_by_an_event_by_a_close_and_by_a_call(crew) -> None:
    box = Mailbox()
    _, taken = crew(box, 1)
    box.put(event(1))
    assert taken.get(timeout=10) == ("0", 1)
    box.close()
    box.reopen()
    box.put(event(2))
    assert taken.get(timeout=10) == ("0", 2)


def test_what_is_to_be_done_elsewhere_goes_before_events() -> None:
    box = Mailbox()
    seat = Seat(box)
    box.put(event(1))
    assert seat.get(FOR_EVER, lambda: True) is None
    assert len(box) == 1


def test_a_wait_ends_after_its_time() -> None:
    seat = Seat(Mailbox())
    started = time.monotonic()
    assert seat.get(0.05) is None
    assert time.monotonic() - started >= 0.05


def test_one_instance_takes_all_while_it_keeps_up(crew) -> None:
    box = Mailbox(limit=300, patience=FOR_EVER)
    _, taken = crew(box, 3)
    names = set()
    for number in range(300):
        box.put(event(number))
        if number % 3 == 0:  # also when several wait
            names.add(taken.get(timeout=10)[0])
    names |= {taken.get(timeout=10)[0] for _ in range(200)}
    assert len(names) == 1


def test_idle_ticks_of_the_others_do_not_take_its_place(crew) -> None:
    box = Mailbox(patience=FOR_EVER)
    takers, taken = crew(box, 3)
    box.put(event(0))
    first, _ = taken.get(timeout=10)
    for each in takers:
        each.pause = 0.001
    box.wake()
    for number in range(50):
        time.sleep(0.003)
        box.put(event(number))
        assert taken.get(timeout=10)[0] == first


def test_another_one_comes_when_nothing_moves(crew) -> None:
    box = Mailbox(patience=0.005)
    takers, taken = crew(box, 3)
    seen = []
    for number in range(3):  # whoever takes one does not come back
        box.put(event(number, "keep"))
        seen.append(taken.get(timeout=10)[0])
    assert sorted(seen) == ["0", "1", "2"]
    box.put(event(3))
    with pytest.raises(queue.Empty):
        taken.get(timeout=0.05)
    takers[1].freed.set()
    assert taken.get(timeout=10) == ("1", 3)


@pytest.mark.parametrize("kind", ["compute", "wait"])
def test_steps_that_compute_or_wait_are_shared_at_once(crew, kind) -> None:
    box = Mailbox(patience=FOR_EVER)
    _, taken = crew(box, 2)
    for number in range(9):
        box.put(event(number, kind))
        taken.get(timeout=10)
    box.put(event(3, "keep"))
    box.put(event(4, "keep"))
    assert {taken.get(timeout=10)[0] for _ in range(2)} == {"0", "1"}


def test_what_waits_is_for_the_others_when_one_leaves() -> None:
    box = Mailbox(patience=FOR_EVER)
    leaving = Seat(box)
    box.put(event(1))
    assert leaving.get(0).id == 1
    taken: queue.Queue = queue.Queue()
    thread = threading.Thread(target=lambda: taken.put(Seat(box).get(FOR_EVER)))
    thread.start()
    time.sleep(0.05)
    box.put(event(2))
    leaving.leave()
    leaving.leave()
    assert taken.get(timeout=10).id == 2
    thread.join(5)


def test_seats_may_be_forgotten_in_any_order() -> None:
    box = Mailbox()
    seats = [Seat(box) for _ in range(3)]
    del seats[1]
    gc.collect()
    box.put(event(1))
    assert seats[0].get(0).id == 1
    del box, seats
    gc.collect()


def test_nothing_is_lost_between_many_hands(crew) -> None:
    box = Mailbox(limit=100_000, patience=0.0005)
    _, taken = crew(box, 4)

    def post(begin: int) -> None:
        for number in range(begin, begin + 2000):
            assert box.put(event(number)) is Posted.QUEUED

    threads = [threading.Thread(target=post, args=(begin,)) for begin in (0, 2000, 4000)]
    for thread in threads:
        thread.start()
    seen = sorted(taken.get(timeout=20)[1] for _ in range(6000))
    for thread in threads:
        thread.join(5)
    assert seen == list(range(6000))
    assert len(box) == 0
