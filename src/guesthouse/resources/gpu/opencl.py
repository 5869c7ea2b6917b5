"""Computing with OpenCL C; on the CPU through PoCL where there is no GPU.

Device memory is shared virtual memory, so that an 8-byte pointer argument is a real address.  Kernels are
native code: pointer arguments are checked to lie inside the session's allocations, and the process is the
fence around everything else.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from pathlib import Path
from typing import Any

import pyopencl as cl

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.failures import (
    BAD_HANDLE,
    BAD_IMAGE,
    BAD_LAUNCH,
    DEVICE_FAULT,
    NO_KERNEL,
    OUT_OF_MEMORY,
    SessionError,
)
from guesthouse.resources.gpu.images import OPENCL, pick

RUNNABLE = (OPENCL,)
_ALIGN = 256


warnings.simplefilter("ignore", cl.CompilerWarning)


def open_context() -> Any:
    """A context on the first device that has fine-grained shared virtual memory and a compiler that works.

    Raises:
        RuntimeError: there is none, and why.
    """
    wanted = cl.device_svm_capabilities.FINE_GRAIN_BUFFER
    reason = "no platform is installed"
    for platform in cl.get_platforms():
        for device in platform.get_devices():
            if not device.svm_capabilities & wanted:
                reason = f"{device.name} has no fine-grained shared virtual memory"
                continue
            context = cl.Context([device])
            try:
                cl.Program(context, "__kernel void nothing(void) {}").build()
            except cl.Error:  # such as a compiler that is older than the processor
                reason = (
                    f"the compiler of {platform.name} does not work on {device.name}; "
                    "another platform may (docs/gpu.md)"
                )
                continue
            return context
    raise RuntimeError(reason)


@functools.cache
def _library() -> ctypes.CDLL:
    """The OpenCL library that pyopencl has loaded: the bindings set no pointers to inside an allocation."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return ctypes.CDLL({line.split(maxsplit=5)[5] for line in lines if "libOpenCL" in line}.pop())


class OpenClDevice:
    """One context with one in-order queue.

    Args:
        capacity: bytes that the session may allocate; the session keeps to it.
    """

    def __init__(self, capacity: int) -> None:
        self._context = open_context()
        self._queue = cl.CommandQueue(self._context)
        self._memory: dict[int, tuple[Any, int]] = {}
        self._modules: dict[int, Any] = {}
        self._count = 0

    def alloc(self, size: int) -> int:
        """Return the address of new zeroed memory."""
        flags = cl.svm_mem_flags.READ_WRITE | cl.svm_mem_flags.SVM_FINE_GRAIN_BUFFER
        try:  # implementations align to less than is promised here
            block = cl.SVMAllocation(self._context, size + _ALIGN, 0, flags)
        except cl.Error as error:
            raise SessionError(OUT_OF_MEMORY, str(error)) from None
        address: int = -(-block.svm_ptr // _ALIGN) * _ALIGN
        ctypes.memset(address, 0, size)
        self._memory[address] = (block, size)
        return address

    def free(self, address: int) -> None:
        """Give memory back after earlier launches, zeroed."""
        self.sync()
        block, size = self._memory.pop(address)
        ctypes.memset(address, 0, size)
        block.release()

    def write(self, address: int, data: memoryview) -> None:
        """Copy to the device after earlier launches."""
        self.sync()
        ctypes.memmove(address, bytes(data), len(data))

    def read(self, address: int, into: memoryview) -> None:
        """Copy from the device after earlier launches."""
        self.sync()
        into[:] = ctypes.string_at(address, len(into))

    def load(self, image: bytes) -> int:
        """Compile OpenCL C."""
        _, data = pick(image, RUNNABLE)
        try:
            source = data.rstrip(b"\0").decode()
            program = cl.Program(self._context, source).build(["-cl-kernel-arg-info", "-cl-std=CL2.0"])
        except UnicodeDecodeError:
            raise SessionError(BAD_IMAGE, "no text") from None
        except cl.Error as error:
            raise SessionError(BAD_IMAGE, str(error)[:500]) from None
        self._count += 1
        self._modules[self._count] = program
        return self._count

    def unload(self, module: int) -> None:
        """Drop a module after what was launched of it."""
        if self._modules.pop(module, None) is None:
            raise SessionError(BAD_HANDLE)
        self.sync()

    def launch(self, module: int, kernel: str, launch: Launch) -> None:
        """Set the arguments, pointers checked, and queue the launch."""
        program = self._modules.get(module)
        if program is None:
            raise SessionError(BAD_HANDLE)
        if kernel not in program.kernel_names.split(";"):
            raise SessionError(NO_KERNEL, repr(kernel))
        function = cl.Kernel(program, kernel)
        self._bind(function, launch)
        size = [grid * block for grid, block in zip(launch.grid, launch.block, strict=True)]
        try:
            cl.enqueue_nd_range_kernel(self._queue, function, tuple(size), launch.block)
            self._queue.flush()
        except cl.Error as error:
            raise SessionError(BAD_LAUNCH, str(error)) from None

    def _bind(self, function: Any, launch: Launch) -> None:
        """Set every argument; a local one takes the dynamic shared memory and none of the guest's."""
        given = list(launch.args)
        for index in range(function.num_args):
            qualifier = function.get_arg_info(index, cl.kernel_arg_info.ADDRESS_QUALIFIER)
            if qualifier == cl.kernel_arg_address_qualifier.LOCAL:
                function.set_arg(index, cl.LocalMemory(max(1, launch.shared)))
                continue
            if not given:
                raise SessionError(BAD_LAUNCH, f"{function.num_args} arguments are needed")
            data = given.pop(0)
            if qualifier == cl.kernel_arg_address_qualifier.PRIVATE:
                self._set_value(function, index, data)
            else:
                self._set_pointer(function, index, data)
        if given:
            raise SessionError(BAD_LAUNCH, f"{len(given)} arguments too many")

    @staticmethod
    def _set_value(function: Any, index: int, data: bytes) -> None:
        try:
            function.set_arg(index, data)
        except (cl.Error, ValueError, TypeError) as error:
            raise SessionError(BAD_LAUNCH, f"argument {index}: {error}") from None

    def _set_pointer(self, function: Any, index: int, data: bytes) -> None:
        """Set a pointer argument, which has to lie inside the session's memory."""
        address = int.from_bytes(data, "little")
        if len(data) != 8:
            raise SessionError(BAD_LAUNCH, f"argument {index} is a pointer of {len(data)} bytes")
        if not any(start <= address < start + size for start, (_, size) in self._memory.items()):
            raise SessionError(BAD_LAUNCH, f"argument {index} points outside the session's memory")
        status = _library().clSetKernelArgSVMPointer(
            ctypes.c_void_p(function.int_ptr), ctypes.c_uint(index), ctypes.c_void_p(address)
        )
        if status:
            raise SessionError(BAD_LAUNCH, f"argument {index}: OpenCL error {status}")

    def step(self) -> bool:
        """Nothing to do here: the queue works by itself."""
        return False

    def sync(self) -> None:
        """Wait for every launch."""
        try:
            self._queue.finish()
        except cl.Error as error:
            raise SessionError(DEVICE_FAULT, str(error)) from None
