"""How figures are taken: batches of a size that the clock can tell, peers in turns, the best batch counts.

The best of several batches is what the code costs; anything slower is what else the machine did.  Peers
take turns batch by batch, so that a noisy minute hits them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

#: Does something ``n`` times and returns the seconds that took.
Operation = Callable[[int], float]
#: What a peer can be measured at, by name.
Operations = Mapping[str, Operation]


class Peer(Protocol):
    """One of those who are compared."""

    name: str

    def operations(self) -> Operations:
        """Return what this peer can be measured at."""
        ...

    def close(self) -> None:
        """Give back what the peer holds."""
        ...


def calibrate(operation: Operation, seconds: float) -> int:
    """Return how many repetitions take about ``seconds``.

    Args:
        operation: what is repeated.
        seconds: how long a batch shall be.
    """
    n = 1
    while True:
        spent = operation(n)
        if spent >= seconds / 4 or n >= 1 << 30:
            return max(1, round(n * seconds / max(spent, 1e-9)))
        n *= 10 if spent < seconds / 40 else 3


def compare(operations: Mapping[str, Operation], *, seconds: float, batches: int) -> dict[str, float]:
    """Measure the same thing at several peers.

    Args:
        operations: the operation of each peer.
        seconds: length of one batch.
        batches: how many batches each peer gets.

    Returns:
        Seconds per repetition in the best batch, by peer.
    """
    sizes = {name: calibrate(operation, seconds) for name, operation in operations.items()}
    best = dict.fromkeys(operations, float("inf"))
    for _ in range(batches):
        for name, operation in operations.items():
            best[name] = min(best[name], operation(sizes[name]) / sizes[name])
    return best
