"""The module reader: what it reports, what it refuses and where, and that nothing else gets out of it."""

from __future__ import annotations

import contextlib
import mmap
import pathlib
import time

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.engine import modules
from guesthouse.engine.binary import Cursor
from guesthouse.errors import InvalidModule

RICH = """
(module $rich
  (type $pair (func (param i32 i64) (result f32 f64)))
  (import "env" "pair" (func $pair (type $pair)))
  (import "env" "table" (table 2 5 funcref))
  (import "env" "memory" (memory 1 16 shared))
  (import "env" "global" (global i64))
  (import "env" "tag" (tag (param i32)))
  (table 3 externref)
  (memory i64 1 2)
  (global $mutable (mut i32) (i32.const -7))
  (global v128 (v128.const i64x2 1 2))
  (global funcref (ref.func $go))
  (func $go (export "go") (param externref v128) (result funcref) ref.null func)
  (func $init)
  (start $init)
  (export "pair" (func $pair))
  (export "memory" (memory 1))
  (export "mutable" (global $mutable))
  (elem declare func $go)
  (data "abc")
  (data (memory 1) (i64.const 0) "def")
)
"""


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def section(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number, len(content)]) + content


HEADER = b"\0asm\1\0\0\0"


def test_everything_declared_is_reported():
    info = modules.read(wat(RICH))
    assert [(i.module, i.name, i.kind) for i in info.imports] == [
        ("env", "pair", "function"),
        ("env", "table", "table"),
        ("env", "memory", "memory"),
        ("env", "global", "global"),
        ("env", "tag", "tag"),
    ]
    assert (info.imports[0].params, info.imports[0].results) == ("iI", "fF")
    assert info.imports[1].type == modules.TableType("r", 2, 5, False)
    assert info.imports[2].type == modules.MemoryType(1, 16, True, False, 65536)
    assert info.imports[3].type == modules.GlobalType("I", False)
    assert info.imports[4].params == "i"
    go = info.exports["go"]
    assert (go.kind, go.params, go.results, go.index) == ("function", "xV", "r", 1)
    assert info.exports["memory"].type == modules.MemoryType(1, 2, False, True, 65536)
    assert info.exports["mutable"].type == modules.GlobalType("i", True)
    assert [g.type for g in info.globals] == ["I", "i", "V", "r"]
    assert (info.start, info.data_count, info.element_count, info.name) == (
        2,
        2,
        1,
        "rich",
    )
    assert info.imported("function") == 1 and len(info.functions) == 3
    assert info.code_size > 0
    assert "name" in info.custom


def test_sections_cover_the_file_without_gaps():
    data = wat(RICH)
    position = 8
    for part in modules.read(data).sections:
        assert part.offset == position and data[part.offset] == part.id
        position = part.start + part.size
    assert position == len(data)


def test_digest_is_that_of_the_bytes():
    assert (
        modules.read(wat("(module)")).sha256
        == "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"
    )


@pytest.mark.parametrize(
    ("data", "offset", "words"),
    [
        (b"", 0, "does not begin"),
        (b"\0as", 0, "does not begin"),
        (b"\0asm\1", 5, "unexpected end"),
        (b"\0asm\2\0\0\0", 4, "version 2"),
        (b"\0asm\x0d\0\1\0", 4, "component"),
        (b"(module)", 0, "text format"),
        (HEADER + b"\x63\0", 8, "unknown section 99"),
        (HEADER + b"\1\5\0", 8, "past the end of the module"),
        (HEADER + section(2, b"\0") + section(1, b"\0"), 11, "out of order"),
        (HEADER + section(1, b"\0") + section(1, b"\0"), 11, "repeated"),
        (HEADER + section(1, b"\0\0"), 11, "too many"),
        (HEADER + section(1, b"\x80\x80\x80\x80\x80\0"), 10, "does not fit u32"),
        (HEADER + section(1, b"\xff\xff\xff\xff\x1f"), 10, "does not fit u32"),
        (HEADER + section(1, b"\x05\x60"), 10, "do not fit"),
        (HEADER + section(1, b"\1\x60\1\x55\0"), 13, "unknown type"),
        (HEADER + b"\0\1\0" * 10_001, 8 + 30_000, "more than 10000 sections"),
        (HEADER + section(5, b"\x65" + b"\0\1" * 50), 10, "101 memories, 100 are supported"),
        (HEADER + section(2, b"\1\xff\xff\x7f"), 11, "100000 are supported"),
        (HEADER + section(2, b"\1\2\xc3\x28\0\0\0"), 11, "UTF-8"),
        (HEADER + section(3, b"\1\0"), 11, "not a function type"),
        (HEADER + section(5, b"\1\1\2\1"), 11, "larger than maximum"),
        (HEADER + section(5, b"\1\0\x81\x80\4"), 11, "more than 65536 pages"),
        (HEADER + section(5, b"\1\2\1"), 11, "without a maximum"),
        (HEADER + section(5, b"\1\x10\1"), 11, "flags"),
        (HEADER + section(6, b"\1\x7f\2\x41\0\x0b"), 12, "mutability"),
        (
            HEADER + section(6, b"\1\x7f\0\x41\xff\xff\xff\xff\x4f\x0b"),
            14,
            "does not fit s32",
        ),
        (HEADER + section(6, b"\1\x7f\0\x10\0\x0b"), 13, "constant expression"),
        (HEADER + section(7, b"\1\1a\0\0"), 14, "there are 0"),
        (
            HEADER + section(5, b"\1\0\1") + section(7, b"\2\1a\2\0\1a\2\0"),
            20,
            "repeated",
        ),
        (HEADER + section(8, b"\0"), 10, "start function"),
        (HEADER + section(1, b"\1\x60\0\0") + section(3, b"\1\0"), 18, "have a body"),
        (HEADER + section(12, b"\1"), 11, "announced"),
    ],
)
def test_malformed_modules_are_refused_at_the_offset(data: bytes, offset: int, words: str):
    with pytest.raises(InvalidModule, match=words) as caught:
        modules.read(data)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "text",
    [
        '(module (type (struct (field i8) (field (mut i64)))) (type (array funcref)) (func (export "f")))',
        "(module (rec (type $a (sub (struct))) (type $b (sub $a (struct (field (ref null $b)))))))",
        "(module (table 1 (ref null func) (ref.null func)))",
        "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        '(module (import "" "" (global $g (ref extern))))',
        "(module (memory i64 0x10000))",
        "(module (memory 1) (memory 2) (tag (param f64)))",
        "(module (memory 65536))",
    ],
)
def test_modern_modules_are_read(text: str):
    modules.read(wat(text))


