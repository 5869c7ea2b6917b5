"""A round trip of every value type through the engine, once, before the first engine is made.

The data plane calls the engine's C interface with prototypes of its own.  A wheel whose layout differs
must be found out before a guest is run with it (DESIGN section 3, item 12).
"""

from __future__ import annotations

import threading

from guesthouse.engine import wheel
from guesthouse.engine.compile import Module
from guesthouse.engine.functions import Constant, HostFunction
from guesthouse.engine.modules import read
from guesthouse.engine.text import wat_to_wasm
from guesthouse.engine.variants import Kind, Variant
from guesthouse.errors import CallError, ResourceError

MODULE = """
(module
  (import "t" "python" (func $python (param i32 i64 f32 f64) (result i64)))
  (import "t" "constant" (func $constant (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 65532) "last")
  (func (export "python") (param i32 i64 f32 f64) (result i64)
    (call $python (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "constant") (result i32) (call $constant))
  (func (export "back") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0)))
"""

NUMBERS = (0x80000001, 0x8000000000000001, 1.5, -2.25)


_LOCK = threading.Lock()
_passed = False


def check() -> None:
    """Run the round trip, unless it was run with success before.

    Raises:
        ImportError: a value came back changed; the installed wheel is not one that this code knows.
        ResourceError: this process cannot run guests: it has too little stack, or may start no thread.
    """
    global _passed
    with _LOCK:
        if not _passed:
            try:
                _round_trip()
            except CallError as error:
                reason = getattr(error, "reason", error.message)
                raise ResourceError(f"it cannot run here: {reason}", resource="engine") from None
            _passed = True


def _round_trip() -> None:
    seen: list[tuple[object, ...]] = []

    def python(call: object, *numbers: object) -> int:
        seen.append(numbers)
        return 0xFEDCBA9876543210

    # With as little address space as it can do with: whether there is enough for guests is told at load.
    variant = Variant(Kind(pooled=False, room=1 << 20), slots=1, parallel=False)
    module = Module(read(wat_to_wasm(MODULE)), variant, variant.compile(wat_to_wasm(MODULE)), None, False)
    template = module.link(
        {
            ("t", "python"): HostFunction("", "t", "python", "iIfF", "I", python, "Self-test."),
            ("t", "constant"): HostFunction("", "t", "constant", "", "i", Constant(-7), "Self-test."),
        }
    )
    with template.open() as instance:
        instance.start()
        found = (
            instance.invoke("python", *NUMBERS),
            instance.invoke("constant"),
            instance.invoke("back", *NUMBERS),
            instance.read(65532, 4),
            instance.memory_size,
            seen,
        )
    variant.close()
    expected = (0xFEDCBA9876543210, 0xFFFFFFF9, NUMBERS[::-1], b"last", 65536, [NUMBERS])
    if found != expected:
        raise ImportError(
            f"wasmtime {wheel.version()} does not pass values as this version of Guesthouse expects; "
            f"install 'wasmtime>={wheel.SUPPORTED.start},<{wheel.SUPPORTED.stop}'"
        )
