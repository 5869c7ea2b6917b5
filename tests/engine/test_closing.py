"""Closing an engine while somebody uses it: the process survives, whoever comes later is refused."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from guesthouse.engine import Engine, wat_to_wasm
from guesthouse.errors import DeadlineExceeded, LoadError

#: Takes the engine about a second: many functions with something to optimise.
SLOW = """
import threading, time
from guesthouse.engine import Engine, wat_to_wasm
body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 7)) (local.get 1)))" * 400
wasm = wat_to_wasm("(module" + f"(func (param i32 i32) (result i32) {body} local.get 0)" * 1200 + ")")
engine = Engine(cache=False)
ended = []
thread = threading.Thread(target=lambda: ended.append(engine.compile(wasm)))
thread.start()
time.sleep(0.05)
assert thread.is_alive(), "compiled too quickly to show anything"
engine.close()
thread.join()
print("compiled" if ended else "failed")
"""


def test_closing_during_a_compilation_does_not_end_the_process():
    ended = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, b"compiled\n"), ended.stderr[-500:]


def test_an_instance_that_is_collected_together_with_its_engine_complains_about_nothing(monkeypatch):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: complaints.append(unraisable.exc_value))
    engine = Engine(cache=False)
    instance = engine.compile(wat_to_wasm("(module (memory 1))")).link({}).open()
    instance.start()
    instance.call = [instance, engine]  # a cycle
    del instance, engine
    gc.collect()
    assert complaints == []


def test_a_closed_engine_compiles_no_more():
    engine = Engine(cache=False)
    engine.compile(wat_to_wasm("(module)"))
    engine.close()
    with pytest.raises(LoadError, match="closed"):
        engine.compile(wat_to_wasm("(module (memory 1))"))


def test_what_was_linked_before_still_runs_and_still_has_deadlines():
    engine = Engine(cache=False)
    template = engine.compile(
        wat_to_wasm(
            '(module (func (export "seven") (result i32) i32.const 7) (func (export "spin") (loop (br 0))))'
        )
    ).link({})
    engine.close()
    with template.open(memory_limit=1 << 20, output_limit=100) as instance:
        instance.start()
        assert instance.invoke("seven") == 7
        instance.deadline = time.monotonic_ns() + 50_000_000
        with pytest.raises(DeadlineExceeded):
            instance.invoke("spin")


def test_the_engine_of_wasmtime_goes_with_the_last_that_uses_it():
    engine = Engine(cache=False)
    module = engine.compile(wat_to_wasm("(module)"))
    variant = weakref.ref(module.variant)
    engine.close()
    assert variant() is not None
    del module
    assert variant() is None


def test_many_threads_compile_while_it_closes():
    engine, errors = Engine(cache=False), []

    def work(number):
        try:
            for index in range(20):
                engine.compile(wat_to_wasm(f'(module (func (export "f{number}-{index}")))'))
        except LoadError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    engine.close()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
