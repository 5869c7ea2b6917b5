"""The host's end of a session's process."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import guesthouse.resources
from guesthouse.resources.gpu import wire
from guesthouse.resources.gpu.failures import DEADLINE, SESSION_LOST, SessionError

#: Seconds that a process gets to start and open its device, and to be reaped.
START_SECONDS = 60.0
REAP_SECONDS = 10.0

#: Guests' kernels stay out of the user's caches; and cached ones have lost what is known of their arguments.
_NO_CACHE = {"PYOPENCL_NO_CACHE": "1", "CUDA_CACHE_DISABLE": "1"}

_KEPT = {"PATH", "LD_LIBRARY_PATH", "LANG", "TZ"}
_KEPT_PREFIXES = ("CUDA_", "LC_", "NVIDIA_", "OCL_", "OPENCL_", "POCL_", "PYTHON")

Check = Callable[[], object] | None


class Channel(Protocol):
    """What a session sends its requests to."""

    def request(self, operation: str, args: list[Any], check: Check = None) -> Any:
        """Do one operation of the device.

        Raises:
            SessionError: what failed.
        """

    def write(self, address: int, data: bytes, check: Check = None) -> None:
        """Copy to the device."""

    def read(self, address: int, length: int, check: Check = None) -> bytes:
        """Copy from the device."""

    def destroy(self) -> None:
        """End it with everything in it.

        Raises:
            TimeoutError: it could not be ended; the device is in an unknown state.
        """


class Process:
    """A session's process.

    Args:
        backend: what it computes with.
        capacity: bytes of device memory.
        device: number of the machine's device, from 0.
        deadline: seconds that one request may take.

    Raises:
        SessionError: it did not start, or could not open its device.
    """

    def __init__(self, backend: str, capacity: int, device: int, deadline: float) -> None:
        self._deadline = deadline
        self._memory = os.memfd_create("guesthouse-gpu", os.MFD_CLOEXEC)
        os.ftruncate(self._memory, wire.STAGING)
        self._staging = mmap.mmap(self._memory, wire.STAGING)
        self._scratch = tempfile.mkdtemp(prefix="guesthouse-gpu-")
        self._link, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        descriptors = (theirs.fileno(), lifeline, self._memory)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "guesthouse.resources.gpu.worker", backend,
             *map(str, (*descriptors, capacity, device))],
            pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={**environment(), "TMPDIR": self._scratch, "POCL_CACHE_DIR": self._scratch, **_NO_CACHE},
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        os.close(lifeline)
        try:
            failure, words = wire.receive(self._link, time.monotonic() + START_SECONDS)
        except (wire.Closed, wire.Late):
            failure, words = SESSION_LOST, "its process did not start"
        if failure:
            self.destroy()
            raise SessionError(failure, words)

    def request(self, operation: str, args: list[Any], check: Check = None) -> Any:
        """Send a request and wait for its answer; see :class:`Channel`."""
        try:
            wire.send(self._link, (operation, args))
            failure, value = wire.receive(self._link, time.monotonic() + self._deadline, check)
        except wire.Closed:
            raise SessionError(SESSION_LOST, "its process ended") from None
        except wire.Late:
            self._kill()
            raise SessionError(DEADLINE, f"{operation} took longer than {self._deadline:g} s") from None
        except BaseException:  # the caller gives up: the answer would be taken for that of a later request
            self._kill()
            raise
        if failure:
            raise SessionError(failure, value)
        return value

    def write(self, address: int, data: bytes, check: Check = None) -> None:
        """Copy to the device in pieces."""
        for at in range(0, len(data), wire.STAGING):
            piece = data[at : at + wire.STAGING]
            self._staging[: len(piece)] = piece
            self.request("write", [address + at, len(piece)], check)

    def read(self, address: int, length: int, check: Check = None) -> bytes:
        """Copy from the device in pieces."""
        pieces = []
        for at in range(0, length, wire.STAGING):
            size = min(wire.STAGING, length - at)
            self.request("read", [address + at, size], check)
            pieces.append(self._staging[:size])
            self._staging[:size] = wire.ZEROS[:size]
        return b"".join(pieces)

    def _kill(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)

    def destroy(self) -> None:
        """Kill the process, wait for its end and drop what it shared."""
        self._kill()
        try:
            self._child.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self._child.pid} of a GPU session cannot be ended") from None
        self._link.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._memory >= 0:
            self._staging.close()
            os.close(self._memory)
            os.close(self._lifeline)
            self._memory = -1


def environment() -> dict[str, str]:
    """The environment of a process of ours: the path to this package, and what computing depends on.

    Nothing else of this process's: kernels may be native code, and environments hold secrets.
    """
    source = Path(next(iter(guesthouse.resources.__path__))).parents[1]
    paths = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
