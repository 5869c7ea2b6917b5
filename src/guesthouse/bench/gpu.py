"""What a GPU session costs beside the bare driver: copies and launches, through its process and without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guesthouse.bench.measure import Operation
from guesthouse.resources.gpu.pool import DeviceInfo, Gpu
from guesthouse.resources.gpu.session import Session
from guesthouse.resources.leases.clock import LeaseClock

SIZE = 8 << 20
_DIMS = (1, 1, 1, 32, 1, 1, 0)
NOTHING = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry nothing() { ret; }
"""


@contextmanager
def session(device: DeviceInfo) -> Iterator[Session]:
    """Yield a session on a device."""
    gpu = Gpu(LeaseClock(), [device])
    try:
        lease = gpu.lease("bench", 0, 4 * SIZE, 600)
        yield gpu.session("bench", lease.id)
    finally:
        gpu.close()


def ours(held: Session) -> dict[str, Operation]:
    """Copying 8 MiB there and back, and launching a kernel that does nothing."""
    pointer, module, data = held.alloc(SIZE), held.load(NOTHING), bytes(SIZE)

    def launch() -> None:
        held.launch(module, b"nothing", _DIMS, ())
        held.sync()

    return {
        "write": _repeat(lambda: held.write(pointer, 0, data)),
        "read": _repeat(lambda: held.read(pointer, 0, SIZE)),
        "launch": _repeat(launch),
    }


def plain() -> dict[str, Operation]:
    """The same with the driver's bindings alone, in this process."""
    from cuda.bindings import driver

    from guesthouse.resources.gpu.cuda import call, open_context

    open_context(0)
    pointer, host = call(driver.cuMemAlloc, SIZE), bytearray(SIZE)
    stream = call(driver.cuStreamCreate, 1)
    function = call(driver.cuModuleGetFunction, call(driver.cuModuleLoadData, NOTHING + b"\0"), b"nothing")

    def launch() -> None:
        call(driver.cuLaunchKernel, function, *_DIMS, stream, 0, 0)
        call(driver.cuStreamSynchronize, stream)

    return {
        "write": _repeat(lambda: call(driver.cuMemcpyHtoD, pointer, bytes(host), SIZE)),
        "read": _repeat(lambda: call(driver.cuMemcpyDtoH, host, pointer, SIZE)),
        "launch": _repeat(launch),
    }


def _repeat(action: Any) -> Operation:
    def operation(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            action()
        return time.perf_counter() - begun

    return operation
