"""Every host function of every table, called with arguments that a hostile guest would choose.

DESIGN section 8, invariant 1: no sequence of host calls with any argument values crashes, hangs or
corrupts the host.  A call may return anything or end with one of our own errors; anything else is a bug.
"""

from __future__ import annotations

import math
import random

import pytest

import guesthouse
from guesthouse.engine import wat_to_wasm
from guesthouse.interfaces import available

PAGE = 65536
INTS = [0, 1, 4, PAGE - 8, PAGE - 1, PAGE, PAGE + 1, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1]
LONGS = [*INTS, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [0.0, -1.5, math.inf, -math.inf, math.nan]
VALUES = {"i": INTS, "I": LONGS, "f": FLOATS, "F": FLOATS}
WORDS = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}

ROWS = [(interface.name, row) for interface in available() for row in interface.functions]


def cases(params: str, seed: str) -> list[list[float]]:
    """One case per value in all places at once, and forty random mixtures."""
    if not params:
        return [[]]
    chance = random.Random(seed)
    uniform = [[VALUES[kind][i % len(VALUES[kind])] for kind in params] for i in range(len(LONGS))]
    mixed = [[chance.choice(VALUES[kind]) for kind in params] for _ in range(40)]
    return uniform + mixed


def constant(kind: str, value: float) -> str:
    if kind in "iI":
        return f"({WORDS[kind]}.const {value})"
    text = "nan" if math.isnan(value) else str(value)
    return f"({WORDS[kind]}.const {text})"


def module(row) -> tuple[bytes, int]:
    """A module that exports one entry per case; the memory is full of bytes that are no zeros."""
    every = cases(row.params, f"{row.module}.{row.name}.{row.params}")
    types = "".join(f"(param {WORDS[kind]})" for kind in row.params)
    results = "".join(f"(result {WORDS[kind]})" for kind in row.results)
    entries = []
    for number, case in enumerate(every):
        arguments = "".join(constant(kind, value) for kind, value in zip(row.params, case, strict=True))
        called = f"(call $f {arguments})"
        entries.append(f'(func (export "case{number}") {f"(drop {called})" if row.results else called})')
    text = f"""(module (import "{row.module}" "{row.name}" (func $f {types} {results}))
      (memory (export "memory") 1 2) (table (export "__indirect_function_table") 2 4 funcref)
      (func $fill (memory.fill (i32.const 0) (i32.const 0x2f) (i32.const 4096))) (start $fill)
      (func (export "malloc") (param i32) (result i32) (i32.const 65530))
      (func (export "_start")) {"".join(entries)})"""
    return wat_to_wasm(text), len(every)


@pytest.fixture(scope="module")
def host():
    with guesthouse.Host(workers=2) as host:
        yield host


@pytest.mark.parametrize(
    ("interface", "row"), ROWS, ids=[f"{i}-{row.module}.{row.name}-{row.params}" for i, row in ROWS]
)
def test_no_argument_harms_the_host(host, interface, row):
    wasm, count = module(row)
    names = sorted({own for own, _ in ROWS})
    guest = host.load(
        wasm, name="hostile", grant=names, interface="wasi", replace=True,
        limits=guesthouse.Limits(wall="100ms", memory="1MiB", output="1MiB"),
    )  # fmt: skip
    for number in range(count):
        result = guest.invoke(b"input", entry=f"case{number}")
        assert result.error is None or isinstance(result.error, guesthouse.Error), result.error
