"""Writing parts of a module: numbers, constant expressions, element and data segments, image runs.

The encodings are those of the core specification's chapter "Binary Format": element segments 5.5.12,
data segments 5.5.14, constant expressions 5.4.9.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from guesthouse.engine.binary import Cursor

#: Bytes that are looked at, and left out when zero, as one.
GRAIN = 4096
#: An image whose bytes span at most this is always mapped copy-on-write by the engine; a larger one only
#: if at least half of its span is data.
ALWAYS_MAPPED = 16 << 20


def unsigned(value: int) -> bytes:
    """Return an unsigned LEB128 number."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def signed(value: int) -> bytes:
    """Return a signed LEB128 number."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        last = value == (-1 if byte & 0x40 else 0)
        out.append(byte if last else byte | 0x80)
        if last:
            return bytes(out)


def section(number: int, body: bytes) -> bytes:
    """Return a section with its header."""
    return bytes([number]) + unsigned(len(body)) + body


def vector(items: Sequence[bytes]) -> bytes:
    """Return a vector of encoded items."""
    return unsigned(len(items)) + b"".join(items)


def constant(letter: str, raw: bytes) -> bytes:
    """Return the constant expression of a number.

    Args:
        letter: its type, as in `guesthouse.engine.binary`.
        raw: its bytes, little endian.
    """
    if letter in "iI":
        number = int.from_bytes(raw, "little", signed=True)
        return bytes([0x41 if letter == "i" else 0x42]) + signed(number) + b"\x0b"
    if letter in "fF":
        return bytes([0x43 if letter == "f" else 0x44]) + raw + b"\x0b"
    return b"\xfd\x0c" + raw + b"\x0b"


def offset(position: int, wide: bool) -> bytes:
    """Return the expression of an offset into a memory or table (``wide`` for 64-bit ones)."""
    size = 8 if wide else 4
    return constant("I" if wide else "i", position.to_bytes(size, "little"))


def settle_elements(body: bytes) -> tuple[list[bytes], set[int]]:
    """Turn active element segments into declarative ones, which is what they are once a module runs.

    Args:
        body: the content of an element section.

    Returns:
        The segments, and the indices of all functions that they name.
    """
    cursor, out, named = Cursor(body), [], set[int]()
    for _ in range(cursor.count("element segments")):
        begin = cursor.position
        flags = cursor.unsigned()
        active, expressions = not flags & 1, bool(flags & 4)
        if active and flags & 2:
            cursor.unsigned()  # table
        if active:
            cursor.skip_constant()
        kind = cursor.position
        if flags & 3:  # all but the two short forms spell the kind of their elements out
            if expressions:
                cursor.reference_type()
            else:
                cursor.byte()
        items = cursor.position
        for _ in range(cursor.count("elements")):
            if expressions:
                at = cursor.position
                cursor.skip_constant()
                if body[at] == 0xD2:
                    named.add(Cursor(body[at + 1 : cursor.position]).unsigned())
            else:
                named.add(cursor.unsigned())
        if not active:
            out.append(body[begin : cursor.position])
            continue
        spelled = body[kind:items] or (b"\x70" if expressions else b"\x00")
        out.append(bytes([7 if expressions else 3]) + spelled + body[items : cursor.position])
    return out, named


def settle_data(body: bytes, wide: bool) -> list[bytes]:
    """Empty active data segments, which keeps the numbers of the others.

    They stay active: what is passive costs every instance a little, and Go's compiler makes tens of
    thousands.

    Args:
        body: the content of a data section.
        wide: whether memory 0 is a 64-bit one.
    """
    cursor, out = Cursor(body), []
    empty = active_data(0, 0, b"", wide)
    for _ in range(cursor.count("data segments")):
        begin = cursor.position
        flags = cursor.unsigned()
        if flags == 2:
            cursor.unsigned()  # memory
        if flags != 1:
            cursor.skip_constant()
        cursor.take(cursor.unsigned(), "data segment")
        out.append(body[begin : cursor.position] if flags == 1 else empty)
    return out


def active_elements(table: int, start: int, functions: Sequence[int], wide: bool) -> bytes:
    """Return a segment that puts functions into a table from an index on."""
    head = b"\x00" if table == 0 else b"\x02" + unsigned(table)
    kind = b"" if table == 0 else b"\x00"
    return head + offset(start, wide) + kind + vector([unsigned(index) for index in functions])


def active_data(memory: int, start: int, data: bytes | memoryview, wide: bool) -> bytes:
    """Return a segment that puts bytes into a memory."""
    head = b"\x00" if memory == 0 else b"\x02" + unsigned(memory)
    return head + offset(start, wide) + unsigned(len(data)) + bytes(data)


def image_runs(memory: memoryview, limit: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, end)`` of what has to be stored of a memory: all that is not zero, in few pieces.

    Gaps are filled where that is needed to keep the image one that the engine maps rather than copies,
    or to stay below ``limit`` pieces.
    """
    runs: list[list[int]] = []
    zeros = bytes(GRAIN)
    for start in range(0, len(memory), GRAIN):
        if memory[start : start + GRAIN] == zeros[: len(memory) - start]:
            continue
        end = min(start + GRAIN, len(memory))
        if runs and start - runs[-1][1] <= 2 * GRAIN:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    if not runs:
        return
    span = runs[-1][1] - runs[0][0]
    held = sum(end - start for start, end in runs)
    gaps = sorted((after[0] - before[1], number) for number, (before, after) in enumerate(_pairs(runs)))
    fill = set[int]()
    for width, number in gaps:
        if len(runs) - len(fill) <= limit and (span <= ALWAYS_MAPPED or held * 2 >= span):
            break
        fill.add(number)
        held += width
    start, end = runs[0]
    for number, (_, after) in enumerate(_pairs(runs)):
        if number in fill:
            end = after[1]
        else:
            yield start, end
            start, end = after
    yield start, end


def _pairs(runs: list[list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    return itertools.pairwise(runs)
