"""Libraries that are loaded while a function runs (faasm.md 2.5, 3.4)."""

from __future__ import annotations

import threading

import pytest

from guesthouse import Limits
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import Error, MissingImports, Trap
from guesthouse.interfaces.faasm.dylink import Shape, shape_of
from guesthouse.testing import guests

MAIN = "guests/faasm/dynamic_linking.c"


@pytest.fixture
def program(load, host):
    lib = host.service("files").tree("default").root / "lib"
    lib.mkdir()
    for name in ("one", "two"):
        (lib / f"{name}.so").write_bytes(guests.load(f"guests/faasm/lib_{name}.c"))
    (lib / "plain.wasm").write_bytes(wat_to_wasm("(module)"))
    (lib / "garbage.so").write_bytes(b"\0asm garbage")
    return load("dynamic_linking", guests.build(MAIN))


@pytest.mark.parametrize(
    ("what", "output"),
    [("b", b"from a library"), ("m", b""), ("h", b"through a pointer"), ("e", b""), ("f", b"")],
    ids=["one library", "two that need one another", "main handle", "errors", "fresh"],
)  # fmt: skip
def test_case_libraries(program, what, output):
    for _ in range(2):
        assert program.invoke(what.encode()).unwrap() == output


def test_a_missing_function_is_missed_when_it_is_called(program):
    result = program.invoke(b"u")
    assert isinstance(result.error, Trap)
    assert "a library needs from_two, which nobody has; export it from the program" in str(result.error)
    assert program.call(b"m") == b""  # and loaded later, it is there


def test_a_trap_in_a_library_ends_the_call_and_nothing_else(program):
    assert isinstance(program.invoke(b"t").error, Trap)
    assert program.call(b"b") == b"from a library"


def test_calls_on_many_threads_load_for_themselves(program):
    failed = []

    def work():
        for _ in range(15):
            for what in (b"f", b"m"):
                result = program.invoke(what)
                if result.code or result.error:
                    failed.append(result)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


REACHING = wat_to_wasm("""(module (@custom "dylink.0" "\\01\\04\\00\\00\\00\\00")
  (import "env" "__faasm_chain_name" (func $chain (param i32 i32 i32) (result i32)))
  (import "env" "memory" (memory 0))
  (func (export "reach") (result i32) (call $chain (i32.const 64) (i32.const 0) (i32.const 0))))""")

CALLER = wat_to_wasm("""(module
  (import "env" "dlopen" (func $open (param i32 i32) (result i32)))
  (import "env" "dlsym" (func $symbol (param i32 i32) (result i32)))
  (import "env" "__faasm_write_output" (func $output (param i32 i32)))
  (table (export "__indirect_function_table") 1 100 funcref) (memory (export "memory") 1)
  (type $nullary (func (result i32))) (data (i32.const 16) "/lib/reaching.so\\00") (data (i32.const 64) "reach\\00")
  (func (export "_start") (drop (call_indirect (type $nullary)
    (call $symbol (call $open (i32.const 16) (i32.const 0)) (i32.const 64))))))""")


def test_libraries_get_no_capability_that_the_call_lacks(load, program):
    """Output always comes along; what the library would chain with is there only where it was granted."""
    host = program.host
    (host.service("files").tree("default").root / "lib" / "reaching.so").write_bytes(REACHING)
    granted = load("caller", CALLER, grant=["faasm"])
    assert granted.invoke().error is None
    lacking = load("lacking", CALLER, grant=["faasm.dl", "faasm.files"]).invoke()
    told = "a library needs __faasm_chain_name, which is none of the host's, or was not granted"
    assert isinstance(lacking.error, Trap) and told in str(lacking.error)
    ceiling = frozenset({"faasm.dl", "faasm.files"})
    lowered = host.scheduler.run("caller", tenant="default", capabilities=ceiling)
    assert isinstance(lowered.error, Trap) and told in str(lowered.error)


def test_without_the_capability_the_module_is_refused(load):
    with pytest.raises(MissingImports, match="faasm.dl"):
        load("m", guests.build(MAIN), grant=["faasm.files"])


def test_shapes_of_libraries():
    from guesthouse.engine import read

    shape = shape_of(read(guests.load("guests/faasm/lib_one.c")))
    assert shape.memory > 0 and shape.table >= 2 and shape.needed == ()
    needing = wat_to_wasm('(module (@custom "dylink.0" "\\01\\04\\10\\02\\01\\00\\02\\07\\02\\01a\\03b.c"))')
    assert shape_of(read(needing)) == Shape(16, 4, 1, ("a", "b.c"))
    old = wat_to_wasm('(module (@custom "dylink" "\\10\\02\\01\\00\\01\\01a"))')
    assert shape_of(read(old)) == Shape(16, 4, 1, ("a",))


ODD = [
    '(module (@custom "dylink.0" "\\01\\04\\00\\00\\00\\00") (func (export "__wasm_call_ctors") (param i32 i64 f64)))',
    '(module (@custom "dylink.0" "") (func (export "__wasm_call_ctors") (result i32 i32) (i32.const 1) (i32.const 2)))',
    '(module (@custom "dylink.0" "\\01\\ff\\ff\\ff\\ff\\0f"))',
    '(module (@custom "dylink.0" "\\01\\05\\00\\1f\\00\\00\\00"))',
    '(module (@custom "dylink.0" "\\01\\08\\00\\00\\ff\\ff\\ff\\ff\\0f\\00"))',
    '(module (@custom "dylink.0" "\\02\\05\\01\\03one"))',
    '(module (@custom "dylink.0" "\\02\\07\\01\\05odd.s"))',
    '(module (@custom "dylink.0" "") (import "env" "g" (global (mut f64))))',
    '(module (@custom "dylink.0" "") (import "env" "memory" (memory i64 1)))',
    '(module (@custom "dylink.0" "") (import "GOT.mem" "x" (global (mut i64))))',
    '(module (@custom "dylink.0" "") (import "env" "f" (func (param externref))))',
    '(module (@custom "dylink.0" "") (memory 65536))',
    '(module (@custom "dylink.0" "") (func $f unreachable) (start $f))',
    '(module (@custom "dylink.0" "") (import "env" "__wasm_call_ctors" (func $f)) (export "__wasm_call_ctors" (func $f)))',
]

OPENER = wat_to_wasm("""(module
  (import "env" "dlopen" (func $open (param i32 i32) (result i32)))
  (import "env" "dlerror" (func $error (result i32)))
  (import "env" "__faasm_write_output" (func $output (param i32 i32)))
  (table (export "__indirect_function_table") 1 100 funcref) (memory (export "memory") 1 100)
  (global (export "g") f64 (f64.const 0)) (data (i32.const 16) "/lib/odd.so\\00")
  (func (export "_start") (i32.store (i32.const 0) (call $open (i32.const 16) (i32.const 0)))
    (drop (call $error)) (call $output (i32.const 0) (i32.const 4))))""")


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_libraries_are_refused_or_end_the_call(load, program, number):
    lib = program.host.service("files").tree("default").root / "lib"
    (lib / "odd.so").write_bytes(wat_to_wasm(ODD[number]))
    result = load("opener", OPENER, limits=Limits(memory="16MiB", wall=5)).invoke()
    assert result.error is None or isinstance(result.error, Error), result.error
    assert program.call(b"b") == b"from a library"
