"""Everything that a Faasm function can import beside WASI, one row each (spec 2)."""

from __future__ import annotations

from guesthouse.engine import HostFunction, Native
from guesthouse.interfaces.faasm import (
    chaining,
    conf,
    ffi,
    files,
    linking,
    memory,
    parallel,
    posix,
    printing,
    python,
    shared,
    state,
    threads,
)
from guesthouse.interfaces.faasm.io import FUNCTIONS as IO
from guesthouse.interfaces.faasm.rows import row

_INPUT, _OUTPUT = "__faasm_read_input", "__faasm_write_output"

ROWS: tuple[HostFunction, ...] = (
    row(_INPUT, "ii", "i", Native(IO[_INPUT]), "Copy the input, or tell its size when the length is 0."),
    row(_OUTPUT, "ii", "", Native(IO[_OUTPUT]), "Set the output to exactly these bytes."),
)

IMPORTS: tuple[HostFunction, ...] = (
    *ROWS,
    *chaining.ROWS,
    *state.ROWS,
    *memory.ROWS,
    *files.ROWS,
    *linking.ROWS,
    *ffi.rows(linking.CAPABILITY),
    *threads.ROWS,
    *conf.ROWS,
    *python.ROWS,
    *shared.ROWS,
    *printing.ROWS,
    *posix.ROWS,
    *parallel.ROWS,
)
