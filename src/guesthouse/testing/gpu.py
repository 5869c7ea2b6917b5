"""The mock's GPU: keeps bytes, accepts every image and launch, computes nothing (spec fabric.md 9)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from guesthouse.resources.gpu.failures import BAD_IMAGE, SessionError

#: Where the device addresses of each session begin: no pointer of one is one of another.
_bases = itertools.count(1 << 40, 1 << 40)
_ALIGN = 256
Check = Callable[[], object] | None


class Recorder:
    """What a session of the mock sends its requests to."""

    def __init__(self) -> None:
        self._memory: dict[int, bytearray] = {}
        self._next = next(_bases)
        self._modules = itertools.count(1)

    def request(self, operation: str, args: list[Any], check: Check = None) -> Any:
        """Do one operation of a device."""
        if operation == "alloc":
            pointer = self._next
            self._next += -(-args[0] // _ALIGN) * _ALIGN + _ALIGN
            self._memory[pointer] = bytearray(args[0])
            return pointer
        if operation == "free":
            del self._memory[args[0]]
        elif operation == "load":
            if not args[0]:
                raise SessionError(BAD_IMAGE, "an empty image")
            return next(self._modules)
        return None

    def _find(self, address: int) -> tuple[bytearray, int]:
        return next(
            (block, address - start)
            for start, block in self._memory.items()
            if start <= address < start + len(block)
        )

    def write(self, address: int, data: bytes, check: Check = None) -> None:
        """Keep bytes."""
        block, offset = self._find(address)
        block[offset : offset + len(data)] = data

    def read(self, address: int, length: int, check: Check = None) -> bytes:
        """Return what was kept."""
        block, offset = self._find(address)
        return bytes(block[offset : offset + length])

    def destroy(self) -> None:
        """Forget everything."""
        self._memory.clear()
