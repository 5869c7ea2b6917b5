"""A capability that a user writes in Python, in a real host: grants, guest memory, errors, hooks."""

from __future__ import annotations

import pytest

import guesthouse
from guesthouse.engine import Constant, wat_to_wasm

GREETER = wat_to_wasm("""
(module
  (import "demo" "greet" (func $greet (param i32 i32) (result i32)))
  (import "demo" "scale" (func $scale (param f64 i64) (result f64)))
  (import "demo" "fill" (func $fill (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "J\\c3\\bcrgen")
  (func (export "_start"))
  (func (export "greet") (result i32) (call $greet (i32.const 16) (i32.const 7)))
  (func (export "astray") (result i32) (call $greet (i32.const 65530) (i32.const 7)))
  (func (export "scale") (result i32)
    (i32.trunc_f64_s (call $scale (f64.const 1.5) (i64.const -4))))
  (func (export "fill") (result i32) (call $fill (i32.const 100)) (i32.load (i32.const 100))))
""")


class Tooth(Exception):
    """Something that a user's own code raises."""


@pytest.fixture
def greeted():
    return []


@pytest.fixture
def registry(greeted):
    @guesthouse.host_function
    def greet(call, name: str) -> guesthouse.i32:
        """Say hello."""
        if name == "nobody":
            raise Tooth("aches")
        greeted.append((call.guest, name))
        return len(greeted)

    @guesthouse.host_function
    def scale(call, value: guesthouse.f64, factor: guesthouse.s64) -> float:
        """Multiply."""
        return value * factor

    @guesthouse.host_function
    def fill(call, pointer: int) -> None:
        """Write to guest memory."""
        call.instance.write(pointer, b"\x2a\0\0\0")

    return guesthouse.Registry().gated(guesthouse.capability("demo.greet", greet, scale, fill, module="demo"))


@pytest.fixture
def host(registry):
    with guesthouse.Host(registry=registry) as host:
        yield host


@pytest.fixture
def guest(host):
    return host.load(GREETER, name="greeter", grant=["demo.greet"])


def code(guest, entry):
    return guest.invoke(entry=entry)


def test_text_reaches_python_and_the_answer_the_guest(guest, greeted):
    assert code(guest, "greet").code == 1
    assert greeted == [("greeter", "Jürgen")]


def test_numbers_keep_their_sign_and_memory_can_be_written(guest):
    assert code(guest, "scale").code == -6 & 0xFFFFFFFF or code(guest, "scale").code == -6
    assert code(guest, "fill").code == 42


def test_a_pointer_out_of_range_ends_the_call_and_nothing_else(guest, greeted):
    result = code(guest, "astray")
    assert isinstance(result.error, guesthouse.Trap)
    assert not greeted
    assert code(guest, "greet").code == 1


def test_without_the_grant_nothing_of_it_runs(host):
    with pytest.raises(guesthouse.MissingImports) as caught:
        host.load(GREETER, name="ungranted")
    assert {capability for _, _, capability in caught.value.imports} == {"demo.greet"}


def test_its_own_exceptions_reach_the_caller_unchanged():
    @guesthouse.host_function
    def hurt(call) -> None:
        raise Tooth("aches")

    registry = guesthouse.Registry().always(guesthouse.capability("demo.hurt", hurt))
    module = wat_to_wasm(
        '(module (import "demo" "hurt" (func $h)) (memory 1) (func (export "_start") (call $h)))'
    )
    with guesthouse.Host(registry=registry) as host:
        result = host.load(module, name="hurt").invoke()
        assert isinstance(result.error, Tooth)
        with pytest.raises(Tooth, match="aches"):
            result.unwrap()


def test_a_denial_answers_with_the_code_that_was_chosen():
    @guesthouse.host_function
    def ask(call) -> int:
        return 0

    registry = guesthouse.Registry().gated(guesthouse.capability("demo.ask", ask, denied=Constant(99)))
    module = wat_to_wasm(
        '(module (import "demo" "ask" (func $a (result i32))) (func (export "_start")) (func (export "ask") (result i32) (call $a)))'
    )
    with guesthouse.Host(registry=registry) as host:
        assert host.load(module, name="denied").invoke(entry="ask").code == 99
        assert host.load(module, name="granted", grant=["demo"]).invoke(entry="ask").code == 0


def test_hooks_are_told_in_order():
    told = []
    hooks = {
        "setup": lambda host: told.append("setup"),
        "attach": lambda guest: told.append(("attach", guest.name)),
        "release": lambda guest: told.append(("release", guest.name)),
        "teardown": lambda: told.append("teardown"),
    }
    registry = guesthouse.Registry().gated(guesthouse.capability("demo.told", **hooks))
    module = wat_to_wasm('(module (func (export "_start")))')
    with guesthouse.Host(registry=registry) as host:
        host.load(module, name="without")
        assert told == []
        host.load(module, name="one", grant=["demo.told"])
        host.load(module, name="two", grant=["demo.told"])
        host.unload("one")
    assert told == [
        "setup",
        ("attach", "one"),
        ("attach", "two"),
        ("release", "one"),
        ("release", "two"),
        "teardown",
    ]
