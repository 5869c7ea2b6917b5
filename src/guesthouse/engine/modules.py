"""What a core WebAssembly module declares, read from its bytes before anything is compiled.

:func:`read` walks the sections of a module, refuses malformed ones with the byte offset, and returns a
:class:`ModuleInfo`.  Code, data and element bodies are left alone (the engine validates them when it
compiles), so a module of 100 MB takes milliseconds.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.engine.binary import (
    Cursor,
    FunctionType,
    GlobalType,
    MemoryType,
    TableType,
)
from guesthouse.engine.outline import LARGE, ModuleFile
from guesthouse.errors import InvalidModule
from guesthouse.reading import read_whole

__all__ = [
    "Export", "ExternType", "FunctionType", "GlobalType", "Import", "MemoryType", "ModuleInfo", "Section",
    "TableType", "read", "read_file",
]  # fmt: skip

ExternType = FunctionType | TableType | MemoryType | GlobalType

KINDS = ("function", "table", "memory", "global", "tag")

#: Names of the sections by id; 0 is the custom section.
SECTIONS = {
    1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export", 8: "start",
    9: "element", 10: "code", 11: "data", 12: "data count", 13: "tag",
}  # fmt: skip

#: The order sections must come in (core specification 5.5.16); each at most once.
ORDER = {number: rank for rank, number in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11))}

#: No tool makes nearly as many; each costs memory here.
MOST_SECTIONS = 10_000

MAGIC = b"\0asm"


class _Typed:
    """What has the type of an extern: its signature, where that is one of a function."""

    __slots__ = ()
    type: ExternType

    @property
    def params(self) -> str:
        """Parameter letters of a function or tag, ``""`` for anything else."""
        return self.type.params if isinstance(self.type, FunctionType) else ""

    @property
    def results(self) -> str:
        """Result letters of a function, ``""`` for anything else."""
        return self.type.results if isinstance(self.type, FunctionType) else ""


@dataclass(frozen=True, slots=True)
class Import(_Typed):
    """One import.

    Attributes:
        module, name: the two names it is asked for by.
        kind: ``function``, ``table``, ``memory``, ``global`` or ``tag``.
        type: its type; for a tag the type of its payload.
    """

    module: str
    name: str
    kind: str
    type: ExternType


@dataclass(frozen=True, slots=True)
class Export(_Typed):
    """One export: as :class:`Import`, with its ``index`` among the module's items of that kind."""

    name: str
    kind: str
    index: int
    type: ExternType


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section lies: ``offset`` of its id byte, ``start`` and ``size`` of its content in bytes."""

    id: int
    name: str
    offset: int
    start: int
    size: int


@dataclass(eq=False)
class ModuleInfo:
    """What a module declares.

    Attributes:
        data: its bytes, or an outline of them where ``file`` is set; use :attr:`source`.
        file: the file it was read from, where that was not read as a whole.
        imports: in the module's order.
        exports: by name, in the module's order.
        functions, memories, tables, globals, tags: every item of the kind by index, imported ones first.
        start: index of the start function, or ``None``.
        custom: custom sections by name: ``(offset, size)`` of each one's content after the name.
        data_count, element_count: number of data and element segments.
        code_size: bytes of the code section, 0 without code.
        name: the module's name from its ``name`` section, or ``None``.
        sections: all sections in file order.
        size: bytes of the whole module.
    """

    data: bytes | mmap.mmap | memoryview = field(repr=False)
    size: int = 0
    file: ModuleFile | None = None
    imports: list[Import] = field(default_factory=list)
    exports: dict[str, Export] = field(default_factory=dict)
    functions: list[FunctionType] = field(default_factory=list, repr=False)
    memories: list[MemoryType] = field(default_factory=list)
    tables: list[TableType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list, repr=False)
    tags: list[FunctionType] = field(default_factory=list)
    start: int | None = None
    custom: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    data_count: int = 0
    element_count: int = 0
    code_size: int = 0
    name: str | None = None
    sections: list[Section] = field(default_factory=list, repr=False)

    @property
    def source(self) -> bytes | mmap.mmap | memoryview:
        """All bytes of the module; read from its file where they were not needed before.

        Raises:
            LoadError: the file cannot be read any more, or has been changed.
        """
        return self.data if self.file is None else self.file.read()

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the module's bytes in hex; computed when first asked for."""
        return hashlib.sha256(self.source).hexdigest()

    def know_sha256(self, digest: str) -> None:
        """Take the digest from somebody who has computed it before."""
        self.__dict__["sha256"] = digest

    def imported(self, kind: str) -> int:
        """Return how many imports are of a kind: the index of the first own item."""
        return sum(item.kind == kind for item in self.imports)

    def items(self, kind: str) -> list[Any]:
        """Return the index space of a kind."""
        spaces: dict[str, list[Any]] = {
            "function": self.functions, "table": self.tables, "memory": self.memories,
            "global": self.globals, "tag": self.tags,
        }  # fmt: skip
        return spaces[kind]


