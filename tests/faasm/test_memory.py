"""Memory that the host adds to a guest: the memory rows of the test inventory (faasm.md 2.6, 7)."""

from __future__ import annotations

import pytest

from guesthouse import Limits
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import MemoryLimit, Trap
from guesthouse.testing import guests


@pytest.fixture
def growth(load):
    return load("memory_growth", guests.build("guests/faasm/memory_growth.c"), limits=Limits(memory="2GiB"))


@pytest.mark.parametrize(
    "what", ["m", "b", "3", "k", "a", "H", "0", "o", "f", "v"],
    ids=["mmap", "mmap_big", "munmap", "brk", "malloc", "calloc and heap", "munmap nothing", "munmap outside",
         "bad arguments", "value"],
)  # fmt: skip
def test_case_memory_growth_and_reclaim(growth, what):
    assert growth.invoke(what.encode()).unwrap() == b""
    assert growth.invoke(what.encode()).unwrap() == b""


@pytest.mark.parametrize("what", ["u", "s"])
def test_sizes_and_addresses_that_are_no_whole_pages_end_the_call(growth, what):
    result = growth.invoke(what.encode())
    assert isinstance(result.error, Trap) and "65536" in str(result.error)


def test_running_out_of_memory_ends_the_call_cleanly(growth):
    assert isinstance(growth.invoke(b"h").error, MemoryLimit)
    assert growth.call(b"k") == b""


def test_memory_of_one_call_is_zero_for_the_next(growth):
    for _ in range(3):
        assert growth.invoke(b"m").code == 0


def test_memory_that_the_module_itself_forbids_is_not_blamed_on_the_limit(load):
    wasm = wat_to_wasm("""(module (import "env" "__sbrk" (func $sbrk (param i32) (result i32)))
      (memory (export "memory") 1 2) (func (export "_start") (drop (call $sbrk (i32.const 131072)))))""")
    error = load("f", wasm).invoke().error
    assert isinstance(error, MemoryLimit)
    assert "the module's own maximum may be less" in str(error)
