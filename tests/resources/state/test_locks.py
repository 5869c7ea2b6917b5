"""Local read and write locks: owned by calls, never in the way of their owner, never waiting for ever."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

import pytest

from guesthouse.resources.state import Session, StateStore
from guesthouse.resources.state.errors import Deadlock, NotLocked, SizeUnknown


@pytest.fixture
def store() -> StateStore:
    opened = StateStore()
    for key in (b"k", b"l"):
        opened.session("t", 1).write(key, bytes(8))
    return opened


def started(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def waits(thread: threading.Thread) -> bool:
    thread.join(0.05)
    return thread.is_alive()


def test_readers_share_and_writers_exclude(store: StateStore) -> None:
    one, two, three = (store.session("t", owner) for owner in (1, 2, 3))
    one.lock(b"k", write=False)
    two.lock(b"k", write=False)
    writer = started(lambda: three.lock(b"k", write=True))
    assert waits(writer)
    one.unlock(b"k", write=False)
    assert waits(writer)
    two.unlock(b"k", write=False)
    writer.join(5)
    assert not writer.is_alive()
    reader = started(lambda: one.lock(b"k", write=False))
    assert waits(reader)
    three.unlock(b"k", write=True)
    reader.join(5)
    assert not reader.is_alive()


def test_waiting_writer_is_not_starved_by_new_readers(store: StateStore) -> None:
    one, two, three = (store.session("t", owner) for owner in (1, 2, 3))
    one.lock(b"k", write=False)
    writer = started(lambda: two.lock(b"k", write=True))
    assert waits(writer)
    reader = started(lambda: three.lock(b"k", write=False))
    assert waits(reader)
    one.lock(b"k", write=False)  # but a holder may take it again
    one.unlock(b"k", write=False)
    one.unlock(b"k", write=False)
    writer.join(5)
    assert not writer.is_alive() and waits(reader)
    two.end()
    reader.join(5)
    assert not reader.is_alive()


@pytest.mark.parametrize("write", [False, True])
def test_the_holders_own_operations_proceed(store: StateStore, write: bool) -> None:
    session = store.session("t", 1)
    session.lock(b"k", write=write)
    session.write(b"k", b"12345678")
    session.write_range(b"k", 8, 0, b"x")
    assert session.read(b"k") == b"x2345678"
    session.push(b"k")
    session.push_partial(b"k")
    session.pull(b"k")
    session.flag_dirty(b"k")
    session.unlock(b"k", write=write)


def test_operations_of_others_wait_for_the_lock(store: StateStore) -> None:
    holder, other = store.session("t", 1), store.session("t", 2)
    holder.lock(b"k", write=False)
    assert other.read(b"k") == bytes(8)
    writer = started(lambda: other.write(b"k", b"87654321"))
    assert waits(writer)
    assert holder.read(b"k") == bytes(8)
    holder.unlock(b"k", write=False)
    writer.join(5)
    assert holder.read(b"k") == b"87654321"
    holder.lock(b"k", write=True)
    reader = started(lambda: other.read(b"k"))
    assert waits(reader)
    holder.end()
    reader.join(5)
    assert not reader.is_alive()


def test_two_readers_that_both_write_do_not_wait_for_one_another(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    one.lock(b"k", write=False)
    two.lock(b"k", write=False)
    one.write(b"k", b"11111111")
    two.write(b"k", b"22222222")
    assert one.read(b"k") == b"22222222"


def test_a_call_works_under_the_lock_of_one_that_waits_for_it(store: StateStore) -> None:
    parent, child = store.session("t", 1), store.session("t", 7, awaited_by=(5, 1))
    parent.lock(b"k", write=True)
    child.write(b"k", b"by child")
    assert child.read(b"k") == b"by child"
    with pytest.raises(Deadlock):
        child.lock(b"k", write=False)
    other = store.session("t", 8)
    waiting = started(lambda: other.lock(b"k", write=True))
    assert waits(waiting)
    parent.end()
    waiting.join(5)
    assert not waiting.is_alive()


def test_circles_through_calls_that_wait_are_found(store: StateStore) -> None:
    parent, child, third = (
        store.session("t", 1),
        store.session("t", 7, awaited_by=(1,)),
        store.session("t", 3),
    )
    parent.lock(b"k", write=True)
    third.lock(b"l", write=True)
    waiting = started(lambda: third.lock(b"k", write=True))
    assert waits(waiting)
    with pytest.raises(Deadlock):  # it would wait for the third, that for the parent, that for the child
        child.lock(b"l", write=True)
    parent.end()
    waiting.join(5)
    assert not waiting.is_alive()


def test_crossed_operations_go_on(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    one.lock(b"k", write=True)
    two.lock(b"l", write=True)
    waiting = started(lambda: one.write(b"l", b"........"))
    assert waits(waiting)
    two.write(b"k", b"........")  # would close the circle: locks are advisory, it goes on
    two.end()
    waiting.join(5)
    assert not waiting.is_alive()


def test_crossed_locks_are_an_error_at_once(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    one.lock(b"k", write=True)
    two.lock(b"l", write=True)
    waiting = started(lambda: one.lock(b"l", write=True))
    assert waits(waiting)
    with pytest.raises(Deadlock):
        two.lock(b"k", write=False)
    two.end()
    waiting.join(5)
    assert not waiting.is_alive()


def test_upgrade_succeeds_alone_and_fails_for_the_second(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    one.lock(b"k", write=False)
    one.lock(b"k", write=True)
    one.end()
    one.lock(b"k", write=False)
    two.lock(b"k", write=False)
    waiting = started(lambda: one.lock(b"k", write=True))
    assert waits(waiting)
    with pytest.raises(Deadlock):
        two.lock(b"k", write=True)
    two.end()
    waiting.join(5)
    assert not waiting.is_alive()


def test_locks_are_counted_and_released_at_the_end(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    for _ in range(3):
        one.lock(b"k", write=True)
    one.unlock(b"k", write=True)
    waiting = started(lambda: two.lock(b"k", write=True))
    assert waits(waiting)
    one.end()
    waiting.join(5)
    assert not waiting.is_alive()
    with pytest.raises(NotLocked):
        one.unlock(b"k", write=True)
    two.unlock(b"k", write=True)


def test_a_dropped_session_releases_its_locks(store: StateStore) -> None:
    store.session("t", 1).lock(b"k", write=True)
    store.session("t", 2).lock(b"k", write=True)


def test_unlock_without_holding_is_an_error(store: StateStore) -> None:
    one, two = store.session("t", 1), store.session("t", 2)
    one.lock(b"k", write=False)
    for session, write in ((one, True), (two, False), (two, True)):
        with pytest.raises(NotLocked):
            session.unlock(b"k", write=write)
    with pytest.raises(SizeUnknown, match="size"):
        one.lock(b"nobody", write=True)


def test_deleting_a_locked_value_leaves_the_lock_valid(store: StateStore) -> None:
    session = store.session("t", 1)
    session.lock(b"k", write=True)
    store.delete("t", b"k")
    session.end()
    session.write(b"k", b"new")
    assert session.read(b"k") == b"new"


@pytest.mark.timeout(60)
def test_counter_under_contention_loses_nothing(store: StateStore) -> None:
    def work(owner: int) -> None:
        session: Session = store.session("t", owner)
        for _ in range(150):
            session.lock(b"k", write=True)
            number = int.from_bytes(session.read(b"k"), "little")
            if number % 7 == 0:
                time.sleep(0)
            session.write(b"k", (number + 1).to_bytes(8, "little"))
            session.unlock(b"k", write=True)

    threads = [started(functools.partial(work, n)) for n in range(1, 9)]
    for thread in threads:
        thread.join()
    assert int.from_bytes(store.get("t", b"k") or b"", "little") == 8 * 150
