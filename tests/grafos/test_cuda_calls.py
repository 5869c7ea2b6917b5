"""How the CUDA backend talks to the driver, checked against a stand-in: no device is needed, and none is shown.

What a real device does with these calls is for the cases in test_cases_gpu.py, on a machine that has one.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from types import SimpleNamespace

import pytest

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.failures import SessionError

cuda = pytest.importorskip("guesthouse.resources.gpu.cuda", reason="cuda-bindings is not installed")
STAGING = 1 << 16


class Driver:
    """Answers like the driver's bindings; memory is host memory, and a kernel writes its arguments down."""

    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUctx_flags = SimpleNamespace(CU_CTX_SCHED_BLOCKING_SYNC=4)
    CUdeviceptr = int

    def __init__(self):
        self.status, self.at = 0, ""
        self.memory, self.launches, self.sizes = {}, [], [8, 4]

    def answer(self, name, *results):
        status = self.status if name == self.at else 0
        return (status, *results) if status == 0 else (status, *(None for _ in results))

    def __getattr__(self, name):  # what needs no answer of its own
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*args):
            return (
                self.answer(name, f"{name} result")
                if "Create" in name or "Get" in name
                else self.answer(name)
            )

        call.__name__ = name
        return call

    def cuGetErrorName(self, status):
        return 0, b"CUDA_ERROR_%d" % status

    def cuMemAlloc(self, size):
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return self.answer("cuMemAlloc", ctypes.addressof(buffer))

    def cuMemsetD8Async(self, address, value, size, stream):
        ctypes.memset(address, value, size)
        return self.answer("cuMemsetD8Async")

    def cuMemsetD8(self, address, value, size):
        return self.cuMemsetD8Async(address, value, size, None)

    def cuMemGetAddressRange(self, address):
        return 0, address, len(self.memory[address])

    def cuMemFree(self, address):
        assert not any(self.memory.pop(address).raw)  # scrubbed before it goes
        return self.answer("cuMemFree")

    def cuMemcpyHtoDAsync(self, address, host, size, stream):
        ctypes.memmove(address, host, size)
        return self.answer("cuMemcpyHtoDAsync")

    def cuMemcpyDtoHAsync(self, host, address, size, stream):
        ctypes.memmove(host, address, size)
        return self.answer("cuMemcpyDtoHAsync")

    def cuModuleLoadData(self, image):
        assert image.endswith(b"\0")
        return self.answer("cuModuleLoadData", "module")

    def cuFuncGetParamInfo(self, function, index):
        return (0, 0, self.sizes[index]) if index < len(self.sizes) else (1, 0, 0)

    def cuLaunchKernel(self, function, *rest):
        *dims, _stream, params, _extra = rest
        pointers = (ctypes.c_void_p * len(self.sizes)).from_address(params)
        args = [ctypes.string_at(pointer, size) for pointer, size in zip(pointers, self.sizes, strict=True)]
        self.launches.append((tuple(dims), args))
        return self.answer("cuLaunchKernel")


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(cuda, "driver", made)
    return made


@pytest.fixture
def device(driver):
    return cuda.CudaDevice(0)


@pytest.fixture
def staging():
    return memoryview(mmap.mmap(-1, STAGING))


PTX = b".version 7.0\n.target sm_50\n"


def test_memory_is_zeroed_at_both_ends_and_copied_through_staging(device, driver, staging):
    address = device.alloc(300)
    assert driver.memory[address].raw == bytes(300)
    staging[:5] = b"hello"
    device.write(address, staging[:5])
    staging[:5] = bytes(5)
    device.read(address, staging[:5])
    assert bytes(staging[:5]) == b"hello"
    device.free(address)
    assert driver.memory == {}


def test_arguments_reach_the_kernel_one_by_one(device, driver):
    module = device.load(PTX)
    args = [struct.pack("<Q", 2**63), struct.pack("<I", 7)]
    device.launch(module, "k", Launch((1, 2, 3), (4, 5, 6), 7, args))
    assert driver.launches == [((1, 2, 3, 4, 5, 6, 7), args)]
    for wrong in (args[:1], [*args, b"x"], [args[1], args[0]]):
        with pytest.raises(SessionError) as caught:
            device.launch(module, "k", Launch((1, 1, 1), (1, 1, 1), 0, wrong))
        assert caught.value.failure == 5
    device.unload(module)
    with pytest.raises(SessionError) as caught:
        device.launch(module, "k", Launch((1, 1, 1), (1, 1, 1), 0, args))
    assert caught.value.failure == 1


@pytest.mark.parametrize(
    ("status", "failure"),
    [(1, 5), (2, 6), (200, 2), (209, 3), (218, 2), (222, 2), (500, 4), (700, 8), (701, 7), (702, 9)]
    + [(status, 8) for status in range(714, 720)]
    + [(999, 255)],
)
def test_the_drivers_results_become_failures_of_the_session(device, driver, status, failure):
    driver.status, driver.at = status, "cuStreamSynchronize"
    with pytest.raises(SessionError, match=f"cuStreamSynchronize: CUDA_ERROR_{status}") as caught:
        device.sync()
    assert caught.value.failure == failure


def test_images_it_cannot_run_are_refused_before_the_driver_sees_them(device):
    for image, failure in ((b"junk", 2), (b"__kernel void k() {}", 3)):
        with pytest.raises(SessionError) as caught:
            device.load(image)
        assert caught.value.failure == failure
