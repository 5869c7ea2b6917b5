"""WebAssembly text to binary, by the engine's own assembler."""

from __future__ import annotations

import wasmtime

from guesthouse.errors import InvalidModule


def wat_to_wasm(text: str, name: str = "<text>") -> bytes:
    """Assemble a module written in the text format.

    Args:
        text: the whole module, ``(module …)``.
        name: what the message calls it, such as the file it comes from.

    Raises:
        InvalidModule: the text does not parse; the message shows line and column.
    """
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(str(error).strip().replace("<anon>", name)) from None
