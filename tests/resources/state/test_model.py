"""Random operations of several hosts and eight threads against a model that fits on one page."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse.resources.state import GlobalTier, StateStore, open_tier

SIZE = 200
START = st.integers(0, SIZE - 1)
ACTION = st.one_of(
    st.tuples(st.just("write_range"), START, st.binary(min_size=1, max_size=60)),
    st.tuples(st.just("write"), st.binary(min_size=SIZE, max_size=SIZE)),
    st.tuples(st.just("read_range"), START, st.integers(0, SIZE)),
    st.tuples(st.sampled_from(["read", "push", "push_partial", "pull"])),
)


@dataclass
class Model:
    """One host's view: what faasm.md 4.4 and 4.5 say, byte by byte."""

    shared: dict[str, bytearray]
    local: bytearray = field(default_factory=lambda: bytearray(SIZE))
    here: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)

    def fetch(self, places: range) -> None:
        for i in places:
            if i not in self.here and "k" in self.shared:
                self.local[i] = self.shared["k"][i]
            self.here.add(i)

    def apply(self, action: tuple[object, ...]) -> bytes | None:
        name, *rest = action
        if name in ("write", "write_range"):
            start, data = (0, rest[0]) if name == "write" else (rest[0], rest[1])
            assert isinstance(start, int) and isinstance(data, bytes)
            data = data[: SIZE - start]
            self.local[start : start + len(data)] = data
            self.here.update(range(start, start + len(data)))
            self.dirty.update(range(start, start + len(data)))
        elif name in ("read", "read_range"):
            start, length = (0, SIZE) if name == "read" else (rest[0], rest[1])
            assert isinstance(start, int) and isinstance(length, int)
            end = min(SIZE, start + length)
            self.fetch(range(start, end))
            return bytes(self.local[start:end])
        elif name == "pull":
            if "k" in self.shared:
                self.local[:] = self.shared["k"]
                self.here = set(range(SIZE))
                self.dirty.clear()
        elif self.dirty:
            sent = self.dirty & self.here if name == "push_partial" else set(self.here)
            target = self.shared.setdefault("k", bytearray(SIZE))
            for i in sent:
                target[i] = self.local[i]
            self.dirty.clear()
            if name == "push_partial" and len(self.here) == SIZE:
                self.local[:] = target
        return None


def perform(store: StateStore, action: tuple[object, ...]) -> bytes | None:
    session = store.session("t", 1)
    name, *rest = action
    if name == "write_range":
        start, data = rest
        assert isinstance(start, int) and isinstance(data, bytes)
        session.write_range(b"k", SIZE, start, data[: SIZE - start])
    elif name == "write":
        assert isinstance(rest[0], bytes)
        session.write(b"k", rest[0])
    elif name == "read_range":
        start, length = rest
        assert isinstance(start, int) and isinstance(length, int)
        return session.read_range(b"k", SIZE, start, min(length, SIZE - start))
    elif name == "read":
        return session.read_range(b"k", SIZE, 0, SIZE)
    elif name == "pull":
        session.pull(b"k", SIZE)
    elif session.size(b"k"):
        getattr(session, str(name))(b"k")
    return None


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.tuples(st.integers(0, 2), ACTION), max_size=25))
def test_three_hosts_behave_like_the_model(
    backend: str, actions: list[tuple[int, tuple[object, ...]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tier: GlobalTier = open_tier("memory://")
    if backend == "sqlite":
        tier = open_tier(f"sqlite:///{tmp_path_factory.mktemp('state')}/state.db")
    shared: dict[str, bytearray] = {}
    stores, models = [StateStore(tier, capacity=1 << 20) for _ in range(3)], [Model(shared) for _ in range(3)]
    for host, action in actions:
        assert perform(stores[host], action) == models[host].apply(action), (host, action)
    tier.close()


@pytest.mark.timeout(120)
@settings(max_examples=8, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_eight_threads_each_see_only_whole_writes_and_lose_none(seed: object) -> None:
    """Every thread owns one stripe of the value; whole-value reads see each stripe as some write left it."""
    store = StateStore(capacity=1 << 20)
    stripe, threads_count, rounds = 512, 8, 60
    total = stripe * threads_count
    wrong: list[object] = []

    def work(number: int) -> None:
        session = store.session("t", number + 1)
        for i in range(rounds):
            session.write_range(b"k", total, number * stripe, bytes([i + 1]) * stripe)
            if i % 9 == number:
                session.push_partial(b"k")
            data = session.read_range(b"k", total, 0, total)
            stripes = [data[other * stripe : (other + 1) * stripe] for other in range(threads_count)]
            wrong.extend((number, i, other) for other, part in enumerate(stripes) if len(set(part)) != 1)
            if data[number * stripe] != i + 1:
                wrong.append((number, i, data[number * stripe]))
        session.push_partial(b"k")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    store.flush()
    assert store.get("t", b"k") == bytes([rounds]) * total
