"""One GPU session: what is checked before a device is asked (spec fabric.md 6)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from guesthouse.resources.gpu.contract import Dim, Launch
from guesthouse.resources.gpu.failures import (
    BAD_HANDLE,
    BAD_LAUNCH,
    DEADLINE,
    DEVICE_FAULT,
    SESSION_LOST,
    SessionError,
)
from guesthouse.resources.gpu.process import Channel, Check
from guesthouse.resources.leases.status import CAPACITY_EXCEEDED, LeaseError

#: Sizes count towards a lease's memory in units of this.
GRAIN = 256
MOST_BLOCK: Dim = (1024, 1024, 64)
MOST_THREADS = 1024
#: Seconds between two looks at whether a waiting call still wants its turn.
_SLICE = 0.01
MOST_GRID: Dim = (2**31 - 1, 65_535, 65_535)
#: Module handles are unique over all sessions, so that a foreign one is never taken for an own.
_handles = itertools.count(0x4D00_0001)


#: Module, kernel name, dims, arguments.
Observer = Callable[[int, str, tuple[int, ...], tuple[bytes, ...]], object]


class Session:
    """The device memory, modules and launches under one lease.  Any thread may use it.

    Args:
        start: starts what computes, at the first use.
        capacity: bytes of device memory that may be allocated together.
        observe: told of every launch that was accepted: module, kernel, dims, args.
    """

    def __init__(self, start: Callable[[], Channel], capacity: int, observe: Observer | None = None) -> None:
        self._start, self._capacity, self._observe = start, capacity, observe
        self._channel: Channel | None = None
        self._lock = threading.RLock()
        self._memory: dict[int, int] = {}
        self._modules: dict[int, int] = {}
        self._used = 0
        self.lost = False

    def alloc(self, size: int, check: Check = None) -> int:
        """Return the device pointer of new zeroed memory."""
        with self._turn(check):
            self._usable()
            if size == 0:
                raise SessionError(BAD_LAUNCH, "an allocation of no bytes")
            rounded = _rounded(size)
            if rounded > self._capacity - self._used:
                raise LeaseError(
                    CAPACITY_EXCEEDED, f"{self._capacity - self._used} bytes left", resource="gpu"
                )
            pointer: int = self._ask("alloc", [size], check)
            self._memory[pointer] = size
            self._used += rounded
            return pointer

    def free(self, pointer: int, check: Check = None) -> None:
        """Give memory back; in a lost session there is nothing left to do."""
        with self._turn(check):
            size = self._memory.pop(pointer, None)
            if size is None:
                raise SessionError(BAD_HANDLE)
            self._used -= _rounded(size)
            if not self.lost:
                self._ask("free", [pointer], check)

    def write(self, pointer: int, offset: int, data: bytes, check: Check = None) -> None:
        """Copy to the device."""
        with self._turn(check):
            self._usable()
            self._range(pointer, offset, len(data))
            if data:
                self._guarded(lambda channel: channel.write(pointer + offset, data, check))
            else:
                self._ask("sync", [], check)

    def read(self, pointer: int, offset: int, length: int, check: Check = None) -> bytes:
        """Copy from the device."""
        with self._turn(check):
            self._usable()
            self._range(pointer, offset, length)
            if not length:
                self._ask("sync", [], check)
                return b""
            found: list[bytes] = []
            self._guarded(lambda channel: found.append(channel.read(pointer + offset, length, check)))
            return found[0]

    def load(self, image: bytes, check: Check = None) -> int:
        """Load an image and return a module handle."""
        with self._turn(check):
            self._usable()
            inner = self._ask("load", [image], check)
            handle = next(_handles)
            self._modules[handle] = inner
            return handle

    def unload(self, module: int, check: Check = None) -> None:
        """Drop a module; in a lost session there is nothing left to do."""
        with self._turn(check):
            inner = self._modules.pop(module, None)
            if inner is None:
                raise SessionError(BAD_HANDLE)
            if not self.lost:
                self._ask("unload", [inner], check)

    def launch(
        self, module: int, kernel: bytes, dims: Sequence[int], args: Sequence[bytes], check: Check = None
    ) -> None:
        """Check a launch and have it queued.

        Args:
            module: a handle of this session.
            kernel: its name.
            dims: grid x, y, z, block x, y, z, dynamic shared bytes.
            args: the arguments' bytes.
            check: called while waiting.
        """
        with self._turn(check):
            self._usable()
            inner = self._modules.get(module)
            if inner is None:
                raise SessionError(BAD_HANDLE)
            launch = checked(dims, args)
            try:
                name = kernel.decode()
            except UnicodeDecodeError:
                raise SessionError(4, "a name that is no text") from None
            self._ask(
                "launch", [inner, name, launch.grid, launch.block, launch.shared, list(launch.args)], check
            )
            if self._observe is not None:
                self._observe(module, name, tuple(dims), tuple(launch.args))

    def sync(self, check: Check = None) -> None:
        """Wait for every launch."""
        with self._turn(check):
            self._usable()
            self._ask("sync", [], check)

    def destroy(self) -> None:
        """End the session with everything in it.

        Raises:
            TimeoutError: that is not possible.
        """
        channel = self._channel
        self.lost = True
        if channel is not None:
            channel.destroy()

    # -- inside

    @contextmanager
    def _turn(self, check: Check) -> Iterator[None]:
        """One operation at a time; a call that is over does not wait for its turn any longer."""
        while not self._lock.acquire(timeout=_SLICE):
            if check is not None:
                check()
        try:
            yield
        finally:
            self._lock.release()

    def _usable(self) -> None:
        if self.lost:
            raise SessionError(SESSION_LOST)

    def _range(self, pointer: int, offset: int, length: int) -> None:
        size = self._memory.get(pointer)
        if size is None:
            raise SessionError(BAD_HANDLE)
        if offset > size or length > size - offset:
            raise LeaseError(CAPACITY_EXCEEDED, f"{length} bytes at {offset} of {size}", resource="gpu")

    def _ask(self, operation: str, args: list[object], check: Check) -> int:
        answer: list[int] = []
        self._guarded(lambda channel: answer.append(channel.request(operation, args, check)))
        return answer[0]

    def _guarded(self, action: Callable[[Channel], None]) -> None:
        """Do something with the device; what poisons it loses the session."""
        if self._channel is None:
            self._channel = self._start()
            if self.lost:  # the lease ended while its process started
                self._channel.destroy()
                raise SessionError(SESSION_LOST)
        try:
            action(self._channel)
        except SessionError as error:
            self.lost = self.lost or error.failure in {DEVICE_FAULT, DEADLINE, SESSION_LOST}
            raise
        except BaseException:
            self.lost = True
            raise


def checked(dims: Sequence[int], args: Sequence[bytes]) -> Launch:
    """Return a launch whose dimensions every device accepts.

    Raises:
        SessionError: they are beyond the limits (5).
    """
    grid, block, shared = (dims[0], dims[1], dims[2]), (dims[3], dims[4], dims[5]), dims[6]
    for size, most in ((grid, MOST_GRID), (block, MOST_BLOCK)):
        if any(not 1 <= one <= limit for one, limit in zip(size, most, strict=True)):
            raise SessionError(BAD_LAUNCH, f"dimensions {size}")
    if block[0] * block[1] * block[2] > MOST_THREADS:
        raise SessionError(BAD_LAUNCH, f"{block[0] * block[1] * block[2]} threads in a block")
    return Launch(grid, block, shared, tuple(args))


def _rounded(size: int) -> int:
    return -(-size // GRAIN) * GRAIN
