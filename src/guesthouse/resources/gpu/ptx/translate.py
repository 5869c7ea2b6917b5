"""PTX statements into steps of the machine; what is beyond the subset is refused here, at load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from guesthouse.resources.gpu.ptx import arithmetic as math
from guesthouse.resources.gpu.ptx.arithmetic import TYPES, Array
from guesthouse.resources.gpu.ptx.machine import (
    BARRIER,
    BRANCH,
    EXIT,
    PLAIN,
    SHARED_WINDOW,
    Action,
    Batch,
    Program,
    Step,
)
from guesthouse.resources.gpu.ptx.operands import Operands
from guesthouse.resources.gpu.ptx.text import Reader, Statement, Token, malformed, unsupported

#: Modifiers that change nothing on a machine without caches.
_CACHING: Final = {
    "volatile",
    "relaxed",
    "weak",
    "gpu",
    "cta",
    "sys",
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
}

BINARY: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "add": np.add,
    "sub": np.subtract,
    "div": math.divide,
    "rem": math.remainder,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def programs(source: str) -> dict[str, Program]:
    """Translate every kernel of a module.

    Raises:
        SessionError: the source is malformed (2), or beyond the subset (3).
    """
    return {name: _Translator(kernel).program() for name, kernel in Reader(source).kernels().items()}


class _Translator(Operands):
    """Translates one kernel."""

    def program(self) -> Program:
        kernel = self._kernel
        steps = [self._step(statement) for statement in kernel.statements]
        return Program(
            kernel.name,
            self._types,
            tuple(kernel.params.values()),
            kernel.shared_bytes,
            tuple(steps),
            frozenset(kernel.labels.values()),
        )

    def _step(self, statement: Statement) -> Step:
        guard = statement.guard
        if guard is not None and self._types.get(guard[0]) != "pred":
            raise malformed(statement.line, f"{guard[0]} is no predicate")
        name, *modifiers = statement.opcode
        if name in {"ret", "exit"}:
            return Step(EXIT, None, guard)
        if name == "bra":
            return Step(BRANCH, None, guard, self._label(statement))
        if (name, *modifiers[:1]) in {("bar", "sync"), ("barrier", "sync")}:
            return Step(BARRIER, None, guard)
        translate = getattr(self, f"_{name}", None) if name in OPCODES else None
        if translate is None:
            raise unsupported(statement.line, f"the instruction {'.'.join(statement.opcode)}")
        action: Action = translate(statement, modifiers)
        return Step(PLAIN, action, guard)

    def _label(self, statement: Statement) -> int:
        names = [token.text for token in self._operands(statement, 1)[0]]
        position = self._kernel.labels.get(names[0]) if len(names) == 1 else None
        if position is None:
            raise malformed(statement.line, f"no label {' '.join(names)}")
        return position

    # -- arithmetic

    def _plain(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"rn", "ftz", "sat", "approx", "full"})
        target, *operands = self._operands(statement, 3)
        compute = BINARY[statement.opcode[0]]
        return self._assign(target, kind, flags, compute, *self._sources(operands, kind, flags))

    _add = _sub = _div = _rem = _and = _or = _xor = _plain

    def _extreme(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"ftz"})
        floating = math.is_float(TYPES[kind])
        names = {"min": np.fmin if floating else np.minimum, "max": np.fmax if floating else np.maximum}
        target, *operands = self._operands(statement, 3)
        compute = names[statement.opcode[0]]
        return self._assign(target, kind, flags, compute, *self._sources(operands, kind, flags))

    _min = _max = _extreme

    def _unary(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"ftz"})
        compute: Any = {"neg": math.negate, "abs": np.abs, "not": np.invert}[statement.opcode[0]]
        target, *operands = self._operands(statement, 2)
        return self._assign(target, kind, flags, compute, *self._sources(operands, kind, flags))

    _neg = _abs = _not = _unary

    def _mul(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"lo", "hi", "wide", "rn", "ftz", "sat"})
        target, *operands = self._operands(statement, 3)
        compute, result = self._product(statement, kind, flags)
        return self._assign(target, result, flags, compute, *self._sources(operands, kind, flags))

    def _mad(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"lo", "hi", "wide", "rn", "ftz", "sat"})
        if math.is_float(TYPES[kind]):
            return self._fma(statement, modifiers)
        target, left, right, addend = self._operands(statement, 4)
        product, result = self._product(statement, kind, flags)
        sources = (*self._sources([left, right], kind, flags), self._source(addend, result))
        return self._assign(target, result, flags, lambda a, b, c: product(a, b) + c, *sources)

    def _fma(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"rn", "ftz", "sat"})
        if not math.is_float(TYPES[kind]):
            raise malformed(statement.line, f"fma of {kind}")
        target, *operands = self._operands(statement, 4)
        return self._assign(target, kind, flags, math.fused, *self._sources(operands, kind, flags))

    def _product(
        self, statement: Statement, kind: str, flags: set[str]
    ) -> tuple[Callable[[Array, Array], Array], str]:
        """How to multiply, and the result's type."""
        if math.is_float(TYPES[kind]):
            return np.multiply, kind
        if "wide" in flags and kind[1:] in {"16", "32"}:
            return math.multiply_wide, f"{kind[0]}{int(kind[1:]) * 2}"
        if "hi" in flags:
            return math.multiply_high, kind
        if "lo" not in flags:
            raise malformed(statement.line, "an integer product without .lo, .hi or .wide")
        return np.multiply, kind

    def _shift(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, set())
        compute = {"shl": math.shift_left, "shr": math.shift_right}[statement.opcode[0]]
        target, value, count = self._operands(statement, 3)
        return self._assign(
            target, kind, flags, compute, self._source(value, kind), self._source(count, "u32")
        )

    _shl = _shr = _shift

    # -- predicates and moves

    def _setp(self, statement: Statement, modifiers: list[str]) -> Action:
        compare = math.COMPARISONS.get(modifiers[0]) if modifiers else None
        kind, flags = self._kind(statement, modifiers[1:], {"ftz", "and", "or", "xor"})
        if compare is None:
            raise malformed(statement.line, f"no comparison {'.'.join(statement.opcode)}")
        join = next((BINARY[word] for word in ("and", "or", "xor") if word in flags), None)
        target, left, right, *rest = self._operands(statement, 3 if join is None else 4)
        a, b = self._sources([left, right], kind, flags)
        c = self._predicate(rest[0]) if rest else None
        names = [token.text for token in target if token.text != "|"]
        stores = [self._target([Token("name", name, statement.line)], "pred") for name in names]

        def act(batch: Batch, lanes: Any) -> None:
            outcome = compare(a(batch, lanes), b(batch, lanes))
            for store, value in zip(stores, (outcome, ~outcome), strict=False):
                store(batch, lanes, value if join is None or c is None else join(value, c(batch, lanes)))

        return act

    def _selp(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, set())
        target, left, right, condition = self._operands(statement, 4)
        sources = self._sources([left, right], kind, flags)
        return self._assign(target, kind, flags, np.where, self._predicate(condition), *sources)

    def _mov(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, set())
        target, only = self._operands(statement, 2)
        return self._assign(target, kind, flags, _same, self._source(only, kind))

    def _cvta(self, statement: Statement, modifiers: list[str]) -> Action:
        kind, flags = self._kind(statement, modifiers, {"to", "global", "shared"})
        if kind != "u64":
            raise unsupported(statement.line, f"cvta of {kind}")
        target, only = self._operands(statement, 2)
        compute: Callable[..., Array] = _same
        if "shared" in flags:
            window = np.uint64(SHARED_WINDOW)
            compute = (lambda a: a - window) if "to" in flags else (lambda a: a + window)
        return self._assign(target, kind, flags, compute, self._source(only, kind))

    def _cvt(self, statement: Statement, modifiers: list[str]) -> Action:
        words = [word for word in modifiers if word not in TYPES]
        kinds = [word for word in modifiers if word in TYPES]
        if len(kinds) != 2 or "pred" in kinds:
            raise malformed(statement.line, f"{'.'.join(statement.opcode)} without two types")
        if unknown := set(words) - {"rn", "ftz", "sat", *math.ROUNDINGS}:
            raise unsupported(statement.line, f"cvt with .{min(unknown)}")
        into, source = (TYPES[kind] for kind in kinds)
        rounding = next((word for word in words if word in math.ROUNDINGS), None)
        target, only = self._operands(statement, 2)

        def convert(value: Array) -> Array:
            if "ftz" in words and source == np.float32:
                value = math.flush(value)
            if math.is_float(source) and not math.is_float(into):
                return math.to_integer(value, into, rounding or "rzi")
            if math.is_float(source) and rounding is not None:
                value = math.ROUNDINGS[rounding](value)
            if "sat" in words and not math.is_float(into):
                info = np.iinfo(into)
                low = max(int(info.min), int(np.iinfo(source).min))
                high = min(int(info.max), int(np.iinfo(source).max))
                value = np.clip(value, source.type(low), source.type(high))
            return value.astype(into)

        flags = {word for word in words if math.is_float(into) and word in {"sat", "ftz"}}
        source_value = self._source(only, kinds[1], relaxed=True)
        return self._assign(target, kinds[0], flags, convert, source_value, relaxed=True)

    # -- memory

    def _ld(self, statement: Statement, modifiers: list[str]) -> Action:
        space, kind, lanes_wide = self._access(statement, modifiers)
        target, place = self._operands(statement, 2)
        targets = self._vector(target, lanes_wide)
        stores = [self._target(one, kind, relaxed=True) for one in targets]
        dtype = TYPES[kind]
        if space == "param":
            offset = self._param(place, dtype.itemsize * lanes_wide)

            def load_param(batch: Batch, lanes: Any) -> None:
                values = np.frombuffer(batch.params, dtype, lanes_wide, offset)
                for number, store in enumerate(stores):
                    store(batch, lanes, values[number : number + 1])

            return load_param
        address = self._address(place)

        def load(batch: Batch, lanes: Any) -> None:
            base = address(batch, lanes)
            values = [
                batch.load(base + np.uint64(number * dtype.itemsize), dtype, lanes, space)
                for number in range(lanes_wide)
            ]
            for store, value in zip(stores, values, strict=True):
                store(batch, lanes, value)

        return load

    def _st(self, statement: Statement, modifiers: list[str]) -> Action:
        space, kind, lanes_wide = self._access(statement, modifiers)
        if space == "param":
            raise unsupported(statement.line, "st.param")
        place, value = self._operands(statement, 2)
        dtype = TYPES[kind]
        sources = [self._source(one, kind, relaxed=True) for one in self._vector(value, lanes_wide)]
        address = self._address(place)

        def save(batch: Batch, lanes: Any) -> None:
            base = address(batch, lanes)
            for number, source in enumerate(sources):
                values = np.broadcast_to(source(batch, lanes), base.shape)
                batch.save(base + np.uint64(number * dtype.itemsize), values, lanes, space)

        return save

    def _access(self, statement: Statement, modifiers: list[str]) -> tuple[str, str, int]:
        """Space, type and vector width of a load or store."""
        space, kind, wide = "generic", None, 1
        for word in modifiers:
            if word in {"global", "shared", "param"}:
                space = word
            elif word in TYPES and word != "pred":
                kind = word
            elif word in {"v2", "v4"}:
                wide = int(word[1])
            elif word not in _CACHING:
                raise unsupported(statement.line, f"the instruction {'.'.join(statement.opcode)}")
        if kind is None:
            raise malformed(statement.line, "a memory access without a type")
        return space, kind, wide


OPCODES: Final = {
    *("add", "sub", "mul", "mad", "fma", "div", "rem", "min", "max", "neg", "abs", "and", "or", "xor", "not"),
    *("shl", "shr", "setp", "selp", "mov", "cvt", "cvta", "ld", "st"),
}


def _same(values: Array) -> Array:
    return values
