"""Arguments that no compiler would make: hand-written guests against input, output and chaining."""

from __future__ import annotations

import pytest
from tests.faasm.conftest import IMPORTS, module

from guesthouse import Limits
from guesthouse.engine import Native, wat_to_wasm
from guesthouse.errors import CallRefused, LoadError, ManifestError, OutputLimit, Trap
from guesthouse.interfaces.faasm import interface

ECHO = module(
    "input output",
    """(func (export "_start")
  (call $output (i32.const 64) (call $input (i32.const 64) (i32.const 65536))))""",
)

CODES = '(func (export "_start") (call $output (i32.const 0) (i32.const 4)))'


def report(imports: str, setup: str, value: str, data: str = "") -> bytes:
    """A guest that stores one number and puts it out."""
    return module(
        f"output {imports}",
        f'{data}(func (export "_start") {setup} (i32.store (i32.const 0) {value})'
        " (call $output (i32.const 0) (i32.const 4)))",
    )


def number(output: bytes) -> int:
    return int.from_bytes(output, "little")


def test_input_is_copied_up_to_the_buffer_and_never_consumed(load):
    guest = load("f", module("input output", """(func (export "_start")
      (i32.store (i32.const 0) (call $input (i32.const 0) (i32.const 0)))
      (i32.store (i32.const 4) (call $input (i32.const 16) (i32.const 3)))
      (i32.store (i32.const 8) (call $input (i32.const 32) (i32.const 100)))
      (call $output (i32.const 0) (i32.const 48)))"""))  # fmt: skip
    output = guest.call(b"abc\0e")
    assert [number(output[at : at + 4]) for at in (0, 4, 8)] == [5, 3, 5]
    assert output[16:20] == b"abc\0" and output[32:37] == b"abc\0e"
    empty = guest.call(b"")
    assert [number(empty[at : at + 4]) for at in (0, 4, 8)] == [0, 0, 0]


@pytest.mark.parametrize("pointer", [131072 - 2, 131072, 2**31, 2**32 - 1])
def test_input_buffers_outside_of_memory_end_the_call(load, pointer):
    guest = load("f", module("input", f"""(func (export "_start")
      (drop (call $input (i32.const {pointer}) (i32.const 4))))"""))  # fmt: skip
    with pytest.raises(Trap, match="outside"):
        guest.call(b"abcd")
    # No input needs no room, wherever the buffer is said to be.
    assert guest.call(b"") == b""


@pytest.mark.parametrize(("pointer", "length"), [(131071, 2), (0, 2**32 - 1), (2**32 - 1, 1), (0, 131073)])
def test_output_outside_of_memory_ends_the_call(load, pointer, length):
    guest = load("f", module("output", f"""(func (export "_start")
      (call $output (i32.const {pointer}) (i32.const {length})))"""))  # fmt: skip
    with pytest.raises(Trap, match="outside"):
        guest.call()


def test_output_is_binary_and_the_last_one_counts(load):
    guest = load("f", module("output", r"""(data (i32.const 0) "long\00output")(data (i32.const 32) "a\00b")
      (func (export "_start") (call $output (i32.const 0) (i32.const 11)) (call $output (i32.const 32) (i32.const 3)))
    """))  # fmt: skip
    assert guest.call() == b"a\0b"


def test_output_has_a_limit(load):
    guest = load("f", module("output", """(func (export "_start")
      (call $output (i32.const 0) (i32.const 2000)))"""), limits=Limits(output="1KiB"))  # fmt: skip
    with pytest.raises(OutputLimit):
        guest.call()


@pytest.mark.parametrize("call_id", [0, 1, 77, 2**31, 2**32 - 1])
def test_unknown_ids_are_1_at_once(load, call_id):
    guest = load("f", report("await", "", f"(call $await (i32.const {call_id}))"))
    assert number(guest.call()) == 1


