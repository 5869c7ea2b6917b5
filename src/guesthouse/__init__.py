"""Guesthouse: one WebAssembly host for guests of five interfaces.  See docs/architecture.md.

What is listed in ``__all__`` is imported when it is first used: most of it leads to the engine, and a command
line that is interrupted before it has begun should not have to be inside of an import by then.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guesthouse.calls import Call, CallLimits, Outcome, Receipt, Result
    from guesthouse.capabilities import Capability, capability, f32, f64, host_function, i32, i64, s32, s64
    from guesthouse.errors import (
        CallError,
        CallRefused,
        Cancelled,
        DeadlineExceeded,
        Error,
        GuestFailed,
        InputLimit,
        InvalidModule,
        LoadError,
        ManifestError,
        MemoryLimit,
        MissingImports,
        NotFound,
        OutOfFuel,
        OutputLimit,
        PoolFull,
        ResourceError,
        Trap,
        UnknownCapability,
        UnknownOption,
        WrongImportType,
    )
    from guesthouse.guest import Exit, Guest
    from guesthouse.host import Host
    from guesthouse.limits import Limits
    from guesthouse.registry import Registry

__all__ = [
    "Call", "CallLimits", "Capability", "Exit", "Guest", "Host", "Limits", "Outcome", "Receipt", "Registry",
    "Result", "capability", "f32", "f64", "host_function", "i32", "i64", "s32", "s64",
    "CallError", "CallRefused", "Cancelled", "DeadlineExceeded", "Error", "GuestFailed", "InputLimit",
    "InvalidModule", "LoadError", "ManifestError", "MemoryLimit", "MissingImports", "NotFound", "OutOfFuel",
    "OutputLimit", "PoolFull", "ResourceError", "Trap", "UnknownCapability", "UnknownOption",
    "WrongImportType",
]  # fmt: skip

#: Modules that define what is listed above; names of errors are the rest.
_HOMES = {
    "calls": ("Call", "CallLimits", "Outcome", "Receipt", "Result"),
    "capabilities": ("Capability", "capability", "f32", "f64", "host_function", "i32", "i64", "s32", "s64"),
    "guest": ("Exit", "Guest"),
    "host": ("Host",),
    "limits": ("Limits",),
    "registry": ("Registry",),
}
_HOME = dict.fromkeys(__all__, "errors") | {name: home for home, names in _HOMES.items() for name in names}

#: Submodules that need no import of their own.
_SUBMODULES = ("bench", "cli", "errors", "pulp", "server", "testing", "wasix")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = globals()[name] = getattr(importlib.import_module(f"guesthouse.{_HOME[name]}"), name)
        return found
    if name in _SUBMODULES:
        return importlib.import_module(f"guesthouse.{name}")
    raise AttributeError(f"module 'guesthouse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
