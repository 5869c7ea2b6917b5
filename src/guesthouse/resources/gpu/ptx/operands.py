"""Operands of PTX instructions: what reads them, and what stores results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from guesthouse.resources.gpu.ptx import arithmetic as math
from guesthouse.resources.gpu.ptx.arithmetic import TYPES, Array
from guesthouse.resources.gpu.ptx.machine import Action, Batch
from guesthouse.resources.gpu.ptx.text import Kernel, Statement, Token, integer, malformed, unsupported

Source = Callable[[Batch, Any], Array]
Target = Callable[[Batch, Any, Array], None]

_SPECIALS: Final = {f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"}
#: Instructions that work on predicates as well.
_OF_PREDICATES: Final = {"and", "or", "xor", "not", "mov", "setp"}

#: Instructions that take no floats.
_OF_BITS: Final = {"rem", "and", "or", "xor", "not", "shl", "shr", "cvta"}


class Operands:
    """Reads the operands of one kernel's instructions."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._types = {name: kind[1:] for name, kind in kernel.registers.items()}

    def _vector(self, operand: list[Token], wide: int) -> list[list[Token]]:
        if wide == 1:
            return [operand]
        names = [[token] for token in operand if token.kind in {"name", "int", "float"}]
        if operand[0].text != "{" or len(names) != wide:
            raise malformed(operand[0].line, f"expected {wide} values in braces")
        return names

    def _param(self, place: list[Token], size: int) -> int:
        """Offset in the argument block of ``[name]`` or ``[name+number]``."""
        inner, extra = self._bracket(place)
        param = self._kernel.params.get(inner.text)
        if param is None:
            raise malformed(inner.line, f"no parameter {inner.text}")
        offset, length = param
        if extra < 0 or extra + size > length:
            raise malformed(inner.line, f"{size} bytes at {extra} of parameter {inner.text}")
        return offset + extra

    def _address(self, place: list[Token]) -> Source:
        """Address of ``[register+number]``, ``[variable+number]`` or ``[number]``."""
        inner, extra = self._bracket(place)
        offset = np.array([extra & ((1 << 64) - 1)], np.uint64)
        if inner.text in self._types:
            base = self._source([inner], self._types[inner.text])
        else:
            base = self._source([inner], "u64")

        def address(batch: Batch, lanes: Any) -> Array:
            value = base(batch, lanes).astype(np.uint64) + offset
            if len(value) == 1:
                count = batch.lanes if isinstance(lanes, slice) else len(lanes)
                value = np.broadcast_to(value, (count,))
            return value

        return address

    def _bracket(self, place: list[Token]) -> tuple[Token, int]:
        texts = [token.text for token in place]
        if len(place) < 3 or texts[0] != "[" or texts[-1] != "]":
            raise malformed(place[0].line, f"no address: {' '.join(texts)}")
        if len(place) == 3:
            return place[1], 0
        *signs, number = place[2:-1]
        sign = {"+": 1, "-": -1, "+-": -1}.get("".join(token.text for token in signs))
        if sign is None:
            raise malformed(place[0].line, f"no address: {' '.join(texts)}")
        return place[1], sign * integer(number)

    def _operands(self, statement: Statement, count: int) -> list[list[Token]]:
        if len(statement.operands) != count or not all(statement.operands):
            raise malformed(
                statement.line,
                f"{'.'.join(statement.opcode)} has {len(statement.operands)} operands, not {count}",
            )
        return statement.operands

    def _kind(self, statement: Statement, modifiers: list[str], allowed: set[str]) -> tuple[str, set[str]]:
        """The type of an instruction, and its other modifiers."""
        if not modifiers or modifiers[-1] not in TYPES:
            raise malformed(statement.line, f"{'.'.join(statement.opcode)} has no type")
        *words, kind = modifiers
        if kind == "pred" and statement.opcode[0] not in _OF_PREDICATES:
            raise malformed(statement.line, f"{statement.opcode[0]} of predicates")
        if math.is_float(TYPES[kind]) and statement.opcode[0] in _OF_BITS:
            raise malformed(statement.line, f"{statement.opcode[0]} of {kind}")
        if unknown := set(words) - allowed:
            raise unsupported(statement.line, f"{statement.opcode[0]} with .{min(unknown)}")
        return kind, set(words)

    def _predicate(self, operand: list[Token]) -> Source:
        """A predicate operand, which may be negated."""
        if operand and operand[0].text == "!":
            inner = self._source(operand[1:], "pred")
            return lambda batch, lanes: ~inner(batch, lanes)
        return self._source(operand, "pred")

    def _source(self, operand: list[Token], kind: str, *, relaxed: bool = False) -> Source:
        """What reads an operand as a type; `relaxed` lets the register be wider than that."""
        dtype = TYPES[kind]
        token = operand[-1]
        name = token.text
        if len(operand) == 1 and name in self._types:
            held = TYPES[self._types[name]]
            if held == dtype == np.bool_ or (
                held.itemsize == dtype.itemsize and np.bool_ not in (held, dtype)
            ):
                return lambda batch, lanes: batch.registers[name][lanes].view(dtype)
            if relaxed and held.itemsize > dtype.itemsize and np.bool_ not in (held, dtype):
                narrow = np.dtype(f"u{dtype.itemsize}")
                return lambda batch, lanes: batch.registers[name][lanes].astype(narrow).view(dtype)
            raise malformed(token.line, f"register {name} of type {self._types[name]} where {kind} is needed")
        if len(operand) == 1 and name in _SPECIALS:
            if dtype.itemsize < 4:
                raise malformed(token.line, f"{name} as {kind}")
            wide = np.dtype(f"u{dtype.itemsize}")
            return lambda batch, lanes: batch.specials[name][lanes].astype(wide).view(dtype)
        if len(operand) == 1 and name in self._kernel.shared:
            return _always(np.array([self._kernel.shared[name]], np.uint64).astype(dtype))
        return _always(_constant(operand, dtype))

    def _target(self, operand: list[Token], kind: str, *, relaxed: bool = False) -> Target:
        """What stores into a register; `relaxed` lets it be wider than the value."""
        name = operand[0].text
        if len(operand) != 1 or name not in self._types:
            raise malformed(operand[0].line, f"no register {name}")
        dtype, held = TYPES[kind], TYPES[self._types[name]]
        if np.bool_ in (dtype, held) and dtype != held:
            raise malformed(operand[0].line, f"register {name} of type {self._types[name]} for {kind}")
        if dtype == np.bool_:

            def store_flag(batch: Batch, lanes: Any, values: Array) -> None:
                batch.registers[name][lanes] = values

            return store_flag
        if held.itemsize != dtype.itemsize and not (relaxed and held.itemsize > dtype.itemsize):
            raise malformed(operand[0].line, f"register {name} of type {self._types[name]} for {kind}")
        # Narrow values are extended: by their sign where their type has one.
        extended = np.dtype(f"{'i' if dtype.kind == 'i' else 'u'}{held.itemsize}")
        raw = np.dtype(f"u{held.itemsize}")
        same = held.itemsize == dtype.itemsize

        def store(batch: Batch, lanes: Any, values: Array) -> None:
            values = np.ascontiguousarray(values, dtype)
            batch.registers[name][lanes] = values.view(raw) if same else values.astype(extended).view(raw)

        return store

    def _sources(self, operands: list[list[Token]], kind: str, flags: set[str]) -> list[Source]:
        """What reads several operands of one type, tiny numbers flushed where ``.ftz`` asks for it."""
        sources = [self._source(operand, kind) for operand in operands]
        if "ftz" in flags and kind == "f32":
            return [_flushed(source) for source in sources]
        return sources

    def _assign(
        self,
        target: list[Token],
        kind: str,
        flags: set[str],
        compute: Callable[..., Array],
        *sources: Source,
        relaxed: bool = False,
    ) -> Action:
        """Compute from the sources and store, with what modifiers of floats ask for."""
        store = self._target(target, kind, relaxed=relaxed)

        def act(batch: Batch, lanes: Any) -> None:
            values = compute(*[source(batch, lanes) for source in sources])
            if "ftz" in flags and values.dtype == np.float32:
                values = math.flush(values)
            if "sat" in flags and math.is_float(values.dtype):
                values = math.saturate(values)
            store(batch, lanes, values)

        return act


