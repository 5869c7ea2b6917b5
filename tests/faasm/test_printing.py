"""The host's printf against random directives: never a crash, and what C prints where Python can tell."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine import OutOfBounds
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm import printing


class Memory:
    """Stands in for an instance whose memory holds packed arguments."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, pointer: int, length: int) -> bytes:
        if pointer + length > len(self.data):
            raise OutOfBounds(pointer, length, len(self.data))
        return self.data[pointer : pointer + length]


@pytest.fixture(autouse=True)
def strings(monkeypatch):
    """Let every string be the same, as there is no guest memory to read it from."""
    monkeypatch.setattr(printing, "text_at", lambda _memory, _pointer: b"text")


def shown(template: bytes, *values: float) -> bytes:
    data = b""
    for value in values:
        size = 8 if isinstance(value, float) or not -(1 << 31) <= value < 1 << 32 else 4
        data += bytes(-len(data) % size)
        data += struct.pack(
            "<d" if isinstance(value, float) else "<q" if size == 8 else "<I",
            value if size == 8 or isinstance(value, float) else value & 0xFFFFFFFF,
        )
    return printing.formatted(
        Memory(data + bytes(64)), template, printing.Arguments(Memory(data + bytes(64)), 0)
    )


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        (b"plain", (), b"plain"),
        (b"%d %i %u", (-1, 2, -1), b"-1 2 4294967295"),
        (b"%5d|%-5d|%05d|%+d", (1, 2, 3, 4), b"    1|2    |00003|+4"),
        (b"%lld %llu", (1 << 40, 1 << 41), b"1099511627776 2199023255552"),
        (b"%x %X %#x %o", (255, 255, 255, 8), b"ff FF 0xff 10"),
        (b"%c%c", (72, 105), b"Hi"),
        (b"%.2f %e %g", (1.005, 12345.678, 0.5), b"1.00 1.234568e+04 0.5"),
        (b"%a %A", (1.0, 1.0), b"0x1.0000000000000p+0 0X1.0000000000000P+0"),
        (b"%s|%6s|%-6s|%.2s", (0, 0, 0, 0), b"text|  text|text  |te"),
        (b"%p", (4096,), b"0x1000"),
        (b"%*d|%-*d|%.*f", (4, 7, 3, 8, 1, 2.55), b"   7|8  |2.5"),
        (b"%hd %hhd %hhu", (65535, 255, 257), b"-1 -1 1"),
        (b"100%%", (), b"100%"),
        (b"%d%f%d", (1, 2.0, 3), b"12.0000003"),
        (b"%q %", (), b"%q %"),
    ],
)
def test_directives_print_what_c_prints(template, values, expected):
    assert shown(template, *values) == expected


@pytest.mark.parametrize("template", [b"%n", b"%99999d", b"%.99999f", b"%4000d" * 400])
def test_what_would_write_or_fill_the_host_is_refused(template):
    with pytest.raises((Trap, OutOfBounds)):
        shown(template)


@given(st.text("%-+ #0123456789.*hlLjztdiouxXcspnfFeEgGaA ab", max_size=24), st.binary(max_size=64))
def test_no_format_ends_in_anything_but_bytes_or_a_trap(template, data):
    memory = Memory(data)
    try:
        output = printing.formatted(memory, template.encode(), printing.Arguments(memory, 0))
    except Trap:
        return
    assert isinstance(output, bytes)
