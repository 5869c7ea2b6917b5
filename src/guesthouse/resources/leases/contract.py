"""What the lease engine asks of whoever keeps the bytes."""

from __future__ import annotations

from typing import Protocol


class Backing(Protocol):
    """Extents of one pool. Called with the engine's lock held, except `scrub`.

    Attributes:
        size: units in the pool.
    """

    size: int

    def units(self, amount: int) -> int:
        """Units of the pool that a lease of `amount` takes."""

    def available(self) -> int:
        """Largest amount that is worth asking for now."""

    def reserve(self, units: int) -> int | None:
        """Take a contiguous extent: its start, or ``None`` when the pool has none."""

    def admit(self, start: int, units: int, generation: int) -> None:
        """Prepare a reserved extent for a new holder: prove that it reads as zeros.

        From now on whatever carries an older generation is refused (spec fabric.md 8.9).

        Raises:
            Exception: it cannot be proven to be zero.
        """

    def claim(self, start: int, units: int, generation: int) -> None:
        """Take an extent that a journal says is in use, contents kept."""

    def scrub(self, start: int, units: int) -> None:
        """Destroy the contents.

        Raises:
            Exception: that failed; the extent will be fenced.
        """

    def release(self, start: int, units: int) -> None:
        """Take a scrubbed extent back."""
