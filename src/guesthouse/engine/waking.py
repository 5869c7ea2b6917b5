"""Wakes threads that sleep in ``memory.atomic.wait``: the one thing that no cancellation reaches.

The engine offers no call for it, so a module of a few instructions imports the same shared memory and
notifies every aligned word of it.  Who is woken finds out at once that its call is over.
"""

from __future__ import annotations

import functools
import threading
import weakref

import wasmtime

from guesthouse.engine.compile import Module
from guesthouse.engine.linker import SharedMemory, Template
from guesthouse.engine.modules import read
from guesthouse.engine.text import wat_to_wasm
from guesthouse.engine.variants import Variant

_NOTIFIER = """
(module
  (import "shared" "memory" (memory 0 65536 shared))
  (func (export "sweep") (local $at i64) (local $end i64)
    (local.set $end (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
    (block $done
      (loop $next
        (br_if $done (i64.ge_u (local.get $at) (local.get $end)))
        (drop (memory.atomic.notify (i32.wrap_i64 (local.get $at)) (i32.const -1)))
        (local.set $at (i64.add (local.get $at) (i64.const 4)))
        (br $next)))))
"""

_lock = threading.Lock()
_modules: weakref.WeakKeyDictionary[Variant, Module] = weakref.WeakKeyDictionary()


@functools.cache
def _wasm() -> bytes:
    return wat_to_wasm(_NOTIFIER)


def _module(variant: Variant) -> Module:
    with _lock:
        found = _modules.get(variant)
        if found is None:
            wasm = _wasm()
            compiled = wasmtime.Module(variant.engine, wasm)
            found = _modules[variant] = Module(read(wasm), variant, compiled, None, False)
        return found


def notifier(shared: SharedMemory) -> Template:
    """Return what :func:`wake_all` needs; keep it, to wake the same memory again."""
    return _module(shared.variant).link({}, shared=shared)


def wake_all(template: Template) -> None:
    """Wake every thread that waits on an address of the memory, in about 2 ms per MiB.

    Args:
        template: what :func:`notifier` returned for the memory.
    """
    with template.open() as instance:
        instance.start()
        instance.invoke("sweep")
