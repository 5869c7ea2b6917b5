"""``ffi_call``: libffi's way to call a function pointer, which CPython's ctypes uses (faasm.md 2.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from guesthouse.calls import Call
from guesthouse.engine import Constant, HostFunction, Instance
from guesthouse.engine.tables import invoke_at, signature_at
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.rows import row

#: By libffi's type numbers: how a value lies in memory, and the letter of its wasm type.
_VALUES = {
    1: ("<i", "i"), 2: ("<f", "f"), 3: ("<d", "F"), 5: ("<B", "i"), 6: ("<b", "i"), 7: ("<H", "i"),
    8: ("<h", "i"), 9: ("<I", "i"), 10: ("<i", "i"), 11: ("<Q", "I"), 12: ("<q", "I"), 14: ("<I", "i"),
}  # fmt: skip
_VOID = 0

#: Most parameters of a function that is called this way.
_MOST_PARAMETERS = 24


def ffi_call(call: Call, description: int, function: int, result: int, arguments: int) -> None:
    """Call a table function with arguments that lie in memory, as an ``ffi_cif`` describes them."""
    instance = call.instance
    _, count, types, result_type = struct.unpack("<4I", instance.read(description, 16))
    if count > _MOST_PARAMETERS:
        raise _refusal(call, f"{count} parameters, {_MOST_PARAMETERS} can be passed")
    kinds = [_kind(instance, each) for each in _words(instance, types, count)]
    gives = _kind(instance, result_type)
    for kind in (*kinds, *([] if gives == _VOID else [gives])):
        if kind not in _VALUES:
            raise _refusal(call, f"libffi's type {kind} cannot be passed")
    wanted = "".join(_VALUES[kind][1] for kind in kinds), "" if gives == _VOID else _VALUES[gives][1]
    found = signature_at(instance, function)
    if found != wanted:
        raise _refusal(call, f"function {function} of the table is {found}, described as {wanted}")
    places = _words(instance, arguments, count)
    values = [_value(instance, place, kind) for place, kind in zip(places, kinds, strict=True)]
    answer = invoke_at(instance, function, *values)
    if gives != _VOID:
        instance.write(result, _packed(answer, wanted[1]))


def _words(instance: Instance, start: int, count: int) -> Sequence[int]:
    return struct.unpack(f"<{count}I", instance.read(start, 4 * count))


def _kind(instance: Instance, type_: int) -> int:
    """Return the number of an ``ffi_type``, which lies behind its size and alignment."""
    number: int = struct.unpack("<H", instance.read(type_ + 6, 2))[0]
    return number


def _value(instance: Instance, place: int, kind: int) -> Any:
    form = _VALUES[kind][0]
    return struct.unpack(form, instance.read(place, struct.calcsize(form)))[0]


def _packed(value: Any, letter: str) -> bytes:
    """Return a result as libffi leaves it: a whole number fills at least a word."""
    form = {"i": "<I", "I": "<Q", "f": "<f", "F": "<d"}[letter]
    return struct.pack(form, value)


def _refusal(call: Call, why: str) -> Trap:
    return Trap(f"ffi_call: {why}", guest=call.guest, function="ffi_call")


def rows(capability: str) -> tuple[HostFunction, ...]:
    """Return the rows, under the capability of dynamic linking."""
    closure = "Succeed without making anything: calling the closure traps."
    return (
        row("ffi_call", "iiii", "", ffi_call, "Call a function pointer, described by libffi.", capability),
        row("ffi_prep_closure_loc", "iiiii", "i", Constant(0), closure, capability),
    )
