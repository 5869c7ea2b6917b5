"""Modules that cells share (spec/pulp.md 5.7, acceptance cases 13 and 14)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import guesthouse.pulp as face
from guesthouse.engine import Engine
from guesthouse.errors import InvalidModule
from guesthouse.interfaces.pulp.modules import ModuleCache, ModuleCacheClosed
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.testing import guests

#: Counts its steps; `%d` makes different modules.
COUNTER = """(module (memory (export "memory") 1) (global $n (mut i64) (i64.const %d))
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32)
    (global.set $n (i64.add (global.get $n) (i64.const 1))) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0))
  (func (export "probe_last_call") (result i64) (global.get $n)))"""


@pytest.fixture
def surroundings():
    engine = Engine(cache=False)
    yield Surroundings(engine)
    engine.close()


def load(surroundings, name: str, start: int = 0):
    spec = CellSpec(name, guests.wat(COUNTER % start), cell_id=f"id-{name}")
    return face.Cell.load(spec, surroundings=surroundings)


def test_case_13_many_acquires_at_once_compile_once(surroundings) -> None:
    cache = ModuleCache(surroundings.engine)
    wasm = guests.wat(COUNTER % 7)
    begin = threading.Barrier(32)

    def acquire(_: int):
        begin.wait(10)
        return cache.acquire(wasm)

    with ThreadPoolExecutor(32) as pool:
        leases = list(pool.map(acquire, range(32)))
    assert len({id(lease.module) for lease in leases}) == 1
    stats = cache.stats
    assert (stats.entries, stats.compilations, stats.leases, stats.closed) == (1, 1, 32, False)
    for lease in leases:
        lease.release()
        lease.release()
    assert cache.stats.leases == 0


def test_case_13_instances_share_code_and_nothing_else(surroundings) -> None:
    with load(surroundings, "a") as a, load(surroundings, "b") as b:
        assert surroundings.modules.stats.compilations == 1
        for _ in range(3):
            a.step()
        b.step()
        assert (a.probe_last_call(), b.probe_last_call()) == (3, 1)
        assert surroundings.modules.stats.leases == 2
    assert surroundings.modules.stats.leases == 0


def test_case_14_two_scopes_of_one_module_are_one_compilation_and_two_ids(surroundings) -> None:
    with load(surroundings, "a") as a, load(surroundings, "b") as b:
        assert a.id != b.id
        assert surroundings.modules.stats.compilations == 1
    with load(surroundings, "c", start=5) as c:
        assert c.probe_last_call() == 5
        assert surroundings.modules.stats.compilations == 2


def test_case_13_eviction_leaves_living_instances_working(surroundings) -> None:
    cache = surroundings.modules
    with load(surroundings, "a") as a:
        (key,) = cache._entries
        assert cache.evict(key) is False
        assert a.step() == 0
        with load(surroundings, "b") as b:
            assert cache.stats.compilations == 2
            assert b.step() == 0
    assert cache.evict(key) is True


def test_case_13_closing_waits_for_living_instances_and_refuses_new_ones(surroundings) -> None:
    cache = surroundings.modules
    cell = load(surroundings, "a")
    assert cache.close(wait=0.05) is False
    assert cell.step() == 0
    with pytest.raises(ModuleCacheClosed, match="closed"):
        load(surroundings, "b")
    closing = threading.Timer(0.05, cell.close)
    closing.start()
    assert cache.close(wait=10) is True
    closing.join()
    assert cache.stats.closed


def test_a_module_that_does_not_compile_is_not_kept(surroundings) -> None:
    cache = ModuleCache(surroundings.engine)
    for _ in range(2):
        with pytest.raises(InvalidModule):
            cache.acquire(b"\0asm\1\0\0\0nonsense")
    assert (cache.stats.entries, cache.stats.leases) == (0, 0)
