"""Guest memory: every edge of a range, growth, limits, isolation between instances."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse.engine import OutOfBounds
from guesthouse.errors import LoadError, MemoryLimit, OutputLimit

PAGE = 65536
ONE = '(module (memory (export "memory") 1 4))'

BAD_RANGES = [
    (PAGE, 1), (PAGE - 1, 2), (PAGE + 1, 0), (0, PAGE + 1), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1),
    (2**32, 0), (2**64 - 1, 1), (-1, 1), (-1, 0), (0, -1), (1, 2**32), (0, 2**64),
]  # fmt: skip


@pytest.mark.parametrize(("pointer", "length"), BAD_RANGES)
def test_ranges_outside_are_refused_and_told(start, pointer, length):
    instance = start(ONE)
    with pytest.raises(OutOfBounds) as caught:
        instance.read(pointer, length)
    assert (caught.value.pointer, caught.value.length, caught.value.size) == (pointer, length, PAGE)


@pytest.mark.parametrize("pointer", [PAGE - 3, PAGE, 2**32 - 1, -1, 2**40])
def test_a_write_that_does_not_fit_changes_nothing(start, pointer):
    instance = start(ONE)
    instance.write(0, b"\xee" * PAGE)
    with pytest.raises(OutOfBounds):
        instance.write(pointer, b"abcd")
    assert instance.read(0, PAGE) == b"\xee" * PAGE


def test_empty_ranges_up_to_the_end_are_fine(start):
    instance = start(ONE)
    assert instance.read(PAGE, 0) == b""
    instance.write(PAGE, b"")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-(2**33), 2**33), st.integers(-2, 2**33))
def test_a_range_is_inside_exactly_when_arithmetic_says_so(start, pointer, length):
    instance = start(ONE)
    inside = pointer >= 0 and length >= 0 and pointer + length <= PAGE
    if inside:
        assert len(instance.read(pointer, length)) == length
    else:
        with pytest.raises(OutOfBounds):
            instance.read(pointer, length)


def test_no_memory_means_no_range(start):
    instance = start("(module)")
    assert instance.memory_size == 0
    with pytest.raises(OutOfBounds):
        instance.read(0, 1)


def test_growth_during_a_host_call_is_seen_at_once(start):
    text = """(module (import "h" "f" (func $f)) (memory (export "memory") 1 4)
      (func (export "run") (result i32) (call $f) (i32.load8_u (i32.const 65536))))"""
    holder = {}

    def f(call):
        instance = holder["instance"]
        with pytest.raises(OutOfBounds):
            instance.write(PAGE, b"x")
        assert instance.grow(1) == 1
        instance.write(PAGE, b"x")

    holder["instance"] = start(text, {("h", "f"): ("", "", f)})
    assert holder["instance"].invoke("run") == ord("x")


def test_the_guests_own_growth_is_seen(start):
    instance = start(
        '(module (memory (export "memory") 1) (func (export "g") (result i32) (memory.grow (i32.const 2))))'
    )
    assert instance.invoke("g") == 1
    assert instance.memory_size == 3 * PAGE
    assert instance.read(3 * PAGE - 1, 1) == b"\0"


def test_the_limit_bounds_guest_and_host_growth(start):
    text = '(module (memory (export "memory") 1) (func (export "g") (param i32) (result i32) (memory.grow (local.get 0))))'
    instance = start(text, memory_limit=2 * PAGE)
    assert instance.invoke("g", 2) == 2**32 - 1
    with pytest.raises(MemoryLimit) as caught:
        instance.grow(2)
    assert (caught.value.needed, caught.value.limit) == (3 * PAGE, 2 * PAGE)
    assert instance.invoke("g", 1) == 1


def test_a_minimum_above_the_limit_is_refused_before_anything_runs(link):
    with pytest.raises(MemoryLimit, match="131072 bytes of memory needed, 65536 allowed"):
        link("(module (memory 2))").open(memory_limit=PAGE)


def test_the_limit_counts_the_sum_of_all_memories(link):
    """The engine's own limit is per memory (DESIGN section 3, item 6)."""
    text = """(module (memory $a 1) (memory $b 1)
      (func (export "a") (param i32) (result i32) (memory.grow $a (local.get 0)))
      (func (export "b") (param i32) (result i32) (memory.grow $b (local.get 0))))"""
    template = link(text)
    with pytest.raises(MemoryLimit):
        template.open(memory_limit=PAGE)
    with template.open(memory_limit=4 * PAGE) as instance:
        instance.start()
        grown = sum(instance.invoke(name, 1) != 2**32 - 1 for name in "abababab")
        assert 2 + grown <= 4
        assert grown > 0


def test_memory_of_an_ended_instance_is_never_seen_again(link):
    text = """(module (memory (export "memory") 4) (func (export "boom") unreachable))"""
    template = link(text)
    for round_ in range(200):
        with template.open() as instance:
            instance.start()
            assert instance.read(0, 4 * PAGE) == bytes(4 * PAGE)
            instance.write(0, b"\xaa" * 4 * PAGE)
            if round_ % 2:
                with pytest.raises(Exception, match="unreachable"):
                    instance.invoke("boom")


def test_output_is_bounded(start):
    instance = start(ONE, output_limit=10)
    instance.set_output(b"0123456789")
    with pytest.raises(OutputLimit):
        instance.append_output(b"x")
    instance = start(ONE, output_limit=10)
    with pytest.raises(OutputLimit) as caught:
        instance.set_output(b"x" * 11)
    assert caught.value.limit == 10


def test_input_and_output_hold_any_bytes(start):
    instance = start(ONE)
    instance.input = bytes(range(256))
    assert instance.input == bytes(range(256))
    instance.append_output(b"a\0b")
    instance.append_output(b"c" * 100_000)
    assert instance.output == b"a\0b" + b"c" * 100_000
    instance.set_output(b"")
    assert instance.output == b""


def test_a_table_cannot_grow_without_end(start):
    text = '(module (table 1 funcref) (func (export "g") (result i32) (table.grow (ref.null func) (i32.const 2000000))))'
    assert start(text).invoke("g") == 2**32 - 1


def test_a_shared_memory_must_declare_a_small_enough_maximum(engine):
    from guesthouse.engine import wat_to_wasm

    module = engine.compile(
        wat_to_wasm('(module (import "env" "memory" (memory 1 100 shared)))'), threads=True
    )
    with pytest.raises(LoadError, match=r"env\.memory.*at most 65536 bytes"):
        module.shared_memory(PAGE)
    shared = module.shared_memory(100 * PAGE)
    assert shared.size == PAGE


def test_a_start_function_may_call_the_host_which_reads_memory(link):
    text = """(module (import "h" "f" (func $f)) (memory (export "memory") 1) (data (i32.const 8) "early")
      (func $s (call $f)) (start $s))"""
    seen = []
    instance = link(text, {("h", "f"): ("", "", lambda instance: seen.append(instance.read(8, 5)))}).open()
    instance.start()
    assert seen == [b"early"]
    assert instance.read(8, 5) == b"early"
    instance.close()
