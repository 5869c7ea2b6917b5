"""Which generation of WASIX a module was built for (spec wasix 0)."""

from __future__ import annotations

import enum

from guesthouse.engine import ModuleInfo

MODULE = "wasix_32v1"
PREVIEW1 = "wasi_snapshot_preview1"

_SECOND = ("futex_", "thread_local_", "callback_")
_SECOND_NAMES = {"proc_id", "proc_fork", "proc_exec", "proc_spawn", "proc_join"}


class Generation(enum.StrEnum):
    """The three that share one module name."""

    G1 = "G1"
    G2 = "G2"
    G3 = "G3"


#: Who made and runs each generation, for reports.
DESCRIPTIONS = {
    Generation.G1: "wasmer-wasi 3.0 to 3.1.1, libc of June 2022",
    Generation.G2: "libc of August 2022 to May 2023",
    Generation.G3: "libc since 24 May 2023: preview 1 for files, WASIX for the rest",
}


def generation_of(info: ModuleInfo) -> Generation:
    """Tell the generation of a module from its imports."""
    names = {item.name for item in info.imports if item.module == MODULE}
    if any(item.module in (PREVIEW1, "wasi") for item in info.imports):
        return Generation.G3
    if names & _SECOND_NAMES or any(name.startswith(_SECOND) for name in names):
        return Generation.G2
    return Generation.G1


def report(info: ModuleInfo) -> str | None:
    """Say in one line what a module was built for; ``None`` for one that is no WASIX module."""
    if not any(item.module == MODULE for item in info.imports):
        return None
    generation = generation_of(info)
    return f"WASIX generation {generation}: {DESCRIPTIONS[generation]}"
