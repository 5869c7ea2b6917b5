"""Memory: what guests of the reference get from ``mmap``, ``munmap`` and ``__sbrk`` (faasm.md 2.6)."""

from __future__ import annotations

from guesthouse.engine import Constant, HostFunction, Native
from guesthouse.interfaces.faasm.memory_native import FUNCTIONS
from guesthouse.interfaces.faasm.rows import refused, row

__all__ = ["CAPABILITY", "ROWS"]

CAPABILITY = "faasm.memory"

ROWS: tuple[HostFunction, ...] = (
    row("mmap", "iiiiiI", "i", Native(FUNCTIONS["mmap"]), "Add zero pages or a file's bytes.", CAPABILITY),
    row("munmap", "ii", "i", Native(FUNCTIONS["munmap"]), "Give pages at the break back.", CAPABILITY),
    row("__sbrk", "i", "i", Native(FUNCTIONS["__sbrk"]), "Move the break by whole pages.", CAPABILITY),
    row("mprotect", "iii", "i", Constant(0), "Do nothing: wasm pages have no protection.", CAPABILITY),
    row("madvise", "iii", "i", Constant(0), "Do nothing.", CAPABILITY),
    *refused((("msync", "iii", "i"),), "mapped files are copies and are never written back"),
    *refused((("shm_open", "iii", "i"),), "there is no named shared memory; use state"),
)
