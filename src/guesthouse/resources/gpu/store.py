"""Device memory of the backends that compute on the CPU: no access leaves an allocation."""

from __future__ import annotations

import bisect
import secrets
from typing import Any

import numpy as np

from guesthouse.resources.gpu.failures import BAD_HANDLE, DEVICE_FAULT, OUT_OF_MEMORY, SessionError

#: Where device addresses begin: far from anything a kernel may compute by accident, and in one of many
#: ranges, so that a pointer of one session is hardly ever one of another.
FIRST_BASE, RANGE, RANGES = 1 << 40, 1 << 42, 4096
ALIGN = 256

Array = np.ndarray[Any, np.dtype[Any]]


class Store:
    """Zeroed allocations in one range of addresses.

    Args:
        capacity: bytes that can be allocated together; twice as many addresses avoid fragmentation.
    """

    def __init__(self, capacity: int) -> None:
        self._base = FIRST_BASE + RANGE * secrets.randbelow(RANGES)
        self._span = 2 * capacity + (1 << 20)
        self._bytes: Array = np.zeros(self._span, np.uint8)  # taken from the kernel page by page
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._refresh()

    def _refresh(self) -> None:
        self._starts_array = np.array([0, *self._starts], np.uint64)
        self._ends_array = np.array([0, *self._ends], np.uint64)

    def alloc(self, size: int) -> int:
        """Return the address of new zeros.

        Raises:
            SessionError: no range of addresses is free (6).
        """
        room = -(-size // ALIGN) * ALIGN
        before = 0
        for position, (start, end) in enumerate(
            zip([*self._starts, self._span], [*self._ends, 0], strict=True)
        ):
            if start - before >= room:
                self._starts.insert(position, before)
                self._ends.insert(position, before + size)
                break
            before = -(-end // ALIGN) * ALIGN
        else:
            raise SessionError(OUT_OF_MEMORY)
        self._bytes[before : before + size] = 0
        self._refresh()
        return self._base + before

    def free(self, address: int) -> None:
        """Give an allocation back."""
        position = bisect.bisect_left(self._starts, address - self._base)
        if position == len(self._starts) or self._starts[position] != address - self._base:
            raise SessionError(BAD_HANDLE)
        self._bytes[self._starts[position] : self._ends[position]] = 0
        del self._starts[position], self._ends[position]
        self._refresh()

    def view(self, address: int, length: int) -> Array:
        """The bytes of a range that lies inside one allocation.

        Raises:
            SessionError: it does not (8).
        """
        start = address - self._base
        position = bisect.bisect_right(self._starts, start) - 1
        if position < 0 or start + length > self._ends[position]:
            raise SessionError(DEVICE_FAULT, f"{length} bytes at {address:#x}")
        return self._bytes[start : start + length]

    def _places(self, addresses: Array, width: int) -> Array:
        """Element numbers of addresses, all of them aligned and inside allocations."""
        offsets = addresses.astype(np.uint64, copy=False) - np.uint64(self._base)
        which = np.searchsorted(self._starts_array, offsets, side="right") - 1
        # Addresses below the first one wrapped around to huge offsets; the ends refuse them.
        inside = (offsets < self._ends_array[which]) & (offsets + np.uint64(width) <= self._ends_array[which])
        if not inside.all() or (offsets & np.uint64(width - 1)).any():
            bad = addresses[~inside] if not inside.all() else addresses
            raise SessionError(DEVICE_FAULT, f"{width} bytes at {int(bad[0]):#x}")
        return offsets // np.uint64(width)

    def gather(self, addresses: Array, dtype: np.dtype[Any]) -> Array:
        """Load one value per address."""
        places = self._places(addresses, dtype.itemsize)
        usable = self._span // dtype.itemsize * dtype.itemsize
        values: Array = self._bytes[:usable].view(dtype)[places]
        return values

    def scatter(self, addresses: Array, values: Array) -> None:
        """Store one value per address; of several to the same address one wins."""
        places = self._places(addresses, values.dtype.itemsize)
        usable = self._span // values.dtype.itemsize * values.dtype.itemsize
        self._bytes[:usable].view(values.dtype)[places] = values
