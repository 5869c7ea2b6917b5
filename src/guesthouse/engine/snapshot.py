"""Freezing an initialised instance into a new module (DESIGN section 3 item 7).

Three steps, of which the caller does the middle one::

    wide = instrument(wasm, info)          # the same module, with everything that changes exported
    …                                      # compile, link, instantiate, run the initialisers
    frozen = freeze(wasm, info, instance)  # the original module, as it is now

The new module has the memories' bytes as data segments (pages of zeros are left out), the mutable
globals' values as initialisers, the tables' functions as element segments, and no start function.  Its
instances begin where the frozen one stood, at the price of a plain start, and it is an ordinary module:
it can be kept as a file and taken elsewhere.

A custom section says what it was made from, and what whoever made it wants to know when it is loaded.
What passive segments the initialisers dropped can not be seen from outside; they are there again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from guesthouse.engine.binary import Cursor, GlobalType
from guesthouse.engine.core import Instance
from guesthouse.engine.exporting import assemble, content, export, idle, with_exports
from guesthouse.engine.items import function_address, global_value, memory_view, table_addresses
from guesthouse.engine.modules import ModuleInfo
from guesthouse.engine.segments import (
    active_data,
    active_elements,
    constant,
    image_runs,
    section,
    settle_data,
    settle_elements,
    unsigned,
    vector,
)
from guesthouse.errors import LoadError

#: Custom section that marks a module as frozen; its content says from which module.
MARK = "guesthouse.snapshot"
#: Most data segments of one memory; engines refuse modules with more than 100 000 altogether.
MOST_RUNS = 10_000

_TABLE, _MEMORY, _GLOBAL, _EXPORT, _START, _ELEMENT, _DATA, _DATA_COUNT = 4, 5, 6, 7, 8, 9, 11, 12


class SnapshotRefused(LoadError):
    """A guest cannot be frozen; the message says why.

    Attributes:
        reason: why, in words.
    """

    def __init__(self, reason: str, *, guest: str | None = None) -> None:
        self.reason = reason
        super().__init__(f"it cannot be frozen: {reason}", guest=guest)


class Unsafe(SnapshotRefused):
    """A guest should not be frozen beyond its constructors; so far it can be."""


def refusal(info: ModuleInfo) -> str | None:
    """Say why instances of a module can never be frozen, or ``None``."""
    for item in info.imports:
        if item.kind != "function":
            return f"it imports the {item.kind} {item.module}.{item.name}, which others may change as well"
    if any(memory.shared for memory in info.memories):
        return "its memory is shared with other threads"
    odd = [kind.type for kind in info.globals if kind.mutable and kind.type not in "iIfFVr"]
    if odd:
        return "it has a mutable global that holds a reference into the host or the collected heap"
    if any(table.element != "r" for table in info.tables):
        return "it has a table of something else than functions"
    if MARK in info.custom:
        return "it is a snapshot already"
    return None


def instrument(wasm: bytes, info: ModuleInfo) -> bytes:
    """Return the module with its memories, tables, mutable globals and named functions exported.

    Args:
        wasm: the module.
        info: what :func:`guesthouse.engine.modules.read` says about it.

    Raises:
        SnapshotRefused: its instances can never be frozen.
    """
    reason = refusal(info)
    if reason is not None:
        raise SnapshotRefused(reason)
    added = [("memory", i) for i in range(len(info.memories))]
    added += [("table", i) for i in range(len(info.tables))]
    added += [("global", i) for i, kind in enumerate(info.globals) if kind.mutable]
    added += [("function", i) for i in sorted(_named_functions(wasm, info))]
    return with_exports(wasm, info, [(_label(kind, index), kind, index) for kind, index in added])


def freeze(
    wasm: bytes,
    info: ModuleInfo,
    instance: Instance,
    without: Collection[str] = (),
    *,
    settled: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
    note: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a module whose instances begin as an instance stands now.

    Args:
        wasm: the original module, before :func:`instrument`.
        info: what it declares.
        instance: an instance of the instrumented module; it is not running.
        without: exports that it is not to have: what has run and must not run again.
        settled: exports that have run, and that must be there: they do nothing and answer 0.
        renamed: exports that take the name, and the place, of others.
        note: told by :func:`mark` when the module is read again; plain JSON.

    Raises:
        SnapshotRefused: a table or global holds what is not of this module.
    """
    reason = refusal(info)
    foreign = [name for name in settled if info.exports[name].index < info.imported("function")]
    if foreign:
        reason = f"its export {foreign[0]} is an import"
    if reason is not None:
        raise SnapshotRefused(reason)
    functions = {function_address(instance, _label("function", i)): i for i in _named_functions(wasm, info)}
    functions |= {
        function_address(instance, name): item.index
        for name, item in info.exports.items()
        if item.kind == "function"
    }
    tables = []
    for i in range(len(info.tables)):
        addresses = table_addresses(instance, _label("table", i))
        tables.append([_function(address, functions, f"table {i}") for address in addresses])
    images, sizes = _images(info, instance)
    new = {
        _TABLE: _table_section(wasm, info, [len(table) for table in tables]),
        _MEMORY: _memory_section(wasm, info, sizes),
        _GLOBAL: _global_section(wasm, info, instance, functions),
        _START: None,
        _ELEMENT: _element_section(wasm, info, tables),
    }
    # Code can only name data segments where they are counted before it.
    named = any(each.id == _DATA_COUNT for each in info.sections) and info.data_count
    wide = bool(info.memories) and info.memories[0].is64
    old = settle_data(content(wasm, info, _DATA), wide) if named else []
    new[_DATA] = vector(old + images) if old or images else None
    if any(each.id == _DATA_COUNT for each in info.sections):
        new[_DATA_COUNT] = unsigned(len(old) + len(images))
    changed, indices = idle(wasm, info, settled) if settled else ({}, {})
    new |= {**changed, _EXPORT: _export_section(info, without, indices, renamed or {})}
    text = json.dumps({**(note or {}), "of": info.sha256}).encode()
    name = MARK.encode()
    return assemble(wasm, info, new) + section(0, unsigned(len(name)) + name + text)


