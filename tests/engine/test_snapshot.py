"""Snapshots: frozen instances become modules that begin where the instance stood."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable

import pytest

from guesthouse.engine import Engine, Instance, read, wat_to_wasm
from guesthouse.engine.binary import Cursor
from guesthouse.engine.exporting import content
from guesthouse.engine.segments import image_runs
from guesthouse.engine.snapshot import SnapshotRefused, freeze, instrument, is_snapshot, mark
from guesthouse.errors import Trap

EVERYTHING = wat_to_wasm("""(module
  (memory 1 2000) (table $t 4 10 funcref) (table $u 2 funcref)
  (global $i (mut i32) (i32.const 1)) (global $I (mut i64) (i64.const -5)) (global $f (mut f32) (f32.const 0))
  (global $F (mut f64) (f64.const 0)) (global $v (mut v128) (v128.const i64x2 1 2))
  (global $r (mut funcref) (ref.null func)) (global $fixed i32 (i32.const 9))
  (type $number (func (result i32)))
  (func $a (result i32) (i32.const 11)) (func $b (result i32) (i32.const 22))
  (elem (table $t) (i32.const 0) func $a $b) (elem $passive func $b) (elem declare func $a)
  (data (i32.const 8) "hello") (data $later "passive")
  (start $start)
  (func $start (global.set $i (i32.add (global.get $i) (i32.const 1))) (i32.store8 (i32.const 9) (i32.const 88)))
  (func (export "initialise")
    (global.set $i (i32.add (global.get $i) (i32.const 75))) (global.set $I (i64.const -6000000000))
    (global.set $f (f32.const -1.5)) (global.set $F (f64.const 2.5)) (global.set $v (v128.const i64x2 7 -8))
    (global.set $r (ref.func $b))
    (i32.store (i32.const 60000) (i32.const 42)) (drop (memory.grow (i32.const 2)))
    (i32.store (i32.const 190000) (i32.const 43))
    (table.set $t (i32.const 3) (ref.func $a)) (table.set $t (i32.const 0) (ref.null func))
    (drop (table.grow $t (ref.func $b) (i32.const 2)))
    (table.set $u (i32.const 1) (ref.func $b)))
  (func (export "i") (result i32) (global.get $i)) (func (export "I") (result i64) (global.get $I))
  (func (export "f") (result f32) (global.get $f)) (func (export "F") (result f64) (global.get $F))
  (func (export "v") (result i64) (i64x2.extract_lane 1 (global.get $v)))
  (func (export "r") (result i32) (table.set $u (i32.const 0) (global.get $r))
    (call_indirect $u (type $number) (i32.const 0)))
  (func (export "call") (param i32) (result i32) (call_indirect $t (type $number) (local.get 0)))
  (func (export "other") (result i32) (call_indirect $u (type $number) (i32.const 1)))
  (func (export "null") (result i32) (ref.is_null (table.get $t (i32.const 0))))
  (func (export "tables") (result i32) (table.size $t))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "pages") (result i32) (memory.size))
  (func (export "passive data") (result i32)
    (memory.init $later (i32.const 500) (i32.const 0) (i32.const 4)) (i32.load (i32.const 500)))
  (func (export "passive functions") (result i32)
    (table.init $t $passive (i32.const 2) (i32.const 0) (i32.const 1)) (call_indirect $t (type $number) (i32.const 2))))
