"""How often and how soon a cell is tried again (spec/pulp.md 5.5, 8.3, 8.4)."""

from __future__ import annotations

import threading
import time
from collections import deque

RESTART_POLICIES = ("never", "on_crash", "always")

RESTARTS = 5
"""Tries within `RESTART_WINDOW`, for each instance; then the cell has failed for good."""

RESTART_WINDOW = 30.0
FIRST_BACKOFF = 0.05
LONGEST_BACKOFF = 5.0


class RestartPolicy:
    """Decides about a cell that has ended, and makes it wait ever longer.

    Args:
        name: ``never``, ``on_crash`` or ``always``.
        instances: instances of the cell, which share the tries.
    """

    def __init__(self, name: str, instances: int = 1) -> None:
        self.name = name
        self._tries: deque[float] = deque(maxlen=RESTARTS * instances)

    def retries_start(self) -> bool:
        """Whether a guest that fails to start is tried again."""
        return self.name == "always"

    def revives(self, *, clean_exit: bool) -> bool:
        """Whether a guest that has ended is replaced.

        Args:
            clean_exit: it has ended by itself, with exit code 0.
        """
        return self.name == "always" or (self.name == "on_crash" and not clean_exit)

    def wait(self, stopping: threading.Event) -> bool:
        """Use one try: wait until it is due; false when there is none left, or the host stops.

        The first try is due at once, each further one after twice the time of the one before.
        """
        recent = sum(moment > time.monotonic() - RESTART_WINDOW for moment in self._tries)
        if recent == self._tries.maxlen:
            return False
        if stopping.wait(min(FIRST_BACKOFF * 2.0 ** (recent - 1), LONGEST_BACKOFF) if recent else 0.0):
            return False
        self._tries.append(time.monotonic())
        return True

    def forget(self) -> None:
        """Begin to count anew: somebody has put another module in place."""
        self._tries.clear()
