"""A cursor over the WebAssembly binary format: numbers, names and types, each refused at its offset.

Everything here follows the core specification's chapter "Binary Format" (integers 5.2.2, names 5.2.4,
types 5.3, constant expressions 5.4.9).  Malformed input raises
:class:`guesthouse.errors.InvalidModule` with the offset of the offending byte and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from guesthouse.errors import InvalidModule

#: Value types by their byte, as letters: numbers as in :data:`guesthouse.engine.functions.TYPE_LETTERS`,
#: ``V`` v128, ``r`` funcref, ``x`` externref, ``n`` exnref, ``a`` any other reference.
VALUE_TYPES = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F", 0x7B: "V"}
ABSTRACT_REFERENCES = {
    0x70: "r", 0x6F: "x", 0x69: "n", 0x6E: "a", 0x6D: "a", 0x6C: "a", 0x6B: "a", 0x6A: "a",
    0x71: "a", 0x72: "a", 0x73: "a", 0x74: "a", 0x68: "a", 0x75: "a",
}  # fmt: skip

PAGE = 65536

#: What the engine supports of each kind of thing; more would only cost time before it refuses the module.
MANY = 1_000_000
MOST = {
    "parameters": 1000,
    "results": 1000,
    "fields": 10_000,
    "super types": 1,
    "tables": 100,
    "memories": 100,
}
LONGEST_NAME = 100_000


@dataclass(frozen=True, slots=True)
class FunctionType:
    """Type of a function or tag: parameter and result letters."""

    params: str
    results: str


@dataclass(frozen=True, slots=True)
class MemoryType:
    """Type of a linear memory; sizes in pages of ``page_size`` bytes, ``maximum`` may be ``None``."""

    minimum: int
    maximum: int | None
    shared: bool
    is64: bool
    page_size: int


@dataclass(frozen=True, slots=True)
class TableType:
    """Type of a table: the letter of its elements, and sizes in elements."""

    element: str
    minimum: int
    maximum: int | None
    is64: bool


@dataclass(frozen=True, slots=True)
class GlobalType:
    """Type of a global: the letter of its value, and whether it can be assigned."""

    type: str
    mutable: bool


class Cursor:
    """Reads one section, or the frame around the sections.

    Args:
        data: the bytes to read; offsets in errors are counted from ``base``.
        base: offset of ``data[0]`` in the module.
    """

    __slots__ = ("base", "data", "end", "position")

    def __init__(self, data: bytes | memoryview, base: int = 0) -> None:
        self.data, self.base = data, base
        self.position, self.end = 0, len(data)

    @property
    def offset(self) -> int:
        """Offset in the module of the next byte."""
        return self.base + self.position

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """Refuse the module at an offset (default: the next byte)."""
        raise InvalidModule(message, offset=self.offset if at is None else at)

    def byte(self) -> int:
        """Return the next byte."""
        if self.position >= self.end:
            self.fail("unexpected end")
        value = self.data[self.position]
        self.position += 1
        return value

    def take(self, size: int, what: str) -> bytes:
        """Return the next ``size`` bytes; ``what`` names them in the refusal."""
        if size > self.end - self.position:
            self.fail(f"{what} of {size} bytes reaches past the end")
        start = self.position
        self.position += size
        return bytes(self.data[start : self.position])

    def unsigned(self, bits: int = 32) -> int:
        """Return an unsigned LEB128 number of at most ``bits`` bits."""
        start = self.position
        if start < self.end and self.data[start] < 0x80:  # nearly all of them
            self.position = start + 1
            return self.data[start]
        value = shift = 0
        while True:
            byte = self.byte()
            if (shift + 7 > bits and (byte & 0x7F) >> (bits - shift)) or (byte & 0x80 and shift + 7 >= bits):
                self.fail(f"number does not fit u{bits}", self.base + start)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self, bits: int) -> int:
        """Return a signed LEB128 number of at most ``bits`` bits."""
        start = self.position
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte & 0x80:
                if shift >= bits:
                    self.fail(f"number does not fit s{bits}", self.base + start)
                continue
            if byte & 0x40:
                value -= 1 << shift
            if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
                self.fail(f"number does not fit s{bits}", self.base + start)
            return value

    def count(self, what: str) -> int:
        """Return the length of a vector whose items take at least one byte each."""
        start = self.offset
        value = self.unsigned()
        most = MOST.get(what, MANY)
        if value > most:
            self.fail(f"{value} {what}, {most} are supported", start)
        if value > self.end - self.position:
            self.fail(f"{value} {what} do not fit what is left of the section", start)
        return value

    def name(self) -> str:
        """Return a length-prefixed UTF-8 name."""
        start = self.offset
        size = self.unsigned()
        if size > LONGEST_NAME:
            self.fail(f"name of {size} bytes, {LONGEST_NAME} are supported", start)
        raw = self.take(size, "name")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.fail("name is not valid UTF-8", start + error.start)

    def done(self, what: str) -> None:
        """Refuse left-over bytes."""
        if self.position != self.end:
            self.fail(f"{self.end - self.position} bytes too many in the {what} section")

    # -- types --------------------------------------------------------------------------------------

    def value_type(self) -> str:
        """Return the letter of a value type."""
        start = self.offset
        byte = self.byte()
        return VALUE_TYPES.get(byte) or self._reference(byte, start)

    def reference_type(self) -> str:
        """Return the letter of a reference type."""
        start = self.offset
        return self._reference(self.byte(), start)

    def _reference(self, byte: int, start: int) -> str:
        if byte in (0x63, 0x64):
            return self.heap_type()
        return ABSTRACT_REFERENCES.get(byte) or self.fail(f"unknown type {byte:#04x}", start)

    def heap_type(self) -> str:
        """Return the letter of a reference to a heap type."""
        start = self.offset
        value = self.signed(33)
        if value >= 0:
            return "a"
        return ABSTRACT_REFERENCES.get(value & 0x7F) or self.fail("unknown heap type", start)

    def value_types(self, what: str) -> str:
        """Return a vector of value types, as letters."""
        return "".join([self.value_type() for _ in range(self.count(what))])

    def function_type(self) -> FunctionType:
        """Return what follows the byte 0x60."""
        return FunctionType(self.value_types("parameters"), self.value_types("results"))

    def limits(self, flags: int, start: int) -> tuple[int, int | None]:
        """Return minimum and maximum of a memory or table whose flags were read at ``start``."""
        bits = 64 if flags & 4 else 32
        minimum = self.unsigned(bits)
        maximum = self.unsigned(bits) if flags & 1 else None
        if maximum is not None and maximum < minimum:
            self.fail(f"minimum {minimum} is larger than maximum {maximum}", start)
        return minimum, maximum

    def memory_type(self) -> MemoryType:
        """Return a memory type, with the threads, memory64 and custom-page-sizes flags."""
        start = self.offset
        flags = self.byte()
        if flags > 15:
            self.fail(f"unknown memory flags {flags:#04x}", start)
        shared, is64 = bool(flags & 2), bool(flags & 4)
        minimum, maximum = self.limits(flags, start)
        if shared and maximum is None:
            self.fail("shared memory without a maximum", start)
        page_size = PAGE
        if flags & 8:
            where = self.offset
            exponent = self.unsigned()
            if exponent not in (0, 16):
                self.fail("page size is neither 1 nor 65536", where)
            page_size = 1 << exponent
        ceiling = (1 << (64 if is64 else 32)) // page_size
        if max(minimum, maximum or 0) > ceiling:
            self.fail(f"memory of more than {ceiling} pages", start)
        return MemoryType(minimum, maximum, shared, is64, page_size)

    def table_type(self) -> TableType:
        """Return a table type."""
        element = self.reference_type()
        start = self.offset
        flags = self.byte()
        if flags & ~5:
            self.fail(f"unknown table flags {flags:#04x}", start)
        minimum, maximum = self.limits(flags, start)
        return TableType(element, minimum, maximum, bool(flags & 4))

    def global_type(self) -> GlobalType:
        """Return a global type."""
        letter = self.value_type()
        start = self.offset
        mutable = self.byte()
        if mutable > 1:
            self.fail("mutability is neither 0 nor 1", start)
        return GlobalType(letter, mutable == 1)

    # -- composite types (garbage collection): read to stay in step, told apart no further -----------

    def recursive_group(self) -> list[FunctionType | None]:
        """Return one entry of the type section: the types it defines, ``None`` for structs and arrays."""
        if self.position < self.end and self.data[self.position] == 0x4E:
            self.position += 1
            return [self._sub_type() for _ in range(self.count("types"))]
        return [self._sub_type()]

    def _sub_type(self) -> FunctionType | None:
        start = self.offset
        byte = self.byte()
        if byte in (0x4F, 0x50):
            for _ in range(self.count("super types")):
                self.unsigned()
            start = self.offset
            byte = self.byte()
        if byte == 0x60:
            return self.function_type()
        if byte not in (0x5E, 0x5F):
            self.fail(f"unknown kind of type {byte:#04x}", start)
        for _ in range(self.count("fields") if byte == 0x5F else 1):
            if self.position < self.end and self.data[self.position] in (0x77, 0x78):
                self.position += 1
            else:
                self.value_type()
            if self.byte() > 1:
                self.fail("mutability is neither 0 nor 1", self.offset - 1)
        return None

    def skip_constant(self) -> None:
        """Read past a constant expression, including its end."""
        while True:
            start = self.offset
            match self.byte():
                case 0x0B:
                    return
                case 0x41:
                    self.signed(32)
                case 0x42:
                    self.signed(64)
                case 0x43:
                    self.take(4, "f32")
                case 0x44:
                    self.take(8, "f64")
                case 0x23 | 0xD2:
                    self.unsigned()
                case 0xD0:
                    self.heap_type()
                case 0x6A | 0x6B | 0x6C | 0x7C | 0x7D | 0x7E:
                    pass
                case 0xFD:
                    if self.unsigned() != 12:
                        self.fail("vector instruction in a constant expression", start)
                    self.take(16, "v128")
                case 0xFB:
                    self._skip_collected(start)
                case opcode:
                    self.fail(f"instruction {opcode:#04x} in a constant expression", start)

    def _skip_collected(self, start: int) -> None:
        # struct.new, struct.new_default, array.new, array.new_default take a type; array.new_fixed a type
        # and a length; any.convert_extern, extern.convert_any and ref.i31 nothing.
        match self.unsigned():
            case 0 | 1 | 6 | 7:
                self.unsigned()
            case 8:
                self.unsigned()
                self.unsigned()
            case 26 | 27 | 28:
                pass
            case opcode:
                self.fail(f"instruction 0xfb {opcode:#x} in a constant expression", start)