def _flushed(source: Source) -> Source:
    return lambda batch, lanes: math.flush(source(batch, lanes))


def _always(value: Array) -> Source:
    def constant(_batch: Batch, _lanes: Any) -> Array:
        return value

    return constant


def _constant(operand: list[Token], dtype: np.dtype[Any]) -> Array:
    """A literal as an array of one element."""
    negative = operand[0].text == "-"
    token = operand[-1]
    if len(operand) != 1 + negative or token.kind not in {"int", "float"}:
        raise malformed(token.line, f"no operand: {' '.join(piece.text for piece in operand)}")
    if dtype == np.bool_:
        raise malformed(token.line, "a number where a predicate is needed")
    text = token.text
    if token.kind == "float" and text[:2].lower() in {"0f", "0d"}:
        pattern = int.from_bytes(bytes.fromhex(text[2:]), "big")
        bits = np.array([pattern], np.dtype(f"u{(len(text) - 2) // 2}"))
        value = bits.view(np.dtype(f"f{bits.dtype.itemsize}"))
        if math.is_float(dtype):
            value = value.astype(dtype)
        elif bits.dtype.itemsize == dtype.itemsize:
            value = bits.view(dtype)
        else:
            raise malformed(token.line, f"{text} does not fit")
        return -value if negative else value
    if math.is_float(dtype):
        number = float(text) if token.kind == "float" else float(integer(token))
        return np.array([-number if negative else number], dtype)
    if token.kind == "float":
        raise malformed(token.line, f"{text} where an integer is needed")
    whole = integer(token) * (-1 if negative else 1)
    mask = (1 << dtype.itemsize * 8) - 1
    return np.array([whole & mask], np.dtype(f"u{dtype.itemsize}")).view(dtype)
