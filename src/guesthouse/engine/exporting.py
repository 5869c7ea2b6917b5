"""The same module with more of it exported: what a host has to reach although nobody exported it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guesthouse.engine.binary import Cursor
from guesthouse.engine.modules import ORDER, ModuleInfo
from guesthouse.engine.segments import section, unsigned

EXPORT_SECTION = 7
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
