"""The libraries that one instance has loaded: symbols, global offset tables, the shared function table.

Names are looked up among the host functions, then the program's exports, then the libraries in the order of
loading (faasm.md 3.4).  What is not known yet gets an element of the table, or an entry in the offset table,
that is filled when a library brings it, so that two libraries can need one another.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guesthouse.engine import HostFunction, Instance, Module, Trapping
from guesthouse.engine.linking import (
    Companion,
    Item,
    compile_beside,
    export_of,
    get_global,
    grow_table,
    host_functions,
    link,
    new_global,
    run,
    set_global,
    set_table,
)
from guesthouse.errors import InvalidModule, LoadError
from guesthouse.interfaces.faasm import trampolines
from guesthouse.interfaces.faasm.dylink import shape_of
from guesthouse.interfaces.faasm.files import FileView
from guesthouse.interfaces.faasm.space import reserve

#: Handle of the program itself; those of libraries count up from the other.
MAIN, FIRST = 999, 2
#: Bounds of what one call may load.
MOST_LIBRARIES, MOST_BYTES = 64, 64 << 20
#: Where libraries are looked for that another one needs, besides beside it.
LIBRARY_PATH = "/lib"

_TABLE, _STACK = "__indirect_function_table", "__stack_pointer"
_OWN_STACK = 2 << 20

#: Host functions by name and type; a name has a row per type.
Rows = Mapping[str, Sequence[HostFunction]]


@dataclass(frozen=True, slots=True)
class Library:
    """A library that was loaded: where its data lies, and what it exports."""

    path: str
    companion: Companion
    module: Module
    memory_base: int


class Libraries:
    """What one instance has loaded.

    Args:
        instance: the running instance.
        files: where libraries are found.
        rows: the host functions that the guest was granted.

    Raises:
        LoadError: the program does not export what its libraries have to share with it.
    """

    def __init__(self, instance: Instance, files: FileView, rows: Rows) -> None:
        self._instance, self._files, self._rows = instance, files, rows
        self._table = self._needed(_TABLE, "-Wl,--export-table -Wl,--growable-table")
        self._memory = self._needed("memory", "an exported memory")
        self._stack = export_of(instance, _STACK)
        self.loaded: list[Library] = []
        self._handles: dict[str, int] = {}
        self._pointers: dict[str, int] = {}
        self._slots: dict[str, int] = {}
        self._absent: dict[str, list[Item]] = {}

    def _needed(self, name: str, how: str) -> Item:
        item = export_of(self._instance, name)
        if item is None:
            raise LoadError(f"the program does not export {name!r}; link it with {how}")
        return item

    # -- loading

    def open(self, path: str) -> int:
        """Load a library, unless it is loaded, and return its handle.

        Raises:
            LoadError: there is no such file, it is no library, or something that it needs is missing.
            CallError: its constructors failed.
        """
        path = posixpath.normpath("/" + path.lstrip("/"))
        if path not in self._handles:
            if len(self._handles) >= MOST_LIBRARIES:
                raise LoadError(f"{path}: {MOST_LIBRARIES} libraries are loaded already")
            self._handles[path] = FIRST + len(self._handles)
            try:
                self._load(path)
            except BaseException:
                # Numbers of libraries that came with it stay; this one can be tried again.
                del self._handles[path]
                raise
        return self._handles[path]

    def _load(self, path: str) -> None:
        wasm = self._files.read(path.encode(), MOST_BYTES)
        if wasm is None:
            raise LoadError(f"{path}: there is no such library")
        try:
            module = compile_beside(self._instance, wasm)
            shape = shape_of(module.info)
            for kind in ("memory", "table"):
                if len(module.info.items(kind)) > module.info.imported(kind):
                    raise LoadError(f"it has a {kind} of its own, which a library has not")
            for name in shape.needed:
                self._open_needed(path, name)
            base = reserve(self._instance, max(shape.memory, 1))
            table_base = grow_table(self._table, shape.table) if shape.table else 0
            offsets: list[tuple[str, str, Item]] = []
            imports = self._imports(module, base, table_base, offsets)
            library = Library(path, link(self._instance, module, imports), module, base)
        except (LoadError, InvalidModule) as error:
            raise LoadError(f"{path}: {error}") from error
        self.loaded.append(library)
        self._settle(library)
        for kind, name, item in offsets:
            self._fill(kind, name, item)
        for name in ("__wasm_apply_data_relocs", "__wasm_call_ctors"):
            function = library.companion.export(name)
            if function is not None and function.kind == "function":
                try:
                    run(function)
                except TypeError as error:
                    raise LoadError(f"{path}: {name}: {error}") from None

    def _open_needed(self, path: str, name: str) -> None:
        beside = posixpath.join(posixpath.dirname(path), name)
        there = self._files.read(beside.encode(), MOST_BYTES) is not None
        self.open(beside if there else posixpath.join(LIBRARY_PATH, name))

    def _imports(
        self, module: Module, base: int, table_base: int, offsets: list[tuple[str, str, Item]]
    ) -> dict[tuple[str, str], Item]:
        """Find an item for each import; entries of the offset table are made here and filled later."""
        instance, found = self._instance, dict[tuple[str, str], Item]()
        bases = {"__memory_base": base, "__table_base": table_base}
        wanted: list[HostFunction] = []
        absent: list[tuple[str, str, str, str]] = []
        for item in module.info.imports:
            key = (item.module, item.name)
            if item.kind == "memory":
                found[key] = self._memory
            elif item.kind == "table":
                found[key] = self._table
            elif item.kind == "global" and item.module in ("GOT.mem", "GOT.func"):
                found[key] = new_global(instance, 0, True)
                offsets.append((item.module, item.name, found[key]))
            elif item.kind == "global":
                found[key] = self._base(item.name, bases)
            elif item.kind != "function":
                raise LoadError(f"it imports the {item.kind} {item.module}.{item.name}")
            elif row := self._row(item.name, item.params, item.results, item.module):
                wanted.append(row)
            elif (function := self._exported(item.name)) is not None:
                found[key] = function
            else:
                absent.append((item.module, item.name, item.params, item.results))
        self._forward(wanted, found)
        self._stand_in(absent, found)
        return found

    def _base(self, name: str, bases: Mapping[str, int]) -> Item:
        if name in bases:
            return new_global(self._instance, bases[name], False)
        if name == _STACK:
            if self._stack is None:
                top = reserve(self._instance, _OWN_STACK) + _OWN_STACK
                self._stack = new_global(self._instance, top - 16, True)
            return self._stack
        item = export_of(self._instance, name)
        if item is None or item.kind != "global":
            raise LoadError(f"it imports the global env.{name}, which the program does not export")
        return item

    def _row(self, name: str, params: str, results: str, module: str) -> HostFunction | None:
        return next(
            (
                row
                for row in self._rows.get(name, ())
                if (row.params, row.results, row.module) == (params, results, module)
            ),
            None,
        )

    def _forward(self, rows: Sequence[HostFunction], found: dict[tuple[str, str], Item]) -> None:
        if rows:
            for row, item in zip(rows, self._host_items(rows), strict=True):
                found[row.module, row.name] = item

    def _host_items(self, rows: Sequence[HostFunction]) -> list[Item]:
        module = compile_beside(self._instance, trampolines.forward(rows))
        template = module.link({(row.module, row.name): row for row in rows}, counted=False)
        companion = host_functions(self._instance, template)
        return [_certain(companion.export(str(number))) for number in range(len(rows))]

    def _stand_in(
        self, absent: Sequence[tuple[str, str, str, str]], found: dict[tuple[str, str], Item]
    ) -> None:
        """Let functions that nobody has yet go through the table."""
        if not absent:
            return
        odd = [name for _, name, params, results in absent if set(params + results) - set("iIfF")]
        if odd:
            raise LoadError(f"nobody offers {', '.join(odd)}")
        module = compile_beside(self._instance, trampolines.indirect([(each[2], each[3]) for each in absent]))
        new = {each[1]: each for each in absent if each[1] not in self._slots}
        items = {trampolines.TABLE: self._table}
        for number, (_, name, _, _) in enumerate(absent):
            items["env", str(number)] = new_global(self._instance, self._slot(name), False)
        refusals = self._host_items([_missing(*each[1:]) for each in new.values()])
        for name, refusal in zip(new, refusals, strict=True):
            set_table(self._table, self._slots[name], refusal)
        companion = link(self._instance, module, items)
        for number, (space, name, _, _) in enumerate(absent):
            found[space, name] = _certain(companion.export(str(number)))

    # -- symbols

    def _exported(self, name: str) -> Item | None:
        """Return a function of the program or of a library."""
        item = export_of(self._instance, name)
        if item is not None and item.kind == "function":
            return item
        for library in self.loaded:
            item = library.companion.export(name)
            if item is not None and item.kind == "function":
                return item
        return None

    def _address(self, name: str) -> int | None:
        """Return where a data symbol lies."""
        item = export_of(self._instance, name)
        if item is not None and item.kind == "global":
            return get_global(item)
        for library in self.loaded:
            found = _data(library, name)
            if found is not None:
                return found
        return None

    def _pointer(self, name: str, item: Item, owner: str = "") -> int:
        """Return the table index of a function, which is what a C function pointer is."""
        key = f"{owner}\0{name}"
        if key not in self._pointers:
            self._pointers[key] = grow_table(self._table, 1, item)
        return self._pointers[key]

    def _slot(self, name: str) -> int:
        if name not in self._slots:
            self._slots[name] = grow_table(self._table, 1)
        return self._slots[name]

    def _fill(self, kind: str, name: str, entry: Item) -> None:
        """Fill one entry of an offset table, or note that it waits."""
        if kind == "GOT.mem":
            address = self._address(name)
            if address is None:
                self._absent.setdefault(name, []).append(entry)
            else:
                set_global(entry, address)
        else:
            set_global(entry, self._function_pointer(name) or self._slot(name))

    def _settle(self, library: Library) -> None:
        """Give those who wait what a new library brings."""
        for name, slot in self._slots.items():
            item = library.companion.export(name)
            if item is not None and item.kind == "function":
                set_table(self._table, slot, item)
        for name in [name for name in self._absent if _data(library, name) is not None]:
            for entry in self._absent.pop(name):
                set_global(entry, _data(library, name) or 0)

    def _function_pointer(self, name: str) -> int | None:
        rows = self._rows.get(name)
        if rows:
            key = f"\0{name}"
            return self._pointers.get(key) or self._pointer(name, self._host_items(rows[:1])[0])
        item = self._exported(name)
        return None if item is None else self._pointer(name, item)

    def symbol(self, handle: int, name: str) -> int:
        """Return a function pointer or a data address.

        Raises:
            LoadError: there is no such handle, or no such symbol in it.
        """
        if handle == MAIN:
            found = self._function_pointer(name)
            if found is None:
                found = self._address(name)
        else:
            path = next((path for path, number in self._handles.items() if number == handle), None)
            library = next((each for each in self.loaded if each.path == path), None)
            if library is None:
                raise LoadError(f"there is no library with the handle {handle}")
            item = library.companion.export(name)
            if item is not None and item.kind == "function":
                found = self._pointer(name, item, library.path)
            else:
                found = _data(library, name)
        if found is None:
            raise LoadError(f"undefined symbol: {name}")
        return found

    def knows(self, handle: int) -> bool:
        """Say whether a handle stands for something."""
        return handle == MAIN or handle in self._handles.values()


def _missing(name: str, params: str, results: str) -> HostFunction:
    """Return what stands in for a function until a library brings it."""
    why = f"a library needs {name[:100]}, which "
    if name.startswith("__faasm_"):
        why += "is none of the host's, or was not granted; `guesthouse imports` names its capability"
    else:
        why += "nobody has; export it from the program (-Wl,--export=…), or load the library that it is in"
    return HostFunction("", "env", name, params, results, Trapping(why), "Nobody has it.")


def _data(library: Library, name: str) -> int | None:
    item = library.companion.export(name)
    if item is None or item.kind != "global":
        return None
    return (library.memory_base + get_global(item)) & 0xFFFFFFFF


def _certain(item: Item | None) -> Item:
    assert item is not None
    return item