def is_snapshot(info: ModuleInfo) -> bool:
    """Say whether a module was made by :func:`freeze`."""
    return MARK in info.custom


def mark(info: ModuleInfo) -> Mapping[str, Any]:
    """Return what a frozen module tells of itself: ``of``, the original's digest, and the note of its maker.

    Anybody can write such a section, and nothing may be trusted for it; empty where it cannot be read.
    """
    for start, size in info.custom.get(MARK, ()):
        try:
            found = json.loads(bytes(info.data[start : start + size]))
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _label(kind: str, index: int) -> str:
    return f"{MARK}:{kind}:{index}"


def _export_section(
    info: ModuleInfo, without: Collection[str], replaced: Mapping[str, int], renamed: Mapping[str, str]
) -> bytes:
    gone = {*without, *renamed.values()}
    kept = [item for item in info.exports.values() if item.name not in gone]
    items = [
        export(renamed.get(item.name, item.name), item.kind, replaced.get(item.name, item.index))
        for item in kept
    ]
    return vector(items) if info.exports else b""


def _named_functions(wasm: bytes, info: ModuleInfo) -> set[int]:
    """Return every function that can get into a table or global: all that segments and globals name."""
    named = settle_elements(content(wasm, info, _ELEMENT))[1] if info.element_count else set[int]()
    for expression in _initialisers(wasm, info):
        if expression[0] == 0xD2:
            named.add(Cursor(expression[1:]).unsigned())
    return named


def _initialisers(wasm: bytes, info: ModuleInfo) -> list[bytes]:
    """Return the initial expressions of the globals."""
    body = content(wasm, info, _GLOBAL)
    if not body:
        return []
    cursor, found = Cursor(body), []
    for _ in range(cursor.count("globals")):
        cursor.global_type()
        start = cursor.position
        cursor.skip_constant()
        found.append(body[start : cursor.position])
    return found


def _function(address: int, functions: dict[int, int], where: str) -> int | None:
    if address == 0:
        return None
    if address not in functions:
        raise SnapshotRefused(f"{where} holds a function that is not of this module")
    return functions[address]


def _images(info: ModuleInfo, instance: Instance) -> tuple[list[bytes], list[int]]:
    """Return the data segments of all memories, and the sizes of these in pages."""
    segments, sizes = [], []
    for index, kind in enumerate(info.memories):
        with memory_view(instance, _label("memory", index)) as memory:
            sizes.append(len(memory) // kind.page_size)
            for start, end in image_runs(memory, MOST_RUNS):
                segments.append(active_data(index, start, memory[start:end], kind.is64))
    return segments, sizes


def _resized(
    wasm: bytes, info: ModuleInfo, number: int, sizes: list[int], skip: Callable[[Cursor], object]
) -> bytes:
    """Return a memory or table section with new minimum sizes; ``skip`` reads what precedes the limits."""
    body = content(wasm, info, number)
    cursor, out = Cursor(body), []
    for size in sizes[: cursor.count("items")] if body else ():
        begin = cursor.position
        skip(cursor)
        flags = cursor.byte()
        out.append(body[begin : cursor.position] + unsigned(size))
        cursor.unsigned(64)
        begin = cursor.position
        if flags & 1:
            cursor.unsigned(64)
        if flags & 8:
            cursor.unsigned()
        out[-1] += body[begin : cursor.position]
    return vector(out) if body else b""


def _memory_section(wasm: bytes, info: ModuleInfo, sizes: list[int]) -> bytes:
    return _resized(wasm, info, _MEMORY, sizes, lambda _: None)


def _table_section(wasm: bytes, info: ModuleInfo, sizes: list[int]) -> bytes:
    def skip(cursor: Cursor) -> None:
        if cursor.data[cursor.position] == 0x40:
            raise SnapshotRefused("it has a table with an initial value")
        cursor.reference_type()

    return _resized(wasm, info, _TABLE, sizes, skip)


def _global_section(wasm: bytes, info: ModuleInfo, instance: Instance, functions: dict[int, int]) -> bytes:
    body = content(wasm, info, _GLOBAL)
    if not body:
        return b""
    cursor, out = Cursor(body), []
    for index in range(cursor.count("globals")):
        begin = cursor.position
        kind = cursor.global_type()
        head = body[begin : cursor.position]
        begin = cursor.position
        cursor.skip_constant()
        tail = body[begin : cursor.position]
        if kind.mutable:
            tail = _initialiser(index, kind, global_value(instance, _label("global", index)), functions)
        out.append(head + tail)
    return vector(out)


def _initialiser(index: int, kind: GlobalType, value: bytes | int, functions: dict[int, int]) -> bytes:
    if isinstance(value, bytes):
        return constant(kind.type, value)
    function = _function(value, functions, f"global {index}")
    return b"\xd0\x70\x0b" if function is None else b"\xd2" + unsigned(function) + b"\x0b"


def _element_section(wasm: bytes, info: ModuleInfo, tables: list[list[int | None]]) -> bytes | None:
    segments = settle_elements(content(wasm, info, _ELEMENT))[0] if info.element_count else []
    for index, table in enumerate(tables):
        start = 0
        while start < len(table):
            run: list[int] = []
            while start + len(run) < len(table) and (function := table[start + len(run)]) is not None:
                run.append(function)
            if run:
                segments.append(active_elements(index, start, run, info.tables[index].is64))
            start += len(run) + 1
    return vector(segments) if segments else None
