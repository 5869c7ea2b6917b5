"""What there is to compute with on this machine, found without touching it from this process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache

import msgspec

from guesthouse.errors import ResourceError
from guesthouse.resources.gpu.pool import DeviceInfo
from guesthouse.resources.gpu.process import environment

#: Bytes of memory to lease on a device that computes on the CPU.
CPU_VRAM = 1 << 30
_PROBE_SECONDS = 60
#: A driver is asked in another process: initialising it costs memory, threads and signal handlers.
_CUDA_PROBE = """
import json
from cuda.bindings import driver
found = []
status, *_ = driver.cuInit(0)
if int(status) == 0:
    for number in range(int(driver.cuDeviceGetCount()[1])):
        device = driver.cuDeviceGet(number)[1]
        name = driver.cuDeviceGetName(128, device)[1].split(b"\\0")[0].decode()
        found.append((name, int(driver.cuDeviceTotalMem(device)[1])))
print(json.dumps(found))
"""

_OPENCL_PROBE = "from guesthouse.resources.gpu.opencl import open_context; open_context()"


def devices(backend: str, vram: int | None = None) -> tuple[DeviceInfo, ...]:
    """Return what can be leased.

    Args:
        backend: ``cuda``, ``opencl``, ``cpu``, ``off``, or ``auto`` for the first that works, in the order
            CUDA, CPU.
        vram: bytes of each device to lease; by default all of a GPU, and 1 GiB elsewhere.

    Raises:
        ResourceError: the backend that was asked for does not work here; it says why.
    """
    if backend == "auto":
        return _cuda(vram) or (_on_cpu("cpu", vram) if _has("numpy") else ())
    if backend not in _BACKENDS:
        raise ResourceError(
            f"no backend {backend!r}; there are: auto, {', '.join(_BACKENDS)}", resource="gpu"
        )
    found = _BACKENDS[backend](vram)
    if not found and backend != "off":
        raise ResourceError(f"{backend} does not work here: {why_not(backend)}", resource="gpu")
    return found


def why_not(backend: str) -> str:
    """Say what is missing for a backend, or that nothing is."""
    if backend == "cuda":
        if not _has("cuda.bindings"):
            return "the package cuda-bindings is not installed (pip install 'guesthouse[gpu]')"
        return _ask_cuda()[1] or "no device"
    if backend == "opencl":
        if not _has("pyopencl"):
            return "the package pyopencl is not installed (pip install 'guesthouse[opencl]')"
        return _ask_opencl()
    return "" if _has("numpy") else "the package numpy is not installed (pip install 'guesthouse[gpu]')"


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@cache
def _ask_cuda() -> tuple[tuple[tuple[str, int], ...], str]:
    """Devices with their memory, and else what the driver said."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CUDA_PROBE],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return (), "the driver does not answer"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return (), lines[-1] if lines else f"the probe ended with {done.returncode}"
    found = msgspec.json.decode(done.stdout)
    return tuple((name, memory) for name, memory in found), "" if found else "no device"


def _cuda(vram: int | None) -> tuple[DeviceInfo, ...]:
    if not _has("cuda.bindings"):
        return ()
    return tuple(
        DeviceInfo(name, "cuda", number, min(vram or memory, memory))
        for number, (name, memory) in enumerate(_ask_cuda()[0])
    )


def _opencl(vram: int | None) -> tuple[DeviceInfo, ...]:
    return _on_cpu("opencl", vram) if _has("pyopencl") and not _ask_opencl() else ()


@cache
def _ask_opencl() -> str:
    """What keeps OpenCL from working, asked in another process; nothing if it works."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _OPENCL_PROBE],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return "the platform does not answer"
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the probe ended with {done.returncode}"


def _on_cpu(backend: str, vram: int | None) -> tuple[DeviceInfo, ...]:
    return (DeviceInfo(f"{os.cpu_count()} CPUs", backend, 0, vram or CPU_VRAM),)


_BACKENDS: dict[str, Callable[[int | None], tuple[DeviceInfo, ...]]] = {
    "cuda": _cuda,
    "opencl": _opencl,
    "cpu": lambda vram: _on_cpu("cpu", vram) if _has("numpy") else (),
    "off": lambda _: (),
}