def test_unknown_functions_are_1(load):
    guest = load("f", report(
        "chain await", "", "(call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 0)))",
        '(data (i32.const 16) "nobody\\00")'))  # fmt: skip
    assert number(guest.call()) == 1


def test_awaiting_twice_gives_the_same_and_never_is_fine(load, host):
    load("echo", ECHO)
    guest = load("f", report(
        "chain await", """(local $id i32)
        (drop (call $chain (i32.const 16) (i32.const 0) (i32.const 0)))
        (local.set $id (call $chain (i32.const 16) (i32.const 0) (i32.const 4)))""",
        "(i32.add (call $await (local.get $id)) (call $await (local.get $id)))",
        '(data (i32.const 16) "echo\\00")'))  # fmt: skip
    result = guest.invoke()
    assert number(result.unwrap()) == 0
    assert host.scheduler.drain(5)


def test_a_failing_child_gives_its_code_and_does_not_fail_its_parent(load):
    load("three", module("output", '(func (export "_start") unreachable)'))
    guest = load("f", report(
        "chain await", "", "(call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 0)))",
        '(data (i32.const 16) "three\\00")'))  # fmt: skip
    assert number(guest.call()) == 1


@pytest.mark.parametrize(("data", "length"), [(131072, 1), (2**32 - 1, 2), (0, 2**32 - 1)])
def test_chained_input_outside_of_memory_ends_the_call(load, data, length):
    guest = load("f", module("chain", f"""(data (i32.const 16) "f\\00") (func (export "_start")
      (drop (call $chain (i32.const 16) (i32.const {data}) (i32.const {length}))))"""))  # fmt: skip
    with pytest.raises(Trap, match="outside"):
        guest.call()


@pytest.mark.parametrize("name", [131072, 2**32 - 1, 131068])
def test_names_must_end_inside_of_memory(load, name):
    guest = load("f", module("chain", f"""(data (i32.const 131068) "abcd") (func (export "_start")
      (drop (call $chain (i32.const {name}) (i32.const 0) (i32.const 0))))"""))  # fmt: skip
    with pytest.raises(Trap, match="outside"):
        guest.call()


POINTERS = """(table (export "__indirect_function_table") 8 funcref)
  (elem (i32.const 1) $seven $double $two $nothing $wide)
  (func $seven (result i32) (i32.const 7))
  (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $two (param i32 i32) (result i32) (i32.const 0))
  (func $nothing (call $output (i32.const 0) (i32.const 4)))
  (func $wide (param i64) (result i32) (i32.const 0))
  (data (i32.const 16) "21") (data (i32.const 32) "x")
  (func (export "_start") (local $in i32)
    (drop (call $input (i32.const 64) (i32.const 12)))
    (i32.store (i32.const 0) (call $await (call $chain_ptr
      (i32.load (i32.const 64)) (i32.load (i32.const 68)) (i32.load (i32.const 72)))))
    (call $output (i32.const 0) (i32.const 4)))"""


@pytest.mark.parametrize(
    ("index", "data", "length", "code"),
    [
        (1, 0, 0, 7),
        (2, 16, 2, 42),
        (2, 0, 0, 0),  # no input is the number 0
        (2, 32, 1, 1),  # no number
        (3, 0, 0, 1),  # too many parameters
        (4, 0, 0, 0),
        (5, 0, 0, 1),  # not an i32
        (0, 0, 0, 1),  # null
        (6, 0, 0, 1),
        (8, 0, 0, 1),
        (2**31, 0, 0, 1),
        (2**32 - 1, 0, 0, 1),
    ],
)
def test_pointers_run_functions_of_the_accepted_types(load, index, data, length, code):
    guest = load("f", module("input output chain_ptr await", POINTERS))
    words = b"".join(word.to_bytes(4, "little") for word in (index, data, length))
    assert number(guest.call(words)) == code


