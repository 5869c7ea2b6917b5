"""Runs WASI modules straight on the engine: what the tests of this folder share."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from guesthouse.engine import Engine, Exit, Module
from guesthouse.interfaces.wasi.imports import IMPORTS
from guesthouse.interfaces.wasi.options import WasiOptions
from guesthouse.interfaces.wasi.state import SLOT, Context

ROWS = {(row.module, row.name): row for row in IMPORTS}


@functools.cache
def engine() -> Engine:
    return Engine(None)


@functools.cache
def compiled(wasm: bytes) -> Module:
    return engine().compile(wasm)


@dataclass
class Ended:
    code: int
    stdout: bytes
    stderr: bytes
    left_open: int


def run(
    wasm: bytes | Path, options: WasiOptions | None = None, *, entry: str = "_start", wall_ns: int = 0
) -> Ended:
    """Run a program to its end."""
    options = options or WasiOptions()
    module = compiled(wasm.read_bytes() if isinstance(wasm, Path) else wasm)
    template = module.link(
        {
            (item.module, item.name): ROWS[item.module, item.name]
            for item in module.info.imports
            if item.kind == "function"
        }
    )
    process = options.process()
    code = 0
    try:
        with template.open(memory_limit=1 << 30, output_limit=1 << 20) as instance:
            instance.attach(SLOT, Context(process))
            instance.deadline = wall_ns
            instance.start()
            try:
                instance.invoke(entry)
            except Exit as exit_:
                code = exit_.code
        return Ended(code, process.captured(1), process.captured(2), process.descriptors)
    finally:
        process.close()
