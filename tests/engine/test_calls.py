"""Calls in both directions: values, exceptions, nesting."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading

import pytest

from guesthouse.engine import Constant, Exit, Trapping
from guesthouse.errors import CallError, GuestFailed, Trap, WrongImportType

ECHO = """(module
  (import "h" "f" (func $f (param i32 i64 f32 f64) (result {result})))
  (func (export "run") (param i32 i64 f32 f64) (result {result})
    (call $f (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"""

BOOM = """(module
  (import "h" "f" (func $f (param i32)))
  (func (export "run") (param i32) (call $f (local.get 0))))"""


@pytest.mark.parametrize(
    ("result", "letter", "position"), [("i32", "i", 0), ("i64", "I", 1), ("f32", "f", 2), ("f64", "F", 3)]
)
@pytest.mark.parametrize(
    "numbers", [(0, 0, 0.0, 0.0), (1, 2, 0.5, -0.25), (2**32 - 1, 2**64 - 1, math.inf, -math.inf)]
)
def test_every_number_type_goes_in_and_comes_back(start, result, letter, position, numbers):
    seen = []

    def f(call, *args):
        seen.append(args)
        return args[position]

    instance = start(ECHO.format(result=result), {("h", "f"): ("iIfF", letter, f)})
    assert instance.invoke("run", *numbers) == numbers[position]
    assert seen == [numbers]


def test_integers_may_be_given_signed_and_come_back_unsigned(start):
    instance = start(ECHO.format(result="i64"), {("h", "f"): ("iIfF", "I", lambda call, a, b, c, d: b)})
    assert instance.invoke("run", -1, -1, 0, 0) == 2**64 - 1


def test_several_results_come_as_a_tuple(start):
    instance = start('(module (func (export "two") (result i32 f64) i32.const -1 f64.const 2.5))')
    assert instance.invoke("two") == (2**32 - 1, 2.5)


def test_a_host_function_may_return_several_numbers(start):
    text = """(module (import "h" "f" (func $f (param i32) (result i32 f64 i64)))
      (func (export "run") (param i32) (result i32 f64 i64) (call $f (local.get 0))))"""
    instance = start(text, {("h", "f"): ("i", "iFI", lambda call, n: (n, n / 2, -n))})
    assert instance.invoke("run", 3) == (3, 1.5, 2**64 - 3)
    instance = start(text, {("h", "f"): ("i", "iFI", lambda call, n: (n, n))})
    with pytest.raises(TypeError, match="3 results returned 2"):
        instance.invoke("run", 3)


@pytest.mark.parametrize(
    ("letter", "value", "arrives"),
    [
        ("i", -1, 2**32 - 1),
        ("i", 2**32 - 1, 2**32 - 1),
        ("i", True, 1),
        ("i", 2**32, OverflowError),
        ("i", -(2**31) - 1, OverflowError),
        ("i", 2**70, OverflowError),
        ("i", 1.5, TypeError),
        ("i", "12", TypeError),
        ("i", None, TypeError),
        ("I", -1, 2**64 - 1),
        ("I", 2**64 - 1, 2**64 - 1),
        ("I", 2**64, OverflowError),
        ("I", -(2**63) - 1, OverflowError),
        ("I", 1.5, TypeError),
        ("F", "12", TypeError),
    ],
)
def test_a_number_that_a_host_function_returns_is_never_cut_to_fit(start, letter, value, arrives):
    kind = {"i": "i32", "I": "i64", "F": "f64"}[letter]
    text = f"""(module (import "h" "f" (func $f (result {kind})))
      (func (export "run") (result {kind}) (call $f)))"""
    instance = start(text, {("h", "f"): ("", letter, lambda call: value)})
    if isinstance(arrives, int):
        assert instance.invoke("run") == arrives
    else:
        with pytest.raises(arrives, match=f"returned .*, which is no {kind}"):
            instance.invoke("run")


@pytest.mark.parametrize(
    "text",
    [
        "(param v128)",
        "(result v128) (v128.const i64x2 1 2)",
        "(result i32 v128) i32.const 1 (v128.const i64x2 1 2)",
    ],
)
def test_v128_is_refused_by_name(start, text):
    instance = start(f'(module (func (export "v") {text}))')
    with pytest.raises(CallError, match=r"^v: .*v128"):
        instance.invoke("v", *([0] if "param" in text else []))


def test_an_import_that_takes_v128_is_refused_at_link_time(link):
    text = '(module (import "h" "f" (func (param v128))))'
    with pytest.raises(WrongImportType, match=r"h\.f"):
        link(text, {("h", "f"): ("V", "", print)})


def test_wrong_number_and_kind_of_arguments(start):
    instance = start('(module (func (export "add") (param i32 i32) (result i32) i32.const 0))')
    with pytest.raises(TypeError, match="takes 2 arguments, 1"):
        instance.invoke("add", 1)
    with pytest.raises(TypeError, match="argument 1 must be a number, not str"):
        instance.invoke("add", 1, "x")
    with pytest.raises(KeyError):
        instance.invoke("absent")


def test_a_row_of_another_type_is_refused_naming_both(link):
    with pytest.raises(WrongImportType, match=r"\(i32\) -> \(\).*\(i64\) -> i32"):
        link(BOOM, {("h", "f"): ("I", "i", print)})


@pytest.mark.parametrize(
    "error", [ValueError("v"), KeyboardInterrupt(), SystemExit(3), MemoryError(), GuestFailed(4)]
)
def test_an_exception_of_any_kind_reaches_the_caller_unchanged(start, error):
    def f(call, number):
        raise error

    instance = start(BOOM, {("h", "f"): ("i", "", f)})
    with pytest.raises(type(error)) as caught:
        instance.invoke("run", 1)
    assert caught.value is error
    assert not instance.usable


@pytest.mark.parametrize(("given", "seen"), [(77, 77), (0, 0), (2**32 - 1, -1), (-1, -1), (2**40 + 5, 5)])
def test_exit_carries_the_code_as_an_i32(start, given, seen):
    def f(call, number):
        raise Exit(given)

    instance = start(BOOM, {("h", "f"): ("i", "", f)})
    with pytest.raises(Exit) as caught:
        instance.invoke("run", 77)
    assert caught.value.code == seen


def test_constants_and_traps_need_no_python(start):
    text = """(module (import "h" "c" (func $c (result i64))) (import "h" "t" (func $t))
      (func (export "c") (result i64) (call $c)) (func (export "t") (call $t)))"""
    functions = {("h", "c"): ("", "I", Constant(-5)), ("h", "t"): ("", "", Trapping("not served: too old"))}
    instance = start(text, functions)
    assert instance.invoke("c") == 2**64 - 5
    with pytest.raises(Trap, match="not served: too old"):
        instance.invoke("t")
    assert instance.host_calls() == {"h.c": 1, "h.t": 1}


def test_a_trap_tells_reason_and_frames(start):
    text = """(module $m (func $inner unreachable) (func $outer (export "run") (call $inner)))"""
    instance = start(text)
    with pytest.raises(Trap) as caught:
        instance.invoke("run")
    assert caught.value.reason == "unreachable executed"
    assert [frame.split()[0] for frame in caught.value.backtrace] == ["inner", "outer"]
    with pytest.raises(RuntimeError, match="has trapped"):
        instance.invoke("run")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
        ("(call_indirect (i32.const 0))", "indirect call to null"),
        ("(call_indirect (i32.const 9))", "out of bounds table access"),
        ("(call $run)", "call stack exhausted"),
    ],
)
def test_each_way_to_trap_has_its_reason(start, body, reason):
    instance = start(f'(module (memory 1) (table 1 funcref) (func $run (export "run") {body}))')
    with pytest.raises(Trap, match=reason):
        instance.invoke("run")


def test_a_host_function_may_call_the_same_instance(start):
    text = """(module (import "h" "f" (func $f (param i32) (result i32)))
      (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
      (func (export "run") (param i32) (result i32) (call $f (local.get 0))))"""
    holder = {}
    functions = {("h", "f"): ("i", "i", lambda call, n: holder["instance"].invoke("double", n) + 1)}
    holder["instance"] = start(text, functions)
    assert holder["instance"].invoke("run", 20) == 41


def test_an_inner_trap_that_the_host_swallows_leaves_the_outer_call_running(start):
    text = """(module (import "h" "f" (func $f (result i32)))
      (func (export "boom") unreachable)
      (func (export "run") (result i32) (call $f)))"""
    holder = {}

    def f(call):
        try:
            holder["instance"].invoke("boom")
        except Trap:
            return 7

    holder["instance"] = start(text, {("h", "f"): ("", "i", f)})
    assert holder["instance"].invoke("run") == 7


def test_instances_nest_on_one_thread(start):
    text = """(module (import "h" "f" (func $f (param i32) (result i32)))
      (func (export "run") (param i32) (result i32) (call $f (local.get 0))))"""

    def f(call, depth):
        return 0 if depth == 0 else 1 + start(text, {("h", "f"): ("i", "i", f)}).invoke("run", depth - 1)

    assert start(text, {("h", "f"): ("i", "i", f)}).invoke("run", 30) == 30


def test_nesting_beyond_the_native_stack_is_a_trap_not_a_crash(start):
    text = """(module (import "h" "f" (func $f))
      (func (export "run") (call $f)))"""

    def f(call):
        start(text, {("h", "f"): ("", "", f)}).invoke("run")

    errors = []

    def attempt():
        try:
            f(None)
        except (Trap, RecursionError) as error:
            errors.append(error)

    size = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert isinstance(errors[0], Trap)
    assert "native stack" in errors[0].reason


def test_sixteen_threads_each_get_their_own_exception(link):
    """DESIGN section 3, item 9: exceptions never surface in another call, none is lost."""
    template = link(BOOM, {("h", "f"): ("i", "", lambda call, number: fail(number))})
    wrong: list[object] = []

    class Mine(Exception):
        pass

    def fail(number):
        raise Mine(threading.get_ident(), number)

    def work():
        for number in range(10_000 // 16 + 1):
            with template.open() as instance:
                instance.start()
                try:
                    instance.invoke("run", number)
                    wrong.append("returned")
                except Mine as error:
                    if error.args != (threading.get_ident(), number):
                        wrong.append(error.args)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_busy_instance_refuses_a_second_thread(start):
    inside, leave = threading.Event(), threading.Event()

    def f(call, number):
        inside.set()
        leave.wait(10)

    instance = start(BOOM, {("h", "f"): ("i", "", f)})
    thread = threading.Thread(target=instance.invoke, args=("run", 1))
    thread.start()
    inside.wait(10)
    with pytest.raises(RuntimeError, match="busy on another thread"):
        instance.invoke("run", 1)
    leave.set()
    thread.join()
    instance.invoke("run", 1)


def test_the_first_argument_is_the_call_object_or_the_instance(start):
    seen = []
    instance = start(BOOM, {("h", "f"): ("i", "", lambda call, number: seen.append(call))})
    instance.invoke("run", 1)
    instance.call = call = object()
    instance.invoke("run", 1)
    assert seen == [instance, call]


def test_a_start_function_that_traps_fails_the_start(link):
    instance = link("(module (func $s unreachable) (start $s))").open()
    with pytest.raises(Trap, match="unreachable"):
        instance.start()
    instance.close()
    with pytest.raises(RuntimeError, match="closed"):
        instance.invoke("x")


def test_traps_stay_traps_after_somebody_replaced_the_fault_handlers(link):
    """As faulthandler.enable() does; in a process of its own, since it would not survive a mistake."""
    script = """
import faulthandler
from guesthouse.engine import Engine, wat_to_wasm
from guesthouse.errors import Trap
template = Engine(False).compile(wat_to_wasm('(module (memory 1) (func (export "a") unreachable)'
    '(func (export "b") (drop (i32.load (i32.const -1)))))')).link({})
for round in range(3):
    if round:
        faulthandler.enable()
    for name in "ab":
        with template.open() as instance:
            instance.start()
            try:
                instance.invoke(name)
            except Trap as trap:
                print(trap.reason)
print("alive", flush=True)
import ctypes; ctypes.string_at(0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    lines = ["unreachable executed", "out of bounds memory access"] * 3 + ["alive"]
    assert ended.stdout.splitlines() == lines
    assert ended.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in ended.stderr  # a real crash is still reported
