"""Computing on an NVIDIA GPU through the driver API (``cuda-bindings``)."""

from __future__ import annotations

import ctypes
from typing import Any

from cuda.bindings import driver

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.failures import (
    BAD_HANDLE,
    BAD_IMAGE,
    BAD_LAUNCH,
    DEADLINE,
    DEVICE_FAULT,
    NO_KERNEL,
    NOT_RUNNABLE,
    OTHER,
    OUT_OF_MEMORY,
    OUT_OF_RESOURCES,
    SessionError,
)
from guesthouse.resources.gpu.images import CUBIN, FATBIN, PTX, pick
from guesthouse.resources.gpu.wire import STAGING

RUNNABLE = (CUBIN, FATBIN, PTX)

#: Results of the driver as failures of the session (spec fabric.md 10).
FAILURES = {
    1: BAD_LAUNCH,
    2: OUT_OF_MEMORY,
    200: BAD_IMAGE,
    209: NOT_RUNNABLE,
    218: BAD_IMAGE,
    222: BAD_IMAGE,
    500: NO_KERNEL,
    700: DEVICE_FAULT,
    701: OUT_OF_RESOURCES,
    702: DEADLINE,
    **dict.fromkeys(range(714, 720), DEVICE_FAULT),
}


def call(function: Any, *args: Any) -> Any:
    """Call the driver and return its results without the status.

    Raises:
        SessionError: the status is not success.
    """
    status, *results = function(*args)
    if int(status) != 0:
        _, text = driver.cuGetErrorName(status)
        words = text.decode() if isinstance(text, bytes) else str(status)
        raise SessionError(FAILURES.get(int(status), OTHER), f"{function.__name__}: {words}")
    return results[0] if len(results) == 1 else tuple(results)


class CudaDevice:
    """One context with one in-order stream; the process holds no other.

    Args:
        number: which device, from 0.
    """

    def __init__(self, number: int) -> None:
        self._context = open_context(number)
        self._stream = call(driver.cuStreamCreate, driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
        self._modules: dict[int, Any] = {}
        self._count = 0
        self._pinned: set[int] = set()

    def alloc(self, size: int) -> int:
        """Return the address of new zeroed memory."""
        address = call(driver.cuMemAlloc, size)
        call(driver.cuMemsetD8Async, address, 0, size, self._stream)
        call(driver.cuStreamSynchronize, self._stream)
        return int(address)

    def free(self, address: int) -> None:
        """Give memory back after earlier launches, zeroed."""
        self.sync()
        _, size = call(driver.cuMemGetAddressRange, driver.CUdeviceptr(address))
        call(driver.cuMemsetD8, driver.CUdeviceptr(address), 0, size)
        call(driver.cuMemFree, driver.CUdeviceptr(address))

    def write(self, address: int, data: memoryview) -> None:
        """Copy to the device after earlier launches."""
        call(driver.cuMemcpyHtoDAsync, driver.CUdeviceptr(address), self._host(data), len(data), self._stream)
        self.sync()

    def read(self, address: int, into: memoryview) -> None:
        """Copy from the device after earlier launches."""
        call(driver.cuMemcpyDtoHAsync, self._host(into), driver.CUdeviceptr(address), len(into), self._stream)
        self.sync()

    def load(self, image: bytes) -> int:
        """Load PTX, a cubin or a fatbin."""
        kind, data = pick(image, RUNNABLE)
        if kind == PTX:
            data = data.rstrip(b"\0") + b"\0"
        module = call(driver.cuModuleLoadData, data)
        self._count += 1
        self._modules[self._count] = module
        return self._count

    def unload(self, module: int) -> None:
        """Unload a module after what was launched of it."""
        found = self._modules.pop(module, None)
        if found is None:
            raise SessionError(BAD_HANDLE)
        self.sync()
        call(driver.cuModuleUnload, found)

    def launch(self, module: int, kernel: str, launch: Launch) -> None:
        """Check the arguments where the driver can tell the parameters, and queue the launch."""
        found = self._modules.get(module)
        if found is None:
            raise SessionError(BAD_HANDLE)
        function = call(driver.cuModuleGetFunction, found, kernel.encode())
        _check_parameters(function, launch)
        slots = [ctypes.create_string_buffer(data, max(8, len(data))) for data in launch.args]
        pointers = (ctypes.c_void_p * max(1, len(slots)))(*map(ctypes.addressof, slots))
        call(
            driver.cuLaunchKernel,
            function,
            *launch.grid,
            *launch.block,
            launch.shared,
            self._stream,
            ctypes.addressof(pointers),
            0,
        )

    def step(self) -> bool:
        """Nothing to do here: the device works by itself."""
        return False

    def sync(self) -> None:
        """Wait for every launch, and report what failed."""
        call(driver.cuStreamSynchronize, self._stream)

    def _host(self, view: memoryview) -> int:
        """Address of staging memory, pinned at its first use so that copies need no bounce buffer."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        base = address & ~4095
        if base not in self._pinned and base == address:
            self._pinned.add(base)
            # Pinning is a matter of speed alone: without it copies work all the same.
            driver.cuMemHostRegister(base, STAGING, 0)
        return address


def open_context(number: int) -> Any:
    """Make the device's primary context this thread's.

    Its process has no other, and every version of the bindings asks for it in the same way.
    """
    call(driver.cuInit, 0)
    device = call(driver.cuDeviceGet, number)
    call(driver.cuDevicePrimaryCtxSetFlags, device, driver.CUctx_flags.CU_CTX_SCHED_BLOCKING_SYNC)
    context = call(driver.cuDevicePrimaryCtxRetain, device)
    call(driver.cuCtxSetCurrent, context)
    return context


def _check_parameters(function: Any, launch: Launch) -> None:
    """Compare the arguments with the kernel's parameters, where the driver can report them (12.4)."""
    sizes: list[int] = []
    try:
        while True:
            status, _offset, size = driver.cuFuncGetParamInfo(function, len(sizes))
            if int(status) != 0:
                break
            sizes.append(int(size))
    except (AttributeError, RuntimeError):  # the bindings, or the driver, are older than that
        return
    # An invalid value tells that there is no such parameter; anything else, that the driver cannot say.
    if int(status) == 1 and sizes != [len(data) for data in launch.args]:
        raise SessionError(
            BAD_LAUNCH, f"the kernel takes arguments of {sizes} bytes, not {list(map(len, launch.args))}"
        )
