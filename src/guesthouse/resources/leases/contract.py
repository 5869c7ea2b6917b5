"""What the lease engine asks of whoever keeps the bytes."""

from __future__ import annotations

from typing import Protocol


class Backing(Protocol):
    """Bytes of one pool. Which extent is whose the engine knows; none is given to two at once.

    Called without the engine's lock, from any thread.  A backing that is called often
    derives from :class:`guesthouse.resources.leases.backing.NativeBacking` instead.

    Attributes:
        size: units in the pool.
        grain: bytes, or blocks, or whatever is leased, in one unit.
    """

    size: int
    grain: int

    def admit(self, start: int, units: int, generation: int) -> None:
        """Prepare an extent for a new holder: prove that it reads as zeros.

        From now on whatever carries an older generation is refused (spec fabric.md 8.9).

        Raises:
            Exception: it cannot be proven to be zero; nobody will get it.
        """

    def scrub(self, start: int, units: int) -> None:
        """Destroy the contents.

        Raises:
            Exception: that failed; the extent will be fenced.
        """


class LastingBacking(Backing, Protocol):
    """A backing whose contents outlive the process."""

    def claim(self, start: int, units: int, generation: int) -> None:
        """Take an extent that a journal says is in use, contents kept."""
