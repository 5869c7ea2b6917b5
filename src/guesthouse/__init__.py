"""Guesthouse: one WebAssembly host for guests of five interfaces.  See docs/architecture.md."""

from guesthouse.capabilities import Capability, capability, f32, f64, host_function, i32, i64, s32, s64
from guesthouse.limits import Limits
from guesthouse.registry import Registry

__all__ = [
    "Capability", "Limits", "Registry", "capability", "f32", "f64", "host_function", "i32", "i64",
    "s32", "s64",
]  # fmt: skip
