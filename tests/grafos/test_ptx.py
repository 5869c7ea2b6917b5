"""The PTX subset on numpy: exact arithmetic, divergence, barriers, shared memory, and no way out of memory."""

from __future__ import annotations

import math
import random
import re
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.grafos.kernels import HEAD, VECTOR_ADD

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.cpu import CpuDevice
from guesthouse.resources.gpu.failures import SessionError

REGISTERS = """
    .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<24>; .reg .b64 %d<16>; .reg .f32 %f<8>; .reg .f64 %e<8>;
"""


def run(body: str, data: bytes, *, grid=(1, 1, 1), block=(1, 1, 1), shared=0, head="", extra=b"") -> bytes:
    """Run a kernel whose parameter is a pointer to `data` (in ``%d0``, thread number in ``%r0``)."""
    source = f"""{HEAD}{head}
    .visible .entry k(.param .u64 data)
    {{ {REGISTERS}
       ld.param.u64 %d0, [data]; cvta.to.global.u64 %d0, %d0;
       mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r0, %tid.x; mad.lo.u32 %r0, %r1, %r2, %r0;
       {body}
       ret; }}"""
    device = CpuDevice(1 << 20)
    address = device.alloc(max(1, len(data)))
    device.write(address, memoryview(data))
    module = device.load(source.encode() + extra)
    device.launch(module, "k", Launch(grid, block, shared, [struct.pack("<Q", address)]))
    out = bytearray(len(data))
    device.read(address, memoryview(out))
    return bytes(out)


def binary(opcode: str, kind: str, a: int, b: int) -> int:
    """Result bits of one instruction on two operands given as bits."""
    bits = int(kind[1:])
    size = bits // 8
    register = {16: "h", 32: "r", 64: "d"}[bits] if kind[0] != "f" else {32: "f", 64: "e"}[bits]
    offset = {"h": 1, "r": 3, "d": 1, "f": 1, "e": 1}[register]
    x, y, z = (f"%{register}{offset + number}" for number in range(3))
    body = f"""ld.global.{kind} {x}, [%d0]; ld.global.{kind} {y}, [%d0+{size}];
      {opcode}.{kind} {z}, {x}, {y}; st.global.{kind} [%d0+{2 * size}], {z};"""
    data = a.to_bytes(size, "little") + b.to_bytes(size, "little") + bytes(size)
    return int.from_bytes(run(body, data)[2 * size :], "little")


def signed(value: int, bits: int) -> int:
    return value - ((value >> (bits - 1)) << bits)


def expected(opcode: str, kind: str, a: int, b: int) -> int:
    """The same in Python's integers."""
    bits = int(kind[1:])
    x, y = (signed(a, bits), signed(b, bits)) if kind[0] == "s" else (a, b)
    if opcode in {"div", "rem"}:
        if y == 0:
            return (1 << bits) - 1 if opcode == "div" else x & ((1 << bits) - 1)
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        value = quotient if opcode == "div" else x - quotient * y
    else:
        value = {
            "add": x + y, "sub": x - y, "mul.lo": x * y, "mul.hi": (x * y) >> bits, "min": min(x, y),
            "max": max(x, y), "and": x & y, "or": x | y, "xor": x ^ y,
        }[opcode]  # fmt: skip
    return value & ((1 << bits) - 1)


words = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2, 2**15, 2**16 - 1, 2**31, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1]),
)


@settings(max_examples=150, deadline=None)
@given(
    opcode=st.sampled_from(
        ["add", "sub", "mul.lo", "mul.hi", "div", "rem", "min", "max", "and", "or", "xor"]
    ),
    kind=st.sampled_from(["u16", "s16", "u32", "s32", "u64", "s64"]),
    a=words,
    b=words,
)
def test_integers_wrap_like_the_devices(opcode, kind, a, b):
    if opcode in {"and", "or", "xor"}:
        kind = f"b{kind[1:]}"
    a, b = (value & ((1 << int(kind[1:])) - 1) for value in (a, b))
    assert binary(opcode, kind, a, b) == expected(opcode, kind, a, b)


