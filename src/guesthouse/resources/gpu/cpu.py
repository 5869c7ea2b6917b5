"""Computing without a GPU: PTX and registered kernels on numpy."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.failures import (
    BAD_HANDLE,
    BAD_IMAGE,
    BAD_LAUNCH,
    DEVICE_FAULT,
    NO_KERNEL,
    NOT_RUNNABLE,
    OTHER,
    OUT_OF_RESOURCES,
    SessionError,
)
from guesthouse.resources.gpu.images import PTX, REFERENCE, pick
from guesthouse.resources.gpu.ptx.machine import MOST_SHARED, Program, execute
from guesthouse.resources.gpu.ptx.translate import programs
from guesthouse.resources.gpu.reference import KERNELS, Reference
from guesthouse.resources.gpu.store import Store

RUNNABLE = (PTX, REFERENCE)


class CpuDevice:
    """A device that runs launches on numpy, one after the other.

    Args:
        capacity: bytes of memory.
    """

    def __init__(self, capacity: int) -> None:
        self._store = Store(capacity)
        self._modules: dict[int, Mapping[str, Program | Reference]] = {}
        self._count = 0
        self._queue: deque[Callable[[], None]] = deque()
        self._failed: SessionError | None = None

    def alloc(self, size: int) -> int:
        """Return the address of new zeroed memory."""
        return self._store.alloc(size)

    def free(self, address: int) -> None:
        """Give memory back after earlier launches."""
        self._drain()
        self._store.free(address)

    def write(self, address: int, data: memoryview) -> None:
        """Copy to the device after earlier launches."""
        self.sync()
        self._store.view(address, len(data))[:] = data

    def read(self, address: int, into: memoryview) -> None:
        """Copy from the device after earlier launches."""
        self.sync()
        into[:] = self._store.view(address, len(into)).data

    def load(self, image: bytes) -> int:
        """Translate PTX, or look up the kernels that a list names."""
        kind, data = pick(image, RUNNABLE)
        try:
            text = data.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise SessionError(BAD_IMAGE, "no text") from None
        kernels: Mapping[str, Program | Reference]
        if kind == PTX:
            kernels = programs(text)
        else:
            names = [line.strip() for line in text.splitlines() if line.strip()]
            if unknown := [name for name in names if name not in KERNELS]:
                raise SessionError(NOT_RUNNABLE, f"no reference kernel {unknown[0]!r}")
            kernels = {name: KERNELS[name] for name in names}
        self._count += 1
        self._modules[self._count] = kernels
        return self._count

    def unload(self, module: int) -> None:
        """Drop a module; what was launched of it still runs."""
        if self._modules.pop(module, None) is None:
            raise SessionError(BAD_HANDLE)

    def launch(self, module: int, kernel: str, launch: Launch) -> None:
        """Check a launch against the kernel's parameters, and queue it."""
        kernels = self._modules.get(module)
        if kernels is None:
            raise SessionError(BAD_HANDLE)
        found = kernels.get(kernel)
        if found is None:
            raise SessionError(NO_KERNEL, repr(kernel))
        if isinstance(found, Program):
            if found.shared_bytes + launch.shared > MOST_SHARED:
                raise SessionError(OUT_OF_RESOURCES, f"{kernel} with {launch.shared} bytes of shared memory")
            params = _pack(found, launch)
            self._queue.append(lambda: execute(found, launch, params, self._store))
        else:
            if len(launch.args) != len(found.params):
                raise SessionError(BAD_LAUNCH, f"{kernel} takes {len(found.params)} arguments")
            try:
                values = [
                    struct.unpack(f"<{letter}", data)[0]
                    for letter, data in zip(found.params, launch.args, strict=True)
                ]
            except struct.error:
                raise SessionError(BAD_LAUNCH, f"{kernel} takes arguments {found.params!r}") from None
            self._queue.append(lambda: found.run(self._store, launch, values))

    def step(self) -> bool:
        """Run one queued launch, if there is one."""
        if not self._queue:
            return False
        work = self._queue.popleft()
        if self._failed is None:
            try:
                work()
            except SessionError as error:
                self._failed = error
            except MemoryError:
                self._failed = SessionError(DEVICE_FAULT, "out of host memory")
            except Exception as error:  # noqa: BLE001 - whatever a kernel does wrong is its own failure
                self._failed = SessionError(OTHER, repr(error))
        return True

    def sync(self) -> None:
        """Run every queued launch, and report what failed."""
        self._drain()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _drain(self) -> None:
        while self.step():
            pass


def _pack(program: Program, launch: Launch) -> bytes:
    """Lay the arguments out as the kernel's parameters."""
    if len(launch.args) != len(program.params):
        raise SessionError(
            BAD_LAUNCH, f"{program.name} takes {len(program.params)} arguments, not {len(launch.args)}"
        )
    block = bytearray(sum(program.params[-1]) if program.params else 0)
    for (offset, size), data in zip(program.params, launch.args, strict=True):
        if len(data) != size:
            raise SessionError(BAD_LAUNCH, f"an argument of {size} bytes has {len(data)}")
        block[offset : offset + size] = data
    return bytes(block)
