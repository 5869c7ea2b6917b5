"""Eager scrubbing of what has expired, at most a second late (spec fabric.md 8.4).

Nothing waits for it: expiry is checked on every call, and an allocation scrubs what it needs itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

#: Longest time between two looks, in seconds.
PERIOD = 0.5


class Reaper:
    """A thread that reaps a set of lease engines until it is closed.

    Args:
        engines: what to look after.
    """

    def __init__(self, engines: Iterable[Any]) -> None:
        self._engines = list(engines)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-reaper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            for engine in tuple(self._engines):
                try:
                    engine.reap()
                except Exception:  # noqa: BLE001, S112 - one pool's trouble must not stop the others
                    continue

    def watch(self, engine: Any) -> None:
        """Look after one more."""
        self._engines.append(engine)

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        self._thread.join()
