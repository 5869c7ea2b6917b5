"""The same module with more of it exported, or with functions that run only once, or do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guesthouse.engine.binary import Cursor
from guesthouse.engine.modules import ORDER, ModuleInfo
from guesthouse.engine.segments import constant, section, unsigned

FUNCTION_SECTION, GLOBAL_SECTION, EXPORT_SECTION, CODE_SECTION = 3, 6, 7, 10
_KINDS = {"function": 0, "table": 1, "memory": 2, "global": 3, "tag": 4}


def export(name: str, kind: str, index: int) -> bytes:
    """Return an encoded export."""
    raw = name.encode()
    return unsigned(len(raw)) + raw + bytes([_KINDS[kind]]) + unsigned(index)


def content(wasm: bytes, info: ModuleInfo, number: int) -> bytes:
    """Return the content of a section, empty when there is none."""
    for each in info.sections:
        if each.id == number:
            return bytes(wasm[each.start : each.start + each.size])
    return b""


def assemble(wasm: bytes, info: ModuleInfo, new: Mapping[int, bytes | None]) -> bytes:
    """Return the module with sections replaced, left out (``None``) or put in where they belong."""
    out = [bytes(wasm[:8])]
    waiting = {number: body for number, body in new.items() if body}
    for each in info.sections:
        if each.id and each.id in ORDER:
            early = sorted((n for n in waiting if ORDER[n] < ORDER[each.id]), key=ORDER.__getitem__)
            out += [section(number, waiting.pop(number)) for number in early]
        if each.id in waiting:
            out.append(section(each.id, waiting.pop(each.id)))
        elif each.id == 0 or each.id not in new:
            out.append(bytes(wasm[each.offset : each.start + each.size]))
    out += [section(number, waiting[number]) for number in sorted(waiting, key=ORDER.__getitem__)]
    return b"".join(out)


def with_exports(wasm: bytes, info: ModuleInfo, added: Iterable[tuple[str, str, int]]) -> bytes:
    """Return the module with further exports.

    Args:
        wasm: the module.
        info: what it declares.
        added: name, kind and index of each; no name may be exported already.
    """
    items = [export(*each) for each in added]
    old = content(wasm, info, EXPORT_SECTION)
    cursor = Cursor(old or b"\0")
    count = cursor.unsigned()
    body = unsigned(count + len(items)) + old[cursor.position :] + b"".join(items)
    return assemble(wasm, info, {EXPORT_SECTION: body})


def run_once(wasm: bytes, info: ModuleInfo, index: int) -> bytes:
    """Return the module with a function that does nothing when it is called again.

    Args:
        wasm: the module.
        info: what it declares.
        index: a function that the module defines itself, without parameters and results.
    """
    globals_ = content(wasm, info, GLOBAL_SECTION)
    cursor = Cursor(globals_ or b"\0")
    count = cursor.unsigned()
    flag = b"\x7f\x01\x41\x00\x0b"  # (mut i32) (i32.const 0)
    with_flag = unsigned(count + 1) + globals_[cursor.position :] + flag
    number = unsigned(len(info.globals))
    # if the flag is set, return; set it
    guard = b"\x23" + number + b"\x04\x40\x0f\x0b\x41\x01\x24" + number
    code = content(wasm, info, CODE_SECTION)
    cursor = Cursor(code)
    bodies = cursor.unsigned()
    start = cursor.position
    for _ in range(index - info.imported("function")):
        cursor.take(cursor.unsigned(), "function")
    before = cursor.position
    body = Cursor(cursor.take(cursor.unsigned(), "function"))
    for _ in range(body.count("locals")):
        body.unsigned()
        body.value_type()
    guarded = bytes(body.data[: body.position]) + guard + bytes(body.data[body.position :])
    new = unsigned(bodies) + code[start:before] + unsigned(len(guarded)) + guarded + code[cursor.position :]
    return assemble(wasm, info, {GLOBAL_SECTION: with_flag, CODE_SECTION: new})


def idle(wasm: bytes, info: ModuleInfo, names: Iterable[str]) -> tuple[dict[int, bytes], dict[str, int]]:
    """Make functions that do nothing and answer zeros, of the types of some exports.

    Args:
        wasm: the module.
        info: what it declares.
        names: exported functions that the module defines itself.

    Returns:
        The sections that change, and the new functions' indices by name.
    """
    functions, code = content(wasm, info, FUNCTION_SECTION), content(wasm, info, CODE_SECTION)
    cursor = Cursor(functions)
    types = [cursor.unsigned() for _ in range(cursor.count("functions"))]
    bodies, indices = list[bytes](), dict[str, int]()
    for name in names:
        item = info.exports[name]
        indices[name] = len(info.functions) + len(bodies)
        types.append(types[item.index - info.imported("function")])
        zeros = [constant(letter, bytes(8))[:-1] for letter in item.results]
        body = b"\0" + b"".join(zeros) + b"\x0b"
        bodies.append(unsigned(len(body)) + body)
    cursor = Cursor(code)
    count = cursor.unsigned() + len(bodies)
    return {
        FUNCTION_SECTION: unsigned(len(types)) + b"".join(map(unsigned, types)),
        CODE_SECTION: unsigned(count) + code[cursor.position :] + b"".join(bodies),
    }, indices