def bits_of(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(a=floats32, b=floats32, c=floats32)
def test_fma_rounds_once_to_nearest_even(a, b, c):
    body = """ld.global.f32 %f1, [%d0]; ld.global.f32 %f2, [%d0+4]; ld.global.f32 %f3, [%d0+8];
      fma.rn.f32 %f4, %f1, %f2, %f3; st.global.f32 [%d0+12], %f4;"""
    got = np.frombuffer(run(body, struct.pack("<4f", a, b, c, 0)), "f4")[3]
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        assert got == 0
        return
    largest = Fraction(float(np.finfo("f4").max))
    if not np.isfinite(got) or abs(exact) > largest:
        assert abs(exact) > largest
        return
    error = abs(Fraction(float(got)) - exact)
    with np.errstate(over="ignore"):  # the largest number's neighbour is infinite
        neighbours = np.nextafter(got, np.float32(np.inf)), np.nextafter(got, np.float32(-np.inf))
    for neighbour in neighbours:
        if np.isfinite(neighbour):
            distance = abs(Fraction(float(neighbour)) - exact)
            assert error <= distance
            if error == distance:
                assert got.view("u4") % 2 == 0


@settings(max_examples=60, deadline=None)
@given(a=floats32, b=floats32, opcode=st.sampled_from(["add.rn", "sub.rn", "mul.rn", "div.rn", "min", "max"]))
def test_floats_are_those_of_ieee(a, b, opcode):
    x, y = np.float32(a), np.float32(b)
    with np.errstate(all="ignore"):
        want = {
            "add.rn": x + y,
            "sub.rn": x - y,
            "mul.rn": x * y,
            "div.rn": x / y,
            "min": np.fmin(x, y),
            "max": np.fmax(x, y),
        }[opcode]
    got = np.array([binary(opcode, "f32", bits_of(a), bits_of(b))], "u4").view("f4")[0]
    assert got == want or (np.isnan(got) and np.isnan(want))


def test_conversions_round_and_clamp():
    values = [1.5, 2.5, -1.5, -2.5, 3e9, -3e9, math.nan, math.inf, 0.4]
    body = "".join(
        f"ld.global.f32 %f1, [%d0+{4 * number}]; cvt.{rounding}.s32.f32 %r3, %f1; "
        f"st.global.u32 [%d0+{64 + 64 * row + 4 * number}], %r3;"
        for row, rounding in enumerate(("rni", "rzi", "rmi", "rpi"))
        for number in range(len(values))
    )
    data = struct.pack("<9f", *values).ljust(64, b"\0") + bytes(256)
    out = np.frombuffer(run(body, data), "i4")[16:].reshape(4, 16)[:, :9]
    top, bottom = 2**31 - 1, -(2**31)
    assert out.tolist() == [
        [2, 2, -2, -2, top, bottom, 0, top, 0],
        [1, 2, -1, -2, top, bottom, 0, top, 0],
        [1, 2, -2, -3, top, bottom, 0, top, 0],
        [2, 3, -1, -2, top, bottom, 0, top, 1],
    ]
    body = """ld.global.s8 %r3, [%d0]; cvt.s64.s32 %d1, %r3; st.global.u64 [%d0+8], %d1;
      ld.global.u8 %h1, [%d0]; cvt.u32.u16 %r4, %h1; st.global.u32 [%d0+16], %r4;
      cvt.u16.u32 %h2, 0x12345; st.global.u16 [%d0+20], %h2;
      cvt.rn.f64.s32 %e1, -7; cvt.rn.f32.f64 %f1, %e1; st.global.f32 [%d0+24], %f1;
      cvt.s32.s8 %r5, %r3; st.global.u32 [%d0+28], %r5;"""
    out = run(body, b"\x80" + bytes(31))
    assert struct.unpack("<qIHxxfi", out[8:]) == (-128, 0x80, 0x2345, -7.0, -128)


def test_threads_diverge_and_meet_again():
    """The Collatz steps of each thread's number: loops of different lengths, with branches inside."""
    body = """
      add.u32 %r3, %r0, 1; mov.u32 %r4, 0;
    LOOP:
      setp.eq.u32 %p1, %r3, 1; @%p1 bra DONE;
      and.b32 %r5, %r3, 1; setp.ne.u32 %p2, %r5, 0;
      @%p2 bra ODD;
      shr.u32 %r3, %r3, 1; bra NEXT;
    ODD:
      mad.lo.u32 %r3, %r3, 3, 1;
    NEXT:
      add.u32 %r4, %r4, 1; bra LOOP;
    DONE:
      mul.wide.u32 %d1, %r0, 4; add.u64 %d2, %d0, %d1; st.global.u32 [%d2], %r4;"""
    out = np.frombuffer(run(body, bytes(4 * 300), grid=(3, 1, 1), block=(100, 1, 1)), "u4")

    def steps(n: int) -> int:
        count = 0
        while n != 1:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        return count

    assert out.tolist() == [steps(n + 1) for n in range(300)]


@pytest.mark.parametrize("dynamic", [False, True])
def test_blocks_reduce_in_shared_memory_between_barriers(dynamic):
    head = ".extern .shared .align 4 .b8 cells[];" if dynamic else ""
    declare = "" if dynamic else ".shared .align 4 .b8 cells[512];"
    body = f"""{declare}
      mov.u32 %r3, %tid.x; shl.b32 %r4, %r3, 2; mov.u32 %r5, cells; add.u32 %r6, %r5, %r4;
      add.u32 %r7, %r0, 1; st.shared.u32 [%r6], %r7;
      mov.u32 %r8, 64;
    HALVE:
      bar.sync 0;
      setp.ge.u32 %p1, %r3, %r8; @%p1 bra SKIP;
      shl.b32 %r9, %r8, 2; add.u32 %r10, %r6, %r9;
      ld.shared.u32 %r11, [%r10]; ld.shared.u32 %r12, [%r6]; add.u32 %r12, %r12, %r11; st.shared.u32 [%r6], %r12;
    SKIP:
      shr.u32 %r8, %r8, 1; setp.ne.u32 %p2, %r8, 0; @%p2 bra HALVE;
      bar.sync 0;
      setp.ne.u32 %p3, %r3, 0; @%p3 bra END;
      ld.shared.u32 %r13, [cells]; mul.wide.u32 %d1, %r1, 4; add.u64 %d2, %d0, %d1; st.global.u32 [%d2], %r13;
    END:"""
    out = run(
        body, bytes(4 * 200), grid=(200, 1, 1), block=(128, 1, 1), shared=512 if dynamic else 0, head=head
    )
    sums = [sum(range(128 * block + 1, 128 * block + 129)) for block in range(200)]
    assert np.frombuffer(out, "u4").tolist() == sums


def test_three_dimensions_and_predicated_instructions():
    body = """
      mov.u32 %r3, %tid.x; mov.u32 %r4, %tid.y; mov.u32 %r5, %tid.z; mov.u32 %r6, %ctaid.y; mov.u32 %r7, %nctaid.y;
      mov.u32 %r8, %ntid.x; mov.u32 %r9, %ntid.y; mov.u32 %r10, %ntid.z;
      mad.lo.u32 %r11, %r6, %r10, %r5; mad.lo.u32 %r11, %r11, %r9, %r4; mad.lo.u32 %r11, %r11, %r8, %r3;
      mul.wide.u32 %d1, %r11, 4; add.u64 %d2, %d0, %d1;
      mov.u32 %r12, 1000; setp.gt.u32 %p1, %r5, 0; @%p1 add.u32 %r12, %r12, 1; @!%p1 sub.u32 %r12, %r12, 1;
      setp.eq.u32 %p2|%p3, %r3, 1; selp.b32 %r13, 50, 60, %p2; add.u32 %r12, %r12, %r13;
      st.global.u32 [%d2], %r12;"""
    out = np.frombuffer(run(body, bytes(4 * 24), grid=(1, 2, 1), block=(2, 3, 2)), "u4").reshape(2, 2, 3, 2)
    for z in range(2):
        for x in range(2):
            assert (out[:, z, :, x] == 1000 + (1 if z else -1) + (50 if x == 1 else 60)).all()


def test_generic_addresses_and_vectors():
    body = """.shared .align 16 .b8 cells[64];
      mov.u64 %d1, cells; cvta.shared.u64 %d2, %d1;
      ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%d0];
      st.v2.u32 [%d2+8], {%r5, %r6};
      ld.shared.u64 %d3, [%d1+8]; st.global.u64 [%d0+16], %d3;
      cvta.to.shared.u64 %d4, %d2; ld.shared.u32 %r7, [%d4+12]; st.u32 [%d0+24], %r7;"""
    out = run(body, struct.pack("<4I", 1, 2, 3, 4) + bytes(16))
    assert struct.unpack("<8I", out) == (1, 2, 3, 4, 3, 4, 4, 0)


@pytest.mark.parametrize(
    "body",
    [
        "ld.global.u32 %r3, [%d0+32];",
        "ld.global.u32 %r3, [%d0+-4];",
        "ld.global.u32 %r3, [%d0+1];",
        "ld.global.u64 %d1, [%d0+28];",
        "mov.u64 %d1, 0; ld.global.u8 %r3, [%d1];",
        "mov.u64 %d1, 0xffffffffffffffff; st.global.u8 [%d1], %r3;",
        "mov.u64 %d1, 0xfffffffffffffff8; st.global.u64 [%d1], %d1;",
        ".shared .b8 cells[16]; st.shared.u32 [16], %r3;",
        ".shared .b8 cells[16]; mov.u32 %r3, 0xffffffff; st.shared.u8 [%r3], %r3;",
        "ld.shared.u8 %r3, [0];",
        "mov.u64 %d1, 0x100000000000000; ld.u32 %r3, [%d1];",
    ],
)
def test_no_access_leaves_its_memory(body):
    with pytest.raises(SessionError) as caught:
        run(body, bytes(32))
    assert caught.value.failure == 8


def test_special_modifiers():
    body = """ld.global.f32 %f1, [%d0]; add.ftz.f32 %f2, %f1, 0f00000000; st.global.f32 [%d0+4], %f2;
      mov.f32 %f3, 0f40200000; add.sat.f32 %f4, %f3, %f3; st.global.f32 [%d0+8], %f4;
      neg.f32 %f5, %f3; abs.f32 %f6, %f5; st.global.f32 [%d0+12], %f6;
      shl.b32 %r3, 1, 40; st.global.u32 [%d0+16], %r3;
      mov.s32 %r4, -8; shr.s32 %r4, %r4, 1; st.global.u32 [%d0+20], %r4;
      mov.pred %p1, %p0; not.pred %p2, %p1; selp.u32 %r5, 9, 8, %p2; st.global.u32 [%d0+24], %r5;
      not.b32 %r6, 0; st.global.u32 [%d0+28], %r6;"""
    out = run(body, struct.pack("<f", 1e-40) + bytes(28))
    assert struct.unpack("<3fIiII", out[4:]) == (0.0, 1.0, 2.5, 0, -4, 9, 2**32 - 1)


def test_source_that_was_tampered_with_is_malformed_or_beyond_the_subset_or_fine():
    """Nothing but a typed refusal comes out of any text: words taken out, doubled, exchanged, put in."""
    rng = random.Random(2)
    words = re.findall(r"\w+|\s+|[^\w\s]", VECTOR_ADD.decode())
    strange = [
        "08",
        "0x",
        "-",
        "1e400",
        "0f7f800000",
        "0d",
        ".v2",
        ".align",
        "'",
        "\0",
        "\u00e9",
        "9" * 99,
        "L:",
        "|",
    ]
    seen = set()
    for _ in range(2500):
        text = list(words)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(2)] = rng.choice([[], [rng.choice(strange)], [rng.choice(words)]])
        try:
            CpuDevice(1 << 12).load("".join(text).encode())
            seen.add(0)
        except SessionError as error:
            seen.add(error.failure)
    assert seen == {0, 2, 3}


def test_numbers_are_read_as_ptx_writes_them():
    data = bytes(20)
    body = "".join(
        f"mov.u32 %r1, {number}; st.global.u32 [%d0+{4 * place}], %r1;"
        for place, number in enumerate(["017", "0x1F", "0b101", "10U", "-1"])
    )
    assert struct.unpack("<5I", run(body, data)) == (15, 31, 5, 10, 2**32 - 1)