def read(data: bytes | bytearray | mmap.mmap | memoryview) -> ModuleInfo:
    """Read what a core module declares.

    Args:
        data: the module; a mapped file is read in place and must stay as it is while the info is used.

    Raises:
        InvalidModule: the bytes are not a well-formed core module; ``offset`` says where.
    """
    source = bytes(data) if isinstance(data, bytearray) else data
    info = ModuleInfo(source, len(source))
    with memoryview(source) as view:
        _Reader(view, info).run()
    return info


def read_file(path: Path) -> ModuleInfo:
    """Read what a module in a file declares; the bodies of a large one are left where they are.

    Args:
        path: the file.

    Raises:
        InvalidModule: as :func:`read`.
        OSError: it cannot be opened or read.
    """
    status = path.stat()
    if status.st_size < LARGE or not stat.S_ISREG(status.st_mode):
        return read(read_whole(path))
    file = ModuleFile(path)
    info = read(file.outline())
    info.file = file
    return info


class _Reader:
    """Fills a :class:`ModuleInfo`, section by section."""

    def __init__(self, view: memoryview, info: ModuleInfo) -> None:
        self.view, self.info = view, info
        self.types: list[FunctionType | None] = []
        self.own_functions = 0
        self.code_count = 0
        self.announced_data: int | None = None
        self.readers: dict[int, Callable[[Cursor], None]] = {
            1: self.type_section, 2: self.import_section, 3: self.function_section, 4: self.table_section,
            5: self.memory_section, 6: self.global_section, 7: self.export_section, 8: self.start_section,
            12: self.data_count_section, 13: self.tag_section,
        }  # fmt: skip

    def run(self) -> None:
        _check_header(bytes(self.view[:8]))
        frame = Cursor(self.view)
        frame.position = 8
        rank = -1
        while frame.position < frame.end:
            offset = frame.offset
            number = frame.byte()
            size = frame.unsigned()
            start = frame.offset
            if size > frame.end - frame.position:
                frame.fail(
                    f"section of {size} bytes reaches past the end of the module",
                    offset,
                )
            frame.position += size
            if number == 0:
                name = self.custom_section(start, size)
            elif number not in SECTIONS:
                frame.fail(f"unknown section {number}", offset)
            else:
                name = SECTIONS[number]
                if ORDER[number] <= rank:
                    frame.fail(f"the {name} section is repeated or out of order", offset)
                rank = ORDER[number]
                self.known_section(number, start, size)
            if len(self.info.sections) >= MOST_SECTIONS:
                frame.fail(f"more than {MOST_SECTIONS} sections", offset)
            self.info.sections.append(Section(number, name, offset, start, size))
        self.check_counts()

    def known_section(self, number: int, start: int, size: int) -> None:
        if number in self.readers:
            cursor = Cursor(bytes(self.view[start : start + size]), start)
            self.readers[number](cursor)
            cursor.done(SECTIONS[number])
            return
        # Bodies are left to the engine; only the number of items is read.
        cursor = Cursor(self.view[start : start + size], start)
        count = cursor.count(f"items of the {SECTIONS[number]} section")
        if number == 9:
            self.info.element_count = count
        elif number == 10:
            self.info.code_size, self.code_count = size, count
        else:
            self.info.data_count = count

    def check_counts(self) -> None:
        end = len(self.view)
        if self.code_count != self.own_functions:
            message = f"{self.own_functions} functions are declared, but {self.code_count} have a body"
            raise InvalidModule(message, offset=end)
        if self.announced_data is not None and self.announced_data != self.info.data_count:
            message = f"{self.announced_data} data segments are announced, {self.info.data_count} are there"
            raise InvalidModule(message, offset=end)

    def signature(self, cursor: Cursor) -> FunctionType:
        start = cursor.offset
        index = cursor.unsigned()
        found = self.types[index] if index < len(self.types) else None
        return found or cursor.fail(f"type {index} is not a function type", start)

    def type_section(self, cursor: Cursor) -> None:
        for _ in range(cursor.count("types")):
            self.types += cursor.recursive_group()

    def import_section(self, cursor: Cursor) -> None:
        for _ in range(cursor.count("imports")):
            module, name = cursor.name(), cursor.name()
            kind, item = self.extern(cursor)
            self.info.imports.append(Import(module, name, kind, item))
            self.info.items(kind).append(item)

    def extern(self, cursor: Cursor) -> tuple[str, ExternType]:
        start = cursor.offset
        match cursor.byte():
            case 0:
                return "function", self.signature(cursor)
            case 1:
                return "table", cursor.table_type()
            case 2:
                return "memory", cursor.memory_type()
            case 3:
                return "global", cursor.global_type()
            case 4:
                return "tag", self.tag(cursor)
            case byte:
                cursor.fail(f"unknown kind of import {byte:#04x}", start)

    def tag(self, cursor: Cursor) -> FunctionType:
        start = cursor.offset
        if cursor.byte() != 0:
            cursor.fail("unknown kind of tag", start)
        found = self.signature(cursor)
        if found.results:
            cursor.fail("the type of a tag has results", start)
        return found

    def function_section(self, cursor: Cursor) -> None:
        self.own_functions = cursor.count("functions")
        self.info.functions += [self.signature(cursor) for _ in range(self.own_functions)]

    def table_section(self, cursor: Cursor) -> None:
        for _ in range(cursor.count("tables")):
            explicit = cursor.position < cursor.end and cursor.data[cursor.position] == 0x40
            if explicit:  # a table with an initial value (core specification 5.5.7)
                cursor.position += 1
                if cursor.byte() != 0:
                    cursor.fail("unknown kind of table", cursor.offset - 1)
            self.info.tables.append(cursor.table_type())
            if explicit:
                cursor.skip_constant()

    def memory_section(self, cursor: Cursor) -> None:
        self.info.memories += [cursor.memory_type() for _ in range(cursor.count("memories"))]

    def tag_section(self, cursor: Cursor) -> None:
        self.info.tags += [self.tag(cursor) for _ in range(cursor.count("tags"))]

    def global_section(self, cursor: Cursor) -> None:
        for _ in range(cursor.count("globals")):
            self.info.globals.append(cursor.global_type())
            cursor.skip_constant()

    def export_section(self, cursor: Cursor) -> None:
        for _ in range(cursor.count("exports")):
            start = cursor.offset
            name = cursor.name()
            if name in self.info.exports:
                cursor.fail(f"export {name!r} is repeated", start)
            where = cursor.offset
            byte = cursor.byte()
            if byte >= len(KINDS):
                cursor.fail(f"unknown kind of export {byte:#04x}", where)
            kind = KINDS[byte]
            where = cursor.offset
            index = cursor.unsigned()
            space = self.info.items(kind)
            if index >= len(space):
                cursor.fail(
                    f"export {name!r} names {kind} {index}, but there are {len(space)}",
                    where,
                )
            self.info.exports[name] = Export(name, kind, index, space[index])

    def start_section(self, cursor: Cursor) -> None:
        where = cursor.offset
        index = cursor.unsigned()
        if index >= len(self.info.functions) or self.info.functions[index] != FunctionType("", ""):
            cursor.fail(f"start function {index} is not a function of type () -> ()", where)
        self.info.start = index

    def data_count_section(self, cursor: Cursor) -> None:
        self.announced_data = cursor.unsigned()

    def custom_section(self, start: int, size: int) -> str:
        cursor = Cursor(self.view[start : start + size], start)
        name = cursor.name()
        self.info.custom.setdefault(name, []).append((cursor.offset, size - cursor.position))
        if name == "name" and self.info.name is None:
            try:  # a broken name section is no reason to refuse the module (core specification, A.4)
                if cursor.byte() == 0:
                    cursor.unsigned()
                    self.info.name = cursor.name()
            except InvalidModule:
                pass
        return name


def _check_header(header: bytes) -> None:
    if header[:4] != MAGIC:
        if header.lstrip().startswith(b"(modul") or header.lstrip().startswith(b";;"):
            raise InvalidModule("this is the text format; translate it with wat2wasm first", offset=0)
        raise InvalidModule("it does not begin with the bytes 00 61 73 6d", offset=0)
    if len(header) < 8:
        raise InvalidModule("unexpected end", offset=len(header))
    if header[4:] != b"\1\0\0\0":
        if header[6:] == b"\1\0":
            message = (
                "this is a component; Guesthouse runs core modules, so build for a core target such as"
                " wasm32-wasip1, or extract the core module (wasm-tools component unbundle)"
            )
            raise InvalidModule(message, offset=4)
        raise InvalidModule(f"version {int.from_bytes(header[4:], 'little')} is not 1", offset=4)
