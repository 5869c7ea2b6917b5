"""Shared memories: several instances over one memory, and waking those that sleep in it."""

from __future__ import annotations

import threading

import pytest

from guesthouse.engine import Engine, notifier, wake_all, wat_to_wasm
from guesthouse.errors import LoadError

PROGRAM = """
(module (import "any" "name" (memory 1 16 shared))
  (func (export "sleep") (result i32)
    (i32.atomic.store (i32.const 128) (i32.const 1))
    (memory.atomic.wait32 (i32.const 64) (i32.const 0) (i64.const -1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))
"""


@pytest.fixture(scope="module")
def module():
    return Engine(False).compile(wat_to_wasm(PROGRAM), threads=True)


def test_instances_see_one_memory_that_is_imported_and_not_exported(module):
    shared = module.shared_memory(1 << 20)
    template = module.link({}, shared=shared)
    with template.open() as one, template.open() as two:
        one.start()
        two.start()
        one.write(1000, b"\x2a\0\0\0")
        assert two.invoke("load", 1000) == 42
        assert two.read(1000, 1) == b"\x2a"


def test_a_thread_that_sleeps_in_the_memory_is_woken(module):
    shared = module.shared_memory(1 << 20)
    template = module.link({}, shared=shared)
    results = []
    with template.open() as instance:
        instance.start()
        thread = threading.Thread(target=lambda: results.append(instance.invoke("sleep")))
        thread.start()
        waker = notifier(shared)
        while thread.is_alive():
            wake_all(waker)
            thread.join(0.01)
    assert results == [0]


def test_a_maximum_above_the_limit_is_refused(module):
    with pytest.raises(LoadError, match="maximum of at most"):
        module.shared_memory(15 << 16)
