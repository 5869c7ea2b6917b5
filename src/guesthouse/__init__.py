"""Guesthouse: one WebAssembly host for guests of five interfaces.  See docs/architecture.md."""

import importlib
from types import ModuleType

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

#: Submodules that are imported when they are first mentioned.
_LAZY = ("bench", "cli", "errors", "pulp", "server", "testing", "wasix")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"guesthouse.{name}")
    raise AttributeError(f"module 'guesthouse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
