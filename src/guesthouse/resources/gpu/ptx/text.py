"""PTX source into statements; nothing is understood of opcodes here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from guesthouse.resources.gpu.failures import BAD_IMAGE, NOT_RUNNABLE, SessionError

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<float>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}|\d+\.\d*(?:[eE][+-]?\d+)?)
      | (?P<int>(?:0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?)
      | (?P<name>[.%$_a-zA-Z][\w$]*(?:(?:\.|::)\w+)*)
      | (?P<string>"[^"\n]*")
      | (?P<mark>[{}()\[\],;:<>+\-@!=|])""",
    re.VERBOSE | re.DOTALL,
)

#: Sizes in bytes of the types that variables may have.
TYPE_BYTES: Final = {
    **{f".{kind}{bits}": bits // 8 for kind in "bus" for bits in (8, 16, 32, 64)},
    ".f32": 4,
    ".f64": 8,
}
#: Registers that a kernel may declare.
MOST_REGISTERS: Final = 4096
#: Bytes that a kernel's parameters may have together.
MOST_PARAMETER_BYTES: Final = 32_764
#: Letters of a number of 64 bits.
_LONGEST_NUMBER: Final = 66
_REGISTER_TYPES: Final = {*TYPE_BYTES, ".pred"} - {".b8", ".u8", ".s8"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of source: its kind, its text, the line it is on."""

    kind: str
    text: str
    line: int


@dataclass(slots=True)
class Statement:
    """One instruction.

    Attributes:
        opcode: with its modifiers, such as ``("ld", "global", "f32")``.
        operands: tokens of each operand.
        guard: predicate register, and whether it is negated.
        line: where it stands.
    """

    opcode: tuple[str, ...]
    operands: list[list[Token]]
    guard: tuple[str, bool] | None
    line: int


@dataclass(slots=True)
class Kernel:
    """One entry, as its source says.

    Attributes:
        params: name to (offset, size) in the argument block, in order.
        registers: name to type.
        shared: name to offset; of what is declared without a size: behind everything else.
        shared_bytes: what the declared variables take.
        statements: instructions in order.
        labels: name to position in ``statements``.
    """

    name: str
    params: dict[str, tuple[int, int]] = field(default_factory=dict)
    registers: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def malformed(line: int, what: str) -> SessionError:
    """The error for source that is no PTX."""
    return SessionError(BAD_IMAGE, f"PTX line {line}: {what}")


def unsupported(line: int, what: str) -> SessionError:
    """The error for PTX that is beyond the subset."""
    return SessionError(NOT_RUNNABLE, f"PTX line {line}: {what} is not supported without a GPU")


def tokens(source: str) -> list[Token]:
    """Cut source into tokens.

    Raises:
        SessionError: a character fits nowhere (2).
    """
    found, at, line = [], 0, 1
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise malformed(line, f"unexpected {source[at]!r}")
        if match.lastgroup != "skip":
            found.append(Token(match.lastgroup or "", match[0], line))
        line += match[0].count("\n")
        at = match.end()
    return found


def integer(token: Token) -> int:
    """Return the number that a literal stands for: decimal, or behind ``0x``, ``0b`` or ``0``.

    Raises:
        SessionError: it is none, or does not fit into 64 bits (2).
    """
    text = token.text.removesuffix("U").lower()
    base = 16 if text[:2] == "0x" else 2 if text[:2] == "0b" else 8 if text[0] == "0" else 10
    try:
        number = int(text, base) if token.kind == "int" and len(text) <= _LONGEST_NUMBER else None
    except ValueError:
        number = None
    if number is None or number >= 1 << 64:
        raise malformed(token.line, f"expected a number, found {token.text[:_LONGEST_NUMBER]!r}")
    return number


class Reader:
    """Reads a module's kernels."""

    def __init__(self, source: str) -> None:
        self._tokens = tokens(source)
        self._at = 0
        self._module_shared: dict[str, int] = {}
        self._module_shared_bytes = 0
        self._extern_shared: list[str] = []

    def kernels(self) -> dict[str, Kernel]:
        """Return every entry by name.

        Raises:
            SessionError: malformed (2), or beyond the subset (3).
        """
        found: dict[str, Kernel] = {}
        versions = 0
        while self._at < len(self._tokens):
            token = self._next()
            if token.text == ".version":
                versions += 1
                self._next()
            elif token.text == ".target":
                self._next()
                while self._take(","):
                    self._next()
            elif token.text == ".address_size":
                if (size := self._next()).text != "64":
                    raise unsupported(size.line, f"an address size of {size.text}")
            elif token.text in {".visible", ".weak"}:
                continue
            elif token.text == ".entry":
                kernel = self._entry()
                found[kernel.name] = kernel
            elif token.text in {".shared", ".extern"}:
                self._shared(token, None)
            elif token.text in {".func", ".global", ".const", ".tex", ".alias"}:
                raise unsupported(token.line, f"the directive {token.text}")
            elif token.text in {".file", ".section"}:
                self._skip_debug(token)
            else:
                raise malformed(token.line, f"unexpected {token.text!r}")
        if not versions:
            raise malformed(1, "no .version")
        return found

    # -- entries

    def _entry(self) -> Kernel:
        kernel = Kernel(self._name().text)
        if self._take("("):
            self._params(kernel)
        while not self._take("{"):  # performance directives
            token = self._next()
            if token.kind != "int" and not token.text.startswith(".") and token.text != ",":
                raise malformed(token.line, f"unexpected {token.text!r} before the body of {kernel.name}")
        kernel.shared.update(self._module_shared)
        kernel.shared_bytes = self._module_shared_bytes
        self._body(kernel)
        for name in self._extern_shared:
            kernel.shared[name] = kernel.shared_bytes
        return kernel

    def _params(self, kernel: Kernel) -> None:
        end = 0
        while not self._take(")"):
            self._expect(".param")
            align, kind = 0, None
            while (token := self._next()).text.startswith("."):
                if token.text == ".align":
                    align = self._int()
                elif token.text in TYPE_BYTES:
                    kind = token.text
                elif token.text not in {".ptr", ".global", ".shared", ".const"}:
                    raise unsupported(token.line, f"a parameter {token.text}")
            if kind is None:
                raise malformed(token.line, "a parameter without a type")
            size = TYPE_BYTES[kind]
            align = align or size
            if self._take("["):
                size *= self._int()
                self._expect("]")
            offset = -(-end // align) * align
            kernel.params[token.text] = (offset, size)
            end = offset + size
            if end > MOST_PARAMETER_BYTES:
                raise malformed(token.line, f"more than {MOST_PARAMETER_BYTES} bytes of parameters")
            self._take(",")

    def _body(self, kernel: Kernel) -> None:
        depth = 1
        while depth:
            token = self._next()
            if token.text == "{":
                depth += 1
            elif token.text == "}":
                depth -= 1
            elif token.text == ".reg":
                self._registers(kernel)
            elif token.text == ".shared":
                self._shared(token, kernel)
            elif token.text in {".pragma", ".loc"}:
                while not self._take(";") and token.line == self._peek().line:
                    self._next()
            elif token.kind == "name" and token.text[0] == ".":
                raise unsupported(token.line, f"the directive {token.text}")
            elif token.kind == "name" and self._take(":"):
                kernel.labels[token.text] = len(kernel.statements)
            else:
                kernel.statements.append(self._statement(token))

    def _registers(self, kernel: Kernel) -> None:
        kind = self._next()
        if kind.text not in _REGISTER_TYPES:
            raise unsupported(kind.line, f"a register of type {kind.text}")
        while True:
            name = self._name()
            names = [name.text]
            if self._take("<"):
                count = self._int()
                if count + len(kernel.registers) > MOST_REGISTERS:
                    raise unsupported(name.line, f"more than {MOST_REGISTERS} registers")
                names = [f"{name.text}{number}" for number in range(count)]
                self._expect(">")
            for one in names:
                if kernel.registers.setdefault(one, kind.text) != kind.text:
                    raise unsupported(name.line, f"register {one} with two types")
            if self._take(";"):
                return
            self._expect(",")

    def _shared(self, begin: Token, kernel: Kernel | None) -> None:
        """A variable in shared memory, of the module or of one kernel."""
        extern = begin.text == ".extern"
        if extern:
            self._expect(".shared")
        align, kind = 0, None
        while (token := self._next()).text.startswith("."):
            if token.text == ".align":
                align = self._int()
            elif token.text in TYPE_BYTES:
                kind = token.text
            else:
                raise unsupported(token.line, f"a variable {token.text}")
        if kind is None:
            raise malformed(token.line, "a variable without a type")
        size = TYPE_BYTES[kind]
        align = align or size
        if self._take("["):
            size *= 0 if self._peek().text == "]" else self._int()
            self._expect("]")
        self._expect(";")
        if extern or size == 0:
            self._extern_shared.append(token.text)
            return
        before = self._module_shared_bytes if kernel is None else kernel.shared_bytes
        offset = -(-before // align) * align
        if kernel is None:
            self._module_shared[token.text], self._module_shared_bytes = offset, offset + size
        else:
            kernel.shared[token.text], kernel.shared_bytes = offset, offset + size

    def _statement(self, token: Token) -> Statement:
        guard = None
        if token.text == "@":
            negated = self._take("!")
            guard = (self._name().text, negated)
            token = self._next()
        if token.kind != "name" or token.text[0] in "%.$":
            raise malformed(token.line, f"unexpected {token.text!r}")
        operands: list[list[Token]] = []
        current: list[Token] = []
        depth = 0
        while (piece := self._next()).text != ";" or depth:
            depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(piece.text, 0)
            if depth < 0:
                raise malformed(piece.line, f"unexpected {piece.text!r}")
            if piece.text == "," and depth == 0:
                operands.append(current)
                current = []
            else:
                current.append(piece)
        if current or operands:
            operands.append(current)
        return Statement(tuple(token.text.replace("::", ".").split(".")), operands, guard, token.line)

    def _skip_debug(self, begin: Token) -> None:
        """Debug information: to the end of its line, or of its braces."""
        if begin.text == ".section":
            while not self._take("{"):
                self._next()
            while not self._take("}"):
                self._next()
            return
        while self._at < len(self._tokens) and self._peek().line == begin.line:
            self._next()

    # -- tokens

    def _peek(self) -> Token:
        if self._at >= len(self._tokens):
            line = self._tokens[-1].line if self._tokens else 1
            raise malformed(line, "the source ends too early")
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        token = self._next()
        if token.text != text:
            raise malformed(token.line, f"expected {text!r}, found {token.text!r}")

    def _name(self) -> Token:
        token = self._next()
        if token.kind != "name":
            raise malformed(token.line, f"expected a name, found {token.text!r}")
        return token

    def _int(self) -> int:
        return integer(self._next())