def test_output_goes_into_memory_of_the_guests_own_malloc(load):
    load("echo", ECHO)
    asks = """(func (export "malloc") (param i32) (result i32) (i32.const 4096))
      (data (i32.const 16) "echo\\00") (data (i32.const 32) "a\\00longer") (func (export "_start")
      (i32.store (i32.const 0)
        (call $await_output (call $chain (i32.const 16) (i32.const 32) (i32.const 8)) (i32.const 4) (i32.const 8)))
      (if (i32.ne (i32.load (i32.const 4)) (i32.const 4096)) (then unreachable))
      (if (i32.ne (i32.load (i32.const 8)) (i32.const 8)) (then unreachable))
      (call $output (i32.load (i32.const 4)) (i32.load (i32.const 8))))"""
    assert load("f", module("output chain await_output", asks)).call() == b"a\0longer"


def test_waiting_for_output_that_cannot_be_is_1_with_nothing(load):
    guest = load("f", module("output await_output", """
      (func (export "malloc") (param i32) (result i32) unreachable) (func (export "_start")
      (i64.store (i32.const 4) (i64.const -1))
      (i32.store (i32.const 0) (call $await_output (i32.const 99) (i32.const 4) (i32.const 8)))
      (call $output (i32.const 0) (i32.const 12)))"""))  # fmt: skip
    assert guest.call() == bytes([1, 0, 0, 0]) + bytes(8)


@pytest.mark.parametrize("length", [0, 65536, 65537, 100_000])
def test_inputs_and_outputs_of_any_size_arrive_whole(load, length):
    load("echo", module("input output", """(func (export "_start")
      (call $output (i32.const 64) (call $input (i32.const 64) (i32.const 130000))))"""))  # fmt: skip
    guest = load("f", module("input output chain await_output", f"""
      (func (export "malloc") (param i32) (result i32) (i32.mul (i32.const 65536) (memory.grow (i32.const 2))))
      (data (i32.const 16) "echo\\00") (func (export "_start")
      (drop (call $input (i32.const 64) (i32.const 130000)))
      (if (call $await_output (call $chain (i32.const 16) (i32.const 64) (i32.const {length}))
        (i32.const 4) (i32.const 8)) (then unreachable))
      (call $output (i32.load (i32.const 4)) (i32.load (i32.const 8))))"""))  # fmt: skip
    data = bytes(range(251)) * 400
    assert guest.call(data[:length]) == data[:length]


@pytest.mark.parametrize(
    ("malloc", "message"),
    [
        ("", "link with --export=malloc"),
        ('(func (export "malloc") (param i64) (result i32) (i32.const 4096))', "link with --export=malloc"),
        (
            '(func (export "malloc") (param i32) (result i32) (i32.const 131070))',
            "malloc returned a block outside",
        ),
        ('(func (export "malloc") (param i32) (result i32) unreachable)', "unreachable"),
    ],
    ids=["none", "another", "outside", "traps"],
)
def test_a_malloc_that_does_not_do_ends_the_call(load, malloc, message):
    load("echo", ECHO)
    guest = load("f", module("chain await_output", malloc + """
      (data (i32.const 16) "echo\\00") (func (export "_start") (drop (call $await_output
        (call $chain (i32.const 16) (i32.const 0) (i32.const 8)) (i32.const 4) (i32.const 8))))"""))  # fmt: skip
    with pytest.raises(Trap, match=message):
        guest.call()


def test_chaining_needs_no_python_before_the_scheduler():
    rows = [row for row in interface.functions if row.capability == "faasm.chain"]
    assert len(rows) == 6
    assert all(isinstance(row.implementation, Native) for row in rows)


def test_the_old_form_fills_a_buffer_where_it_is_configured(load):
    load("echo", ECHO)
    asks = """(data (i32.const 16) "echo\\00") (data (i32.const 32) "12345678") (func (export "_start")
      (drop (call $await_output
        (call $chain (i32.const 16) (i32.const 32) (i32.const 8)) (i32.const 64) (i32.const 5)))
      (call $output (i32.const 64) (i32.const 8)))"""
    wasm = module("output chain await_output", asks)
    assert load("f", wasm, config={"AWAIT_OUTPUT_FORM": "buffer"}).call() == b"12345\0\0\0"


