"""What a position-independent library says about itself (tool conventions, ``dylink.0``; faasm.md 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.engine import ModuleInfo
from guesthouse.engine.binary import Cursor
from guesthouse.errors import LoadError

#: Sub-sections of ``dylink.0``.
_MEMORY_INFO, _NEEDED = 1, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What a library needs of its surroundings.

    Attributes:
        memory: bytes of data.
        alignment: what the address of its data has to be a multiple of.
        table: elements of the function table.
        needed: libraries that have to be loaded before it.
    """

    memory: int = 0
    alignment: int = 1
    table: int = 0
    needed: tuple[str, ...] = ()


def shape_of(info: ModuleInfo) -> Shape:
    """Return the shape of a library.

    Raises:
        LoadError: the module is no position-independent library.
        InvalidModule: what it says is malformed.
    """
    for name, read in (("dylink.0", _read_sections), ("dylink", _read_old)):
        for start, size in info.custom.get(name, ()):
            return read(Cursor(bytes(info.source[start : start + size]), start))
    raise LoadError(
        "it is no position-independent library (no dylink.0 section); build it with -fPIC -shared"
    )


def _read_sections(cursor: Cursor) -> Shape:
    memory, alignment, table, needed = 0, 0, 0, []
    while cursor.position < cursor.end:
        kind = cursor.byte()
        end = cursor.unsigned() + cursor.position
        if kind == _MEMORY_INFO:
            memory, alignment, table = cursor.unsigned(), cursor.unsigned(), cursor.unsigned()
        elif kind == _NEEDED:
            needed = [cursor.name() for _ in range(cursor.count("needed libraries"))]
        cursor.take(max(end - cursor.position, 0), "sub-section")
    return _checked(cursor, memory, alignment, table, needed)


def _read_old(cursor: Cursor) -> Shape:
    memory, alignment, table = cursor.unsigned(), cursor.unsigned(), cursor.unsigned()
    cursor.unsigned()  # alignment of the table
    needed = [cursor.name() for _ in range(cursor.count("needed libraries"))]
    return _checked(cursor, memory, alignment, table, needed)


def _checked(cursor: Cursor, memory: int, alignment: int, table: int, needed: list[str]) -> Shape:
    if alignment > 16:  # addresses that the host gives out are multiples of 64 KiB
        cursor.fail(f"its data wants an alignment of 2 to the power of {alignment}")
    return Shape(memory, 1 << alignment, table, tuple(needed))
