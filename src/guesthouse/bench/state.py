"""Shared state and snapshots: what a pointer, a partial push and a large start image cost."""

from __future__ import annotations

import time
from collections.abc import Callable

from guesthouse.engine import Engine, Template, read, wat_to_wasm
from guesthouse.engine.snapshot import freeze, instrument
from guesthouse.host import Host
from guesthouse.limits import Limits

#: Maps the value that its entry names and reads one byte of it.
_READER = """(module
  (import "env" "__faasm_read_state_ptr" (func $map (param i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "small\\00") (data (i32.const 16) "large\\00")
  (func (export "small") (drop (i32.load8_u (call $map (i32.const 0) (i32.const 1000000)))))
  (func (export "large") (drop (i32.load8_u (call $map (i32.const 16) (i32.const 100000000)))))
  (func (export "_start")))"""

#: Fills 64 MiB, or leaves them alone; then touches one page.
_LARGE = """(module (memory 1024)
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000000)))
  (func (export "plain"))
  (func (export "touch") (i32.store (i32.const 0x1000000) (i32.const 1))))"""

_TENANT = "default"


def open_host() -> Host:
    """Return a host with the reader, and a value of 1 MB and one of 100 MB that were fetched."""
    host = Host(workers=1, limits=Limits(wall=None, memory="256MiB"))
    host.load(wat_to_wasm(_READER), name="reader", grant=["faasm.state"])
    for key, size in ((b"small", 1_000_000), (b"large", 100_000_000)):
        host.service("state").put(_TENANT, key, bytes(size))
    return host


def pointer(host: Host, which: str) -> Callable[[int], float]:
    """Return what takes the time of `n` cold calls that map a whole value.

    Args:
        host: from :func:`open_host`.
        which: ``small`` or ``large``.
    """
    guest = host.guest("reader")

    def spend(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            guest.call(entry=which)
        return time.perf_counter() - begun

    return spend


def moved_by_a_partial_push(host: Host) -> float:
    """Return the bytes that the push of one changed byte of 100 MB moves."""
    store = host.service("state")
    session = store.session(_TENANT, 1)
    before = store.usage(_TENANT)["pushed"]
    session.write_range(b"large", 100_000_000, 50_000_000, b"x")
    session.push_partial(b"large")
    moved: int = store.usage(_TENANT)["pushed"] - before
    return float(moved)


def snapshot(engine: Engine, initialiser: str) -> Template:
    """Return the template of a snapshot that was taken after an initialiser: ``fill`` or ``plain``."""
    wasm = wat_to_wasm(_LARGE)
    info = read(wasm)
    with engine.compile(instrument(wasm, info)).link({}).open() as instance:
        instance.start()
        instance.invoke(initialiser)
        frozen = freeze(wasm, info, instance)
    return engine.compile(frozen).link({})


def starts(template: Template) -> Callable[[int], float]:
    """Return what takes the time of `n` instances that touch one page."""

    def spend(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with template.open() as instance:
                instance.start()
                instance.invoke("touch")
        return time.perf_counter() - begun

    return spend