@pytest.mark.parametrize("where", ["(i32.const 131072) (i32.const 8)", "(i32.const 4) (i32.const -1)"])
def test_result_pointers_outside_of_memory_end_the_call(load, where):
    load("echo", ECHO)
    guest = load("f", module("chain await_output", f"""
      (func (export "malloc") (param i32) (result i32) (i32.const 4096)) (data (i32.const 16) "echo\\00")
      (func (export "_start") (drop (call $await_output
        (call $chain (i32.const 16) (i32.const 0) (i32.const 8)) {where})))"""))  # fmt: skip
    with pytest.raises(Trap, match="outside"):
        guest.call()


def test_output_of_a_child_that_trapped_says_so(load):
    load("bad", module("", '(func (export "_start") unreachable)'), interface="faasm")
    guest = load("f", module("output chain await_output", """
      (func (export "malloc") (param i32) (result i32) (i32.const 4096)) (data (i32.const 16) "bad\\00")
      (func (export "_start")
        (if (i32.ne (i32.const 1) (call $await_output
          (call $chain (i32.const 16) (i32.const 0) (i32.const 0)) (i32.const 4) (i32.const 8)))
          (then unreachable))
        (call $output (i32.load (i32.const 4)) (i32.load (i32.const 8))))"""))  # fmt: skip
    text = guest.call().decode()
    assert text.startswith("Task ") and "threw exception. What: " in text and "unreachable" in text


def test_calling_oneself_without_end_is_refused_and_the_host_goes_on(load, host):
    guest = load("f", module("chain await", """(data (i32.const 16) "f\\00") (func (export "_start")
      (drop (call $await (call $chain (i32.const 16) (i32.const 0) (i32.const 0)))))"""),
      limits=Limits(wall="60s"))  # fmt: skip
    result = guest.invoke()
    assert result.ok  # the call at the bottom was refused; nobody above looked at the code
    refused = load("g", module("chain", """(data (i32.const 16) "f\\00") (func (export "_start")
      (loop $again (drop (call $chain (i32.const 16) (i32.const 0) (i32.const 0))) (br $again)))"""),
      limits=Limits(wall="20s"))  # fmt: skip
    assert isinstance(refused.invoke().error, CallRefused)
    # What the flood had started may hold every place for instances a little longer.
    assert load("echo", ECHO, limits=Limits(wall="60s")).call(b"alive") == b"alive"


def test_waiting_for_oneself_is_1(load):
    guest = load("f", report("chain await", "", "(call $await (i32.const 1))"))
    result = guest.invoke()
    assert result.call_id == 1 and number(result.unwrap()) == 1


AWAITS_INPUT = module("input output await", """(func (export "_start")
  (drop (call $input (i32.const 0) (i32.const 4)))
  (i32.store (i32.const 0) (call $await (i32.load (i32.const 0))))
  (call $output (i32.const 0) (i32.const 4)))""")  # fmt: skip


def test_calls_of_other_applications_are_unknown(load, host):
    load("echo", ECHO)
    awaits = load("awaits", AWAITS_INPUT)
    foreign = host.submit("echo", b"theirs")
    assert foreign.result(10).ok
    assert number(awaits.call(foreign.call.id.to_bytes(4, "little"))) == 1


