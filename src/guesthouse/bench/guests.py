"""The guests that are measured, in the text format: tiny, so that what is measured is the host."""

from __future__ import annotations

from functools import cache

from guesthouse.engine import wat_to_wasm

#: Bytes that the whole cold call carries in and out.
PAYLOAD = bytes(range(64))

#: Where the guests keep a payload, in bytes.
BUFFER = 1024

_LOOP = """
  (func (export "{export}") (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (call ${function} (local.get $x)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
"""

_SPIN = """
  (func $spin (export "spin") (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (i32.xor (i32.mul (local.get $x) (i32.const 1664525)) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
"""

_ECHO = """
  (func (export "echo") (param $at i32) (param $length i32) (result i32)
    (memory.copy (i32.const 2048) (local.get $at) (local.get $length))
    (i32.const 2048))
"""


@cache
def small() -> bytes:
    """One page of memory; loops that call host functions, an empty function, a spinning one, an echo."""
    return wat_to_wasm(f"""(module
      (import "bench" "native" (func $native (param i32) (result i32)))
      (import "bench" "copy" (func $copy (param i32) (result i32)))
      (import "bench" "python" (func $python (param i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "nothing") (param i32) (result i32) (local.get 0))
      {_LOOP.format(export="loop_native", function="native")}
      {_LOOP.format(export="loop_copy", function="copy")}
      {_LOOP.format(export="loop_python", function="python")}
      {_SPIN} {_ECHO})""")


@cache
def function() -> bytes:
    """A Faasm function that answers with its input: what a whole call through the host carries."""
    return wat_to_wasm(f"""(module
      (import "env" "__faasm_read_input" (func $read (param i32 i32) (result i32)))
      (import "env" "__faasm_write_output" (func $write (param i32 i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (call $write (i32.const {BUFFER}) (call $read (i32.const {BUFFER}) (i32.const 4096)))))""")


@cache
def large() -> bytes:
    """A memory image of 4 MiB that is not zero: what an instance must not have to copy."""
    filled = "x" * (4 << 20)
    return wat_to_wasm(f"""(module
      (memory (export "memory") 65)
      (data (i32.const 0) "{filled}")
      (func (export "nothing") (param i32) (result i32) (local.get 0)))""")


@cache
def heavy() -> bytes:
    """About 3 MB of code in 9 000 functions: what a start must not have to compile."""
    body = "".join(
        f"(local.set 1 (i32.add (i32.mul (local.get 0) (i32.const {7919 * step + 3})) (local.get 1)))"
        f"(if (i32.gt_u (local.get 1) (i32.const {step * 65537})) (then (local.set 0 (local.get 1))))"
        for step in range(14)
    )
    functions = "".join(
        f"(func (param i32) (result i32) (local i32) {body} (i32.xor (local.get 1) (i32.const {number})))"
        for number in range(9_000)
    )
    return wat_to_wasm(f'(module {functions} (export "nothing" (func 0)))')


@cache
def extism() -> bytes:
    """The same work as :func:`small` with what an Extism plug-in imports; a count comes as u64 input."""
    loop = """
      (func (export "{export}") (result i32) (local $n i64) (local $x i64)
        (local.set $n (call $load (i64.const 0)))
        (loop $again
          (local.set $x (call ${function} (local.get $x)))
          (br_if $again (i64.ne (i64.const 0) (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
        (i32.const 0))
    """
    return wat_to_wasm(f"""(module
      (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
      (import "extism:host/env" "input_length" (func $length (result i64)))
      (import "extism:host/env" "input_offset" (func $offset (result i64)))
      (import "extism:host/env" "output_set" (func $output (param i64 i64)))
      (import "extism:host/user" "python" (func $python (param i64) (result i64)))
      (memory (export "memory") 1)
      (func (export "nothing") (result i32) (i32.const 0))
      (func (export "echo") (result i32)
        (call $output (call $offset) (call $length)) (i32.const 0))
      (func (export "spin") (result i32)
        (drop (call $spin (i32.wrap_i64 (call $load (i64.const 0))))) (i32.const 0))
      {loop.format(export="loop_python", function="python")}
      {_SPIN.replace('(export "spin")', "")})""")
