"""The process of one GPU session; arguments: backend, socket, lifeline, shared memory, bytes, device.

A kernel can do no harm beyond it: a fault poisons a context, and a pointer of a kernel may reach the whole
address space of its process (spec fabric.md 10).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
from typing import Any

from guesthouse.resources.gpu import wire
from guesthouse.resources.gpu.contract import Device, Launch
from guesthouse.resources.gpu.failures import OTHER, OUT_OF_MEMORY, SessionError

_F_SETSIG = 10
#: Address space for the interpreter, libraries and arrays, beside the session's memory.
_HEADROOM = 4 << 30


def open_device(backend: str, capacity: int, number: int) -> Device:
    """Open what computes: ``cpu``, ``opencl`` or ``cuda``.

    Args:
        backend: which.
        capacity: bytes of memory.
        number: which device of the machine, from 0.
    """
    if backend == "cuda":
        from guesthouse.resources.gpu.cuda import CudaDevice

        return CudaDevice(number)
    if backend == "opencl":
        from guesthouse.resources.gpu.opencl import OpenClDevice

        return OpenClDevice(capacity)
    from guesthouse.resources.gpu.cpu import CpuDevice

    return CpuDevice(capacity)


def perform(device: Device, staging: memoryview, operation: str, args: list[Any]) -> Any:
    """Do one request."""
    if operation in {"read", "write"}:
        address, length = args
        return getattr(device, operation)(address, staging[:length])
    if operation == "launch":
        module, kernel, grid, block, shared, values = args
        device.launch(module, kernel, Launch(tuple(grid), tuple(block), shared, values))
        return None
    if operation in {"alloc", "free", "load", "unload", "sync"}:
        return getattr(device, operation)(*args)
    raise SessionError(OTHER, operation)


def answer(device: Device, staging: memoryview, operation: str, args: list[Any]) -> tuple[int, Any]:
    """Do one request: 0 and its result, or the number of its failure and words."""
    try:
        return 0, perform(device, staging, operation, args)
    except SessionError as error:
        return error.failure, error.detail
    except MemoryError:
        return OUT_OF_MEMORY, "the session's process is out of memory"
    except Exception as error:  # noqa: BLE001 - the session fails, its process explains
        return OTHER, repr(error)


def serve(link: socket.socket, device: Device, staging: memoryview) -> None:
    """Answer requests until the host goes away; queued work is done in between."""
    while True:
        while not wire.ready(link) and device.step():
            pass
        operation, args = wire.receive(link)
        outcome = answer(device, staging, operation, args)
        if operation == "write":  # no guest bytes stay behind; before the host may use it again
            staging[: args[1]] = wire.ZEROS[: args[1]]
        wire.send(link, outcome)


def tie(lifeline: int) -> None:
    """Have the kernel kill this process when the host ends, however that ends and whatever runs here.

    The host alone holds the other end of a pipe; its closing is a signal. (The signal for a parent's death
    would come when the *thread* that started us ends.)
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return
    raise SystemExit(0)  # it was gone before the signal was asked for


def main(arguments: list[str]) -> int:
    """Open the device, say how that went, and serve."""
    backend, descriptor, lifeline, memory, capacity, number = arguments[0], *map(int, arguments[1:])
    tie(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if backend == "cpu":
        room = 3 * capacity + _HEADROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    link = socket.socket(fileno=descriptor)
    staging = memoryview(mmap.mmap(memory, wire.STAGING))
    try:
        device = open_device(backend, capacity, number)
    except Exception as error:  # noqa: BLE001 - told to the host, which decides
        wire.send(link, (OTHER, repr(error)))
        return 1
    wire.send(link, (0, None))
    try:
        serve(link, device, staging)
    except wire.Closed:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
