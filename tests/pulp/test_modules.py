"""Modules that cells share (spec/pulp.md 5.7, acceptance cases 13 and 14)."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.pulp import folders

import guesthouse.pulp as face
from guesthouse.engine import Engine
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.manifest import ApplicationManifest
from guesthouse.interfaces.pulp.modules import IDLE_ENTRIES, ModuleCache, ModuleCacheClosed
from guesthouse.interfaces.pulp.scopes import ResourceKey, Scope
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.testing.guests import wat


@pytest.fixture
def own(tmp_path) -> Surroundings:
    """Surroundings with an engine and a cache of their own."""
    return Surroundings(Engine(tmp_path / "cache", slots=64), face.standalone().neighbours)


def test_case_13_32_at_once_compile_once_and_instances_count_separately(own, build) -> None:
    wasm = build("kit.c").read_bytes()
    gate = threading.Barrier(32)

    def acquire(_: int):
        gate.wait(20)
        return own.modules.acquire(wasm)

    with ThreadPoolExecutor(32) as pool:
        leases = list(pool.map(acquire, range(32)))
    assert (own.modules.stats.entries, own.modules.stats.compilations) == (1, 1)
    assert own.modules.stats.leases == 32
    assert len({id(lease.module) for lease in leases}) == 1
    with (
        Cell.load(build("kit.c"), face.registry(), surroundings=own) as one,
        Cell.load(build("kit.c"), face.registry(), surroundings=own) as two,
    ):
        one.init(), two.init()
        assert [one.call("count"), one.call("count"), two.call("count")] == [
            b"\1\0\0\0", b"\2\0\0\0", b"\1\0\0\0",
        ]  # fmt: skip
        assert own.modules.stats.leases == 34
    assert own.modules.stats.leases == 32
    for lease in leases * 2:
        lease.release()
    assert own.modules.stats.leases == 0


def test_case_13_eviction_and_close_leave_live_instances_working(own, build) -> None:
    wasm = build("kit.c").read_bytes()
    key = hashlib.sha256(wasm).hexdigest()
    cell = Cell.load(build("kit.c"), face.registry(), surroundings=own)
    cell.init()
    assert own.modules.evict(key) is False
    assert own.modules.stats.entries == 0
    assert cell.call("count") == b"\1\0\0\0"
    cell.reload()
    own.modules.acquire(wasm).release()
    assert own.modules.stats.compilations == 2
    assert own.modules.close() is False
    assert cell.call("count") == b"\1\0\0\0"
    with pytest.raises(ModuleCacheClosed):
        own.modules.acquire(wasm)
    with pytest.raises(LoadError, match="module cache is closed"):
        Cell.load(build("kit.c"), face.registry(), surroundings=own)
    closing = threading.Timer(0.1, cell.close)
    closing.start()
    started = time.monotonic()
    assert own.modules.close(wait=10) is True
    assert time.monotonic() - started < 5
    assert own.modules.stats.closed


def test_a_module_that_does_not_compile_is_an_error_for_everybody_and_is_not_kept(own) -> None:
    for _ in range(2):
        with pytest.raises(LoadError):
            own.modules.acquire(b"\0asm garbage")
    assert own.modules.stats.entries == own.modules.stats.leases == 0


def test_idle_modules_are_bounded(own) -> None:
    held = own.modules.acquire(wat("(module (global i64 (i64.const -1)))"))
    for number in range(IDLE_ENTRIES + 5):
        own.modules.acquire(wat(f"(module (global i64 (i64.const {number})))")).release()
    assert own.modules.stats.entries == IDLE_ENTRIES + 1
    assert own.modules.acquire(wat("(module (global i64 (i64.const -1)))")).module is held.module


def test_case_14_two_scopes_of_one_module_are_one_compilation_with_routing_ids_of_their_own(
    own, build, tmp_path
) -> None:
    own.modules = ModuleCache(own.engine)
    cell = folders.cell(tmp_path, "kit", build("kit.c"))
    manifest = ApplicationManifest.load(folders.application(tmp_path, "shop", [cell]))
    spec = CellSpec.placed(manifest.placements[0], "shop", "one", "files")
    other = CellSpec.placed(manifest.placements[0], "shop", "two", "files")
    with (
        Cell.load(spec, face.registry(), surroundings=own) as one,
        Cell.load(other, face.registry(), surroundings=own) as two,
    ):
        assert own.modules.stats.compilations == 1
        assert (one.id, two.id) == (
            "pulp-scope/v1/4:shop|3:one|3:kit|7:primary",
            "pulp-scope/v1/4:shop|3:two|3:kit|7:primary",
        )
        assert str(one.spec.storage) == "files/one/apps/shop/one/cells/kit/primary"
        assert one.name == two.name == "kit"
        one.init()
        assert folders.SCRIPT.encode() in one.call("config")


def test_case_14_scopes_are_told_apart_and_refuse_what_cannot_be_told() -> None:
    assert Scope.legacy("echo").routing_id == "echo"
    assert Scope("a|1:b", "c", "d", "e").routing_id != Scope("a", "b", "c", "d").routing_id
    assert Scope("a|b", "c", "d", "e").routing_id != Scope("a", "b|c", "d", "e").routing_id
    assert Scope("ü", "c", "d", "e").routing_id == "pulp-scope/v1/2:ü|1:c|1:d|1:e"
    assert str(ResourceKey(Scope("a", "b", "c", "d"), "socket", "7")).endswith("|1:d|6:socket|1:7")
    for names in (("", "b", "c", "d"), ("a", " ", "c", "d"), ("a", "b", "c\0", "d")):
        with pytest.raises(ValueError, match="it is blank or holds a NUL"):
            Scope(*names)
    for name in ("..", "a/b"):
        with pytest.raises(ValueError, match="cannot name a directory"):
            Scope("a", "b", name, "d").storage()


def test_a_pinned_module_is_compared_whenever_it_is_read(own, build, tmp_path) -> None:
    copy = tmp_path / "cell.wasm"
    copy.write_bytes(build("kit.c").read_bytes())
    spec = replace(CellSpec.of(copy), wasm_sha256=hashlib.sha256(copy.read_bytes()).hexdigest())
    Cell.load(spec, face.registry(), surroundings=own).close()
    copy.write_bytes(build("echo.c").read_bytes())
    with pytest.raises(LoadError, match=r"read wasm: the module's digest is .* is pinned"):
        Cell.load(spec, face.registry(), surroundings=own)
