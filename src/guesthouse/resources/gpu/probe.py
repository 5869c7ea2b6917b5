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
#: Drivers and platforms are asked in another process: to initialise them costs memory, threads and signal
#: handlers. Each probe prints the devices, as names and bytes, and what keeps it from working.
_CUDA_PROBE = """
import json
from cuda.bindings import driver

def ask():
    try:
        status, = driver.cuInit(0)
    except RuntimeError:
        return [], "NVIDIA's driver (libcuda.so.1) is not installed"
    if int(status):
        return [], "cuInit: " + driver.cuGetErrorName(status)[1].decode()
    found = []
    for number in range(driver.cuDeviceGetCount()[1]):
        device = driver.cuDeviceGet(number)[1]
        name = driver.cuDeviceGetName(128, device)[1].split(b"\\0")[0].decode()
        found.append((name, driver.cuDeviceTotalMem(device)[1]))
    return found, "" if found else "the driver knows of no device"

print(json.dumps(ask()))
"""
_OPENCL_PROBE = """
import json
from guesthouse.resources.gpu.opencl import open_context

def ask():
    try:
        device = open_context().devices[0]
    except RuntimeError as error:
        return [], str(error)
    return [(device.platform.name + ", " + device.name, 0)], ""

print(json.dumps(ask()))
"""


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
        return _cuda(vram) or _cpu(vram)
    if backend not in _BACKENDS:
        raise ResourceError(
            f"no backend {backend!r}; there are: auto, {', '.join(_BACKENDS)}", resource="gpu"
        )
    found = _BACKENDS[backend](vram)
    if not found and backend != "off":
        raise ResourceError(f"{backend} does not work here: {why_not(backend)}", resource="gpu")
    return found


def why_not(backend: str) -> str:
    """Say what keeps a backend from working here; nothing if it works."""
    if backend == "cuda":
        if not _has("cuda.bindings"):
            return "the package cuda-bindings is not installed (pip install 'guesthouse[gpu]')"
        return _ask(_CUDA_PROBE)[1]
    if backend == "opencl":
        if not _has("pyopencl"):
            return "the package pyopencl is not installed (pip install 'guesthouse[opencl]')"
        return _ask(_OPENCL_PROBE)[1]
    if backend == "off" or _has("numpy"):
        return ""
    return "the package numpy is not installed (pip install 'guesthouse[gpu]')"


def forget() -> None:
    """Ask again at the next question: something was installed, or the environment has changed."""
    _ask.cache_clear()


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@cache
def _ask(script: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """Devices with their memory, and what keeps them from working."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return (), f"no answer in {_PROBE_SECONDS} seconds"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return (), lines[-1] if lines else f"the probe ended with {done.returncode}"
    found, reason = msgspec.json.decode(done.stdout)
    return tuple((name, memory) for name, memory in found), reason


def _cuda(vram: int | None) -> tuple[DeviceInfo, ...]:
    if not _has("cuda.bindings"):
        return ()
    return tuple(
        DeviceInfo(name, "cuda", number, min(vram or memory, memory))
        for number, (name, memory) in enumerate(_ask(_CUDA_PROBE)[0])
    )


def _opencl(vram: int | None) -> tuple[DeviceInfo, ...]:
    if not _has("pyopencl"):
        return ()
    return tuple(DeviceInfo(name, "opencl", 0, vram or CPU_VRAM) for name, _ in _ask(_OPENCL_PROBE)[0])


def _cpu(vram: int | None) -> tuple[DeviceInfo, ...]:
    return (DeviceInfo(f"{os.cpu_count()} CPUs", "cpu", 0, vram or CPU_VRAM),) if _has("numpy") else ()


_BACKENDS: dict[str, Callable[[int | None], tuple[DeviceInfo, ...]]] = {
    "cuda": _cuda,
    "opencl": _opencl,
    "cpu": _cpu,
    "off": lambda _: (),
}