def test_longest_encodings_are_allowed():
    assert Cursor(b"\x80\x80\x80\x80\x00").unsigned() == 0
    assert Cursor(b"\xff\xff\xff\xff\x0f").unsigned() == 0xFFFFFFFF
    assert Cursor(b"\xff" * 9 + b"\x01").unsigned(64) == 2**64 - 1
    assert Cursor(b"\x80\x80\x80\x80\x78").signed(32) == -(2**31)
    assert Cursor(b"\xff\xff\xff\xff\x7f").signed(32) == -1


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers_round_trip(value: int):
    encoded, rest = bytearray(), value
    while True:
        byte, rest = rest & 0x7F, rest >> 7
        if (rest == 0 and not byte & 0x40) or (rest == -1 and byte & 0x40):
            encoded.append(byte)
            break
        encoded.append(byte | 0x80)
    assert Cursor(bytes(encoded)).signed(64) == value


@st.composite
def mutants(draw):
    module = bytearray(wat(RICH))
    for _ in range(draw(st.integers(1, 6))):
        where = draw(st.integers(8, len(module) - 1))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "truncate"])):
            case "flip":
                module[where] ^= 1 << draw(st.integers(0, 7))
            case "set":
                module[where] = draw(st.integers(0, 255))
            case "insert":
                module[where:where] = draw(st.binary(max_size=12))
            case "delete":
                del module[where : where + draw(st.integers(1, 8))]
            case "truncate" if where > 8:
                del module[where:]
        if len(module) < 9:
            break
    return bytes(module)


@settings(max_examples=600, deadline=None)
@given(mutants())
def test_no_mutation_raises_anything_but_invalid_module(module):
    with contextlib.suppress(InvalidModule):
        modules.read(module)


def _everything():
    config = wasmtime.Config()
    config.wasm_threads = config.shared_memory = config.wasm_memory64 = config.wasm_exceptions = True
    return wasmtime.Engine(config)


EVERYTHING = _everything()


@settings(max_examples=1000, deadline=None)
@given(mutants())
def test_what_the_engine_accepts_is_read(module):
    try:
        wasmtime.Module.validate(EVERYTHING, module)
    except wasmtime.WasmtimeError:
        return
    modules.read(module)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_invalid_module(tail: bytes):
    with contextlib.suppress(InvalidModule):
        modules.read(HEADER + tail)


def test_a_mapped_file_is_read_in_place(tmp_path: pathlib.Path):
    path = tmp_path / "big.wasm"
    size = 64 << 20
    encoded = bytes(
        [
            size & 0x7F | 0x80,
            size >> 7 & 0x7F | 0x80,
            size >> 14 & 0x7F | 0x80,
            size >> 21,
        ]
    )
    with path.open("wb") as file:
        file.write(HEADER + b"\0" + encoded + b"\1x")
        file.truncate(8 + 1 + len(encoded) + size)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        started = time.process_time()
        info = modules.read(mapped)
        spent = time.process_time() - started
        assert info.custom == {"x": [(15, size - 2)]}
        # Reading the 64 MiB would take far longer than any noise of this machine.
        assert spent < 0.5
        del info
