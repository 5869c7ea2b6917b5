"""What computes for a GPU session; each implementation lives in the session's own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Dim = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch, checked as far as that is possible without the kernel.

    Attributes:
        grid, block: blocks, and threads of a block, in x, y, z.
        shared: bytes of dynamic shared memory.
        args: the arguments' bytes, one item each.
    """

    grid: Dim
    block: Dim
    shared: int
    args: Sequence[bytes]

    @property
    def threads(self) -> int:
        """Threads of one block."""
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def blocks(self) -> int:
        """Blocks of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]


class Device(Protocol):
    """Memory, modules and launches of one session.

    Every method raises ``SessionError``.  Launches run in order; one that fails is reported by the next
    `sync`, `read` or `write`.
    """

    def alloc(self, size: int) -> int:
        """Return the address of new zeroed memory, aligned to at least 256."""

    def free(self, address: int) -> None:
        """Give memory back; earlier launches end first."""

    def write(self, address: int, data: memoryview) -> None:
        """Copy to the device, after earlier launches."""

    def read(self, address: int, into: memoryview) -> None:
        """Copy from the device, after earlier launches."""

    def load(self, image: bytes) -> int:
        """Load an image of a kind that runs here and return its number."""

    def unload(self, module: int) -> None:
        """Drop a module."""

    def launch(self, module: int, kernel: str, launch: Launch) -> None:
        """Check a launch and queue it."""

    def step(self) -> bool:
        """Do some queued work, if there is any to be done by the process itself: whether there was."""

    def sync(self) -> None:
        """Wait for every launch."""