def test_calls_of_the_same_application_can_be_awaited_by_any_of_its_functions(load):
    load("echo", ECHO)
    load("awaits", AWAITS_INPUT)
    guest = load("f", module("output chain await_output", """
      (func (export "malloc") (param i32) (result i32) (i32.const 4096))
      (data (i32.const 16) "echo\\00") (data (i32.const 32) "awaits\\00") (func (export "_start")
      (i32.store (i32.const 64) (call $chain (i32.const 16) (i32.const 0) (i32.const 4)))
      (i32.store (i32.const 68) (call $chain (i32.const 32) (i32.const 64) (i32.const 4)))
      (drop (call $await_output (i32.load (i32.const 68)) (i32.const 4) (i32.const 8)))
      (call $output (i32.load (i32.const 4)) (i32.load (i32.const 8))))"""))  # fmt: skip
    assert number(guest.call()) == 0


@pytest.mark.parametrize(
    ("malloc", "code"),
    [
        ("", ord("f")),
        ('(func (export "malloc") (param i32) (result i32) (i32.const 4096))', ord("f")),
        ('(func (export "malloc") (param i32) (result i32) (i32.const 0))', 1),
    ],
    ids=["none", "one", "empty"],
)
def test_main_gets_its_arguments_from_malloc_or_new_pages(load, malloc, code):
    # returns argv[0][0], after checking that argc is 1 and argv[1] is NULL
    guest = load("f", module("output", malloc + """
      (func (export "__main_argc_argv") (param i32 i32) (result i32)
        (if (i32.or (i32.ne (local.get 0) (i32.const 1)) (i32.load offset=4 (local.get 1)))
          (then (return (i32.const 2))))
        (i32.load8_u (i32.load (local.get 1))))"""))  # fmt: skip
    assert guest.invoke().code == code


@pytest.mark.parametrize("way", ["main", "exit", "pointer", "entry"])
def test_negative_codes_keep_their_value(load, way):
    bodies = {
        "main": '(func (export "__main_void") (result i32) (i32.const -2))',
        "exit": '(func (export "_start") (call $exit (i32.const -2)))',
        "entry": '(func (export "_start"))',
        "pointer": """(func (export "_start") (call $exit (call $await
            (call $chain_ptr (i32.const 0) (i32.const 0) (i32.const 0)))))""",
    }
    guest = load(
        "f",
        wat_to_wasm(f"""(module {IMPORTS["chain_ptr"]} {IMPORTS["await"]}
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (table 1 1 funcref) (elem (i32.const 0) $minus)
      (func $minus (export "minus") (result i32) (i32.const -2)) {bodies[way]})"""),
    )
    result = guest.invoke(entry="minus" if way == "entry" else None)
    assert (result.code, result.output) == (-2, b"Call failed (return value=-2)")


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1, "soon"])
def test_a_timeout_that_is_no_time_is_refused_at_load(load, timeout):
    with pytest.raises(ManifestError, match="CHAINED_CALL_TIMEOUT"):
        load("f", ECHO, config={"CHAINED_CALL_TIMEOUT": timeout})


@pytest.mark.parametrize(
    ("export", "told"),
    [
        ('(func (export "_start") (param i32))', r"'_start' is \(i32\) -> \(\).*calls it as \(\) -> \(\)"),
        (
            '(func (export "_start")) (func (export "__wasm_call_ctors") (result i32) (i32.const 1))',
            "'__wasm_call_",
        ),
        ('(func (export "__main_void") (param i32) (result i32) (i32.const 0))', "'__main_void'"),
        ('(func (export "_start")) (func (export "_faasm_zygote") (param i32))', "'_faasm_zygote'"),
        (
            '(func (export "_start")) (global (export "_initialize") i32 (i32.const 0))',
            "'_initialize' is a global",
        ),
    ],
)
def test_exports_of_types_that_nobody_calls_refuse_the_module(load, export, told):
    with pytest.raises(LoadError, match=told):
        load("f", module("input", export))


def test_reactors_whose_start_takes_parameters_say_so(host):
    wasm = wat_to_wasm('(module (func (export "_initialize") (param i32)) (func (export "run")))')
    guest = host.load(wasm, name="odd")
    with pytest.raises(LoadError, match=r"its export '_initialize' is \(i32\) -> \(\)"):
        guest.call(entry="run")
