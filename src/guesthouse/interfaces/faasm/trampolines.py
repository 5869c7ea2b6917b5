"""Small modules that stand between libraries and what they import.

A host function becomes something that can be linked by being imported and exported again; a function that
nobody has yet becomes one that goes through an element of the table, which is filled when it turns up.
"""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.engine import HostFunction, wat_to_wasm
from guesthouse.engine.functions import TYPE_LETTERS

#: Names of what :func:`indirect` imports.
TABLE = ("env", "table")


def forward(rows: Sequence[HostFunction]) -> bytes:
    """Return a module that imports host functions and exports them, under their numbers."""
    parts = [
        f"(import {_text(row.module)} {_text(row.name)} (func {_type(row.params, row.results)}))"
        for row in rows
    ]
    parts += [f'(export "{number}" (func {number}))' for number in range(len(rows))]
    return wat_to_wasm(f"(module {' '.join(parts)})")


def indirect(types: Sequence[tuple[str, str]]) -> bytes:
    """Return a module whose functions call elements of a table.

    It imports the table as :data:`TABLE` and the element of function N as the global ``env.N``, and exports
    each function under its number.

    Args:
        types: parameter and result letters of each function.
    """
    parts = ['(import "env" "table" (table 0 funcref))']
    parts += [f'(import "env" "{number}" (global $g{number} i32))' for number in range(len(types))]
    for number, (params, results) in enumerate(types):
        arguments = " ".join(f"(local.get {i})" for i in range(len(params)))
        parts.append(
            f'(func (export "{number}") {_type(params, results)} (call_indirect {_type(params, results)}'
            f" {arguments} (global.get $g{number})))"
        )
    return wat_to_wasm(f"(module {' '.join(parts)})")


def _type(params: str, results: str) -> str:
    words = [TYPE_LETTERS[letter] for letter in params]
    back = [TYPE_LETTERS[letter] for letter in results]
    return f"(param {' '.join(words)}) (result {' '.join(back)})"


def _text(name: str) -> str:
    return '"' + "".join(f"\\{byte:02x}" for byte in name.encode()) + '"'