""")

QUESTIONS: list[tuple[str, tuple[int, ...]]] = [
    ("i", ()), ("I", ()), ("f", ()), ("F", ()), ("v", ()), ("r", ()), ("other", ()), ("null", ()), ("tables", ()),
    ("pages", ()), *(("call", (n,)) for n in (1, 3, 4, 5)), *(("load", (n,)) for n in (0, 8, 60000, 190000, 196604)),
    ("passive data", ()), ("passive functions", ()),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(cache=False)


@pytest.fixture
def opened(engine: Engine) -> Callable[[bytes], Instance]:
    def opened(wasm: bytes) -> Instance:
        instance = engine.compile(wasm).link({}).open()
        instance.start()
        return instance

    return opened


def frozen(opened: Callable[[bytes], Instance], wasm: bytes, *exports: str) -> tuple[bytes, Instance]:
    info = read(wasm)
    instance = opened(instrument(wasm, info))
    for name in exports:
        instance.invoke(name)
    return freeze(wasm, info, instance), instance


def test_memories_globals_and_tables_are_as_they_were(opened: Callable[[bytes], Instance]) -> None:
    snapshot, original = frozen(opened, EVERYTHING, "initialise")
    copy = opened(snapshot)
    for name, arguments in QUESTIONS:
        assert copy.invoke(name, *arguments) == original.invoke(name, *arguments), (name, arguments)
    assert copy.invoke("i") == 77  # the start function ran once, and never again


def test_a_snapshot_declares_what_its_original_did(opened: Callable[[bytes], Instance]) -> None:
    snapshot, _ = frozen(opened, EVERYTHING, "initialise")
    info, original = read(snapshot), read(EVERYTHING)
    assert list(info.exports) == list(original.exports)
    assert info.imports == original.imports and info.start is None
    assert is_snapshot(info) and not is_snapshot(original)


def test_what_has_run_can_do_nothing_be_left_out_or_take_a_name(opened: Callable[[bytes], Instance]) -> None:
    wasm = wat_to_wasm("""(module (global $n (mut i32) (i32.const 1))
      (func (export "init") (param i32 i64) (result i64) (global.set $n (i32.const 5)) (i64.const 9))
      (func (export "quiet") (global.set $n (i32.const 6))) (func (export "float") (result f64) (f64.const 1))
      (func (export "gone")) (func (export "old") (result i32) (i32.const 0))
      (func (export "new") (result i32) (global.get $n)))""")
    info = read(wasm)
    snapshot = freeze(
        wasm, info, opened(instrument(wasm, info)), ["gone"], settled=["init", "quiet", "float"],
        renamed={"new": "old"}, note={"why": "test"},
    )  # fmt: skip
    assert list(read(snapshot).exports) == ["init", "quiet", "float", "old"]
    assert mark(read(snapshot)) == {"why": "test", "of": info.sha256}
    copy = opened(snapshot)
    assert (copy.invoke("init", 1, 2), copy.invoke("quiet"), copy.invoke("float")) == (0, None, 0.0)
    assert copy.invoke("old") == 1
    imported = wat_to_wasm('(module (import "e" "f" (func)) (export "f" (func 0)))')
    with pytest.raises(SnapshotRefused, match="f is an import"):
        freeze(imported, read(imported), opened(wasm), settled=["f"])


def test_instances_of_a_snapshot_do_not_see_one_another(opened: Callable[[bytes], Instance]) -> None:
    wasm = wat_to_wasm("""(module (memory (export "memory") 1)
      (func (export "set") (i32.store (i32.const 5000) (i32.const 1)))
      (func (export "get") (result i32) (i32.load (i32.const 5000))))""")
    snapshot, _ = frozen(opened, wasm)
    for _ in range(5):
        instance = opened(snapshot)
        assert instance.invoke("get") == 0
        instance.invoke("set")
        instance.close()


def test_a_module_without_sections_to_rewrite(opened: Callable[[bytes], Instance]) -> None:
    wasm = wat_to_wasm('(module (memory 1) (func (export "set") (i32.store (i32.const 8) (i32.const 5)))'
                       ' (func (export "get") (result i32) (i32.load (i32.const 8))))')  # fmt: skip
    snapshot, _ = frozen(opened, wasm, "set")
    assert opened(snapshot).invoke("get") == 5
    bare = wat_to_wasm('(module (func (export "one") (result i32) (i32.const 1)))')
    assert opened(frozen(opened, bare)[0]).invoke("one") == 1


def flags_of_data(wasm: bytes) -> list[int]:
    """The kind of every data segment: 0 and 2 active, 1 passive."""
    cursor, flags = Cursor(content(wasm, read(wasm), 11) or b"\0"), []
    for _ in range(cursor.count("segments")):
        flags.append(cursor.unsigned())
        if flags[-1] == 2:
            cursor.unsigned()
        if flags[-1] != 1:
            cursor.skip_constant()
        cursor.take(cursor.unsigned(), "segment")
    return flags


SEGMENTS = "".join(f'(data (i32.const {at}) "x")' for at in range(0, 4000, 2))
LOAD = '(func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))'


def test_segments_that_have_served_cost_later_instances_nothing(opened: Callable[[bytes], Instance]) -> None:
    plain, _ = frozen(opened, wat_to_wasm(f"(module (memory 1) {SEGMENTS} {LOAD})"))
    assert flags_of_data(plain) == [0]
    # Where code names segments by number, the numbers stay; nothing that was active becomes passive.
    naming = f"""(module (memory 1) {SEGMENTS} (data $p "yz") {LOAD}
      (func (export "init") (memory.init 5 (i32.const 0) (i32.const 0) (i32.const 0))
        (memory.init $p (i32.const 100) (i32.const 0) (i32.const 2)))
      (func (export "more") (memory.init 5 (i32.const 0) (i32.const 0) (i32.const 1))))"""
    snapshot, _ = frozen(opened, wat_to_wasm(naming))
    assert flags_of_data(snapshot) == [0] * 2000 + [1, 0]
    copy = opened(snapshot)
    copy.invoke("init")
    assert [copy.invoke("load", at) for at in (0, 1, 100, 101, 3998)] == [120, 0, 121, 122, 120]
    with pytest.raises(Trap):  # a segment that has served is empty
        copy.invoke("more")


def test_passive_segments_need_no_memory(opened: Callable[[bytes], Instance]) -> None:
    wasm = wat_to_wasm('(module (data $p "x") (func (export "drop") (data.drop $p)))')
    snapshot, _ = frozen(opened, wasm)
    opened(snapshot).invoke("drop")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('(module (import "env" "memory" (memory 1)))', "memory env.memory"),
        ('(module (import "env" "g" (global i32)))', "global env.g"),
        ('(module (import "env" "t" (table 1 funcref)))', "table env.t"),
        ("(module (memory 1 2 shared))", "shared with other threads"),
        ("(module (table 1 externref))", "something else than functions"),
        ("(module (global (mut externref) (ref.null extern)))", "reference"),
    ],
)
def test_what_cannot_be_frozen_says_why(text: str, reason: str) -> None:
    wasm = wat_to_wasm(text)
    with pytest.raises(SnapshotRefused, match=reason):
        instrument(wasm, read(wasm))


def test_a_snapshot_is_not_frozen_again(opened: Callable[[bytes], Instance]) -> None:
    snapshot, _ = frozen(opened, EVERYTHING)
    with pytest.raises(SnapshotRefused, match="already"):
        instrument(snapshot, read(snapshot))


@pytest.mark.parametrize("seed", range(12))
def test_image_runs_hold_all_that_is_not_zero(seed: int) -> None:
    chance = random.Random(seed)
    memory = bytearray(chance.choice([4096, 65536, 24 << 20]))
    for _ in range(chance.choice([0, 1, 30, 3000])):
        memory[chance.randrange(len(memory))] = 1
    limit = chance.choice([3, 10_000])
    runs = list(image_runs(memoryview(memory), limit))
    rebuilt = bytearray(len(memory))
    for start, end in runs:
        rebuilt[start:end] = memory[start:end]
    assert rebuilt == memory
    assert len(runs) <= limit and runs == sorted(runs)
    if runs and runs[-1][1] - runs[0][0] > 16 << 20:
        assert 2 * sum(end - start for start, end in runs) >= runs[-1][1] - runs[0][0]


def test_a_large_snapshot_is_mapped_and_not_copied(
    engine: Engine, opened: Callable[[bytes], Instance]
) -> None:
    wasm = wat_to_wasm("""(module (memory 1024)
      (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000000)))
      (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
      (func (export "touch") (i32.store (i32.const 0x1000000) (i32.const 1))))""")
    snapshot, _ = frozen(opened, wasm, "fill")
    template = engine.compile(snapshot).link({})
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        with template.open() as instance:
            instance.start()
            assert instance.invoke("load", 0x1000000) == 0x07070707
            instance.invoke("touch")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 1000  # a copy takes 16384 each
