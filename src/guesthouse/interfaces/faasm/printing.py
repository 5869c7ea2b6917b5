"""``puts``, ``putc`` and ``vfprintf`` of guests that import them instead of linking a libc (spec 2.8)."""

from __future__ import annotations

import re
import struct

from guesthouse.calls import Call
from guesthouse.engine import HostFunction, Instance
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.io import text_at
from guesthouse.interfaces.faasm.rows import row
from guesthouse.interfaces.faasm.session import session_of

#: Flags, width, precision, length modifier, conversion.
_DIRECTIVE = re.compile(rb"%([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?(hh|h|ll|l|j|z|t|L)?([diouxXcspnfFeEgGaA%])")
_WIDEST = 4096
_MOST = 1 << 20


class Arguments:
    """Variable arguments as wasm32 passes them: packed into memory, each at its natural alignment."""

    def __init__(self, instance: Instance, pointer: int) -> None:
        self._instance = instance
        self._pointer = pointer

    def take(self, kind: str, size: int) -> float:
        """Return the next argument: a number in `struct` format of 4 or 8 bytes."""
        start = (self._pointer + size - 1) & -size
        self._pointer = start + size
        value: float = struct.unpack("<" + kind, self._instance.read(start, size))[0]
        return value

    def integer(self, modifier: bytes, signed: bool) -> int:
        """Return the next integer, cut to its type."""
        if modifier in (b"ll", b"j"):
            return int(self.take("q" if signed else "Q", 8))
        value = int(self.take("i" if signed else "I", 4))
        bits = {b"hh": 8, b"h": 16}.get(modifier)
        if bits is None:
            return value
        value &= (1 << bits) - 1
        return value - (1 << bits) if signed and value >> (bits - 1) else value


def formatted(instance: Instance, template: bytes, arguments: Arguments) -> bytes:
    """Return what C's ``printf`` would print.

    Raises:
        Trap: a directive that writes to memory, or one that asks for megabytes.
    """
    parts: list[bytes] = []
    position = size = 0
    for match in _DIRECTIVE.finditer(template):
        parts.append(template[position : match.start()])
        position = match.end()
        parts.append(_one(instance, match, arguments))
        size += len(parts[-1])
        if size > _MOST:
            raise Trap(f"more than {_MOST} bytes in one print", function="vfprintf")
    parts.append(template[position:])
    return b"".join(parts)


def _one(instance: Instance, match: re.Match[bytes], arguments: Arguments) -> bytes:
    flags, width, precision, modifier, conversion = match.groups(default=b"")
    if conversion == b"%":
        return b"%"
    if conversion == b"n":
        raise Trap("%n is not supported", function="vfprintf")
    wide = int(arguments.take("i", 4)) if width == b"*" else int(width or 0)
    if wide < 0:
        flags, wide = flags + b"-", -wide
    exact: int | None = None
    if b"." in match[0]:
        exact = int(arguments.take("i", 4)) if precision == b"*" else int(precision or 0)
        exact = exact if exact >= 0 else None
    if wide > _WIDEST or (exact or 0) > _WIDEST:
        raise Trap(f"a field wider than {_WIDEST}", function="vfprintf")
    spec = b"%" + flags + (b"%d" % wide if wide else b"")
    if conversion == b"c":
        return (spec + b"c") % (int(arguments.take("I", 4)) & 0xFF)
    if conversion == b"p":
        return (b"%" + flags.replace(b"0", b"") + b"%ds" % wide) % (b"%#x" % int(arguments.take("I", 4)))
    if conversion == b"s":
        text = text_at(instance, int(arguments.take("I", 4)))
        return (spec + b"s") % (text if exact is None else text[:exact])
    digits = b"" if exact is None else b".%d" % exact
    if conversion in b"diuoxX":
        whole = arguments.integer(modifier, conversion in b"di")
        return (spec + digits + (b"d" if conversion == b"u" else conversion)) % whole
    number = arguments.take("d", 8)
    if conversion in b"aA":
        text = number.hex().encode()
        return (b"%" + flags.replace(b"0", b"") + b"%ds" % wide) % (
            text if conversion == b"a" else text.upper()
        )
    return (spec + digits + conversion) % number


def puts(call: Call, text: int) -> int:
    """Print a string and a newline."""
    data = text_at(call.instance, text) + b"\n"
    session_of(call).print(data)
    return len(data)


def putc(call: Call, character: int, _stream: int) -> int:
    """Print one byte."""
    session_of(call).print(bytes([character & 0xFF]))
    return character & 0xFF


def vfprintf(call: Call, _stream: int, template: int, arguments: int) -> int:
    """Print formatted; return the number of bytes."""
    instance = call.instance
    data = formatted(instance, text_at(instance, template), Arguments(instance, arguments))
    session_of(call).print(data)
    return len(data)


ROWS: tuple[HostFunction, ...] = (
    row("puts", "i", "i", puts, "Print a string and a newline."),
    row("putc", "ii", "i", putc, "Print one byte."),
    row("vfprintf", "iii", "i", vfprintf, "Print formatted."),
)
