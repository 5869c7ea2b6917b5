"""Host functions as rows: what a guest can import, and what answers it.

Every interface package keeps a table of :class:`HostFunction` rows in its ``imports.py``.  The registry,
``guesthouse inspect``, ``guesthouse imports``, the reference page and the fuzzers are generated from
these rows (DESIGN section 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: One letter per core value type, as the tables of the specifications write them.
TYPE_LETTERS = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}


@dataclass(frozen=True, slots=True)
class Native:
    """Implementation that runs without the GIL.

    Attributes:
        address: address of a C function of type ``guesthouse.engine.core.native_t``.
        env: word that is handed to the function as its last argument.
        otherwise: the Python function that answers where the native one returns ``ASK_PYTHON``: for what is
            usual without the GIL, and seldom not.
    """

    address: int
    env: int = 0
    otherwise: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """Implementation that answers every call with one value, without the GIL.

    Attributes:
        value: the result; ignored for functions without one.
    """

    value: int = 0


@dataclass(frozen=True, slots=True)
class Trapping:
    """Implementation that traps on every call.

    Attributes:
        message: the trap's message: what was called and why it cannot be served.
    """

    message: str


#: What may stand in a row: native code, a constant, a trap, or any Python callable ``f(call, *args)``.
Implementation = Native | Constant | Trapping | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One host function.

    Attributes:
        capability: the capability that grants it, or ``""`` when it comes with the interface.
        module: import module.
        name: import name.
        params: parameter types, one letter each: ``i`` i32, ``I`` i64, ``f`` f32, ``F`` f64.
        results: result types, in the same letters.
        implementation: what answers the call.
        summary: one line of prose.
        denied: what answers when the capability is known but not granted; ``None`` refuses the module
            at load (DESIGN section 6).
    """

    capability: str
    module: str
    name: str
    params: str
    results: str
    implementation: Implementation
    summary: str
    denied: Implementation | None = None

    @property
    def signature(self) -> str:
        """The type in words, such as ``(i32, i64) -> i32``."""
        return signature(self.params, self.results)


def signature(params: str, results: str) -> str:
    """Return a function type in words.

    Args:
        params: parameter letters, see :data:`TYPE_LETTERS`.
        results: result letters.
    """

    def words(letters: str) -> str:
        return ", ".join(TYPE_LETTERS.get(letter, letter) for letter in letters)

    inner = words(results)
    return f"({words(params)}) -> {inner if len(results) == 1 else f'({inner})'}"
