"""The line before a full instance pool: who waits for a place, first come, first served.

The engine itself never waits: :meth:`Instance.start` raises :class:`~guesthouse.errors.PoolFull`, and can
be tried again.  Whoever is ready to wait joins the line of the pool; each instance that ends wakes the first
in it.  There are no locks here, since an instance may end anywhere, in the garbage collector too; every step
is one operation of a deque.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Turn:
    """One who waits.

    Attributes:
        who: whoever that is, opaque here.
        bell: an acquired lock that is released when it is time to look up.
        refused: it will get no place, and is to leave the line.
    """

    __slots__ = ("bell", "refused", "who")

    def __init__(self, who: Any) -> None:
        self.who = who
        self.refused = False
        self.bell = threading.Lock()
        self.bell.acquire()

    def ring(self) -> None:
        """Have it look up."""
        try:
            self.bell.release()
        except RuntimeError:  # it was told already
            pass


class Places:
    """The line before one pool.  Any thread may use it.

    Args:
        total: how many places the pool has.

    Attributes:
        line: who waits; nobody overtakes, so newcomers join it as long as it is not empty.
        freed: how many places came free while somebody waited.
    """

    __slots__ = ("freed", "line", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.line: deque[Turn] = deque()
        self.freed = 0

    def join(self, who: Any) -> Turn:
        """Wait at the end of the line; the first in it is told to try at once."""
        turn = Turn(who)
        self.line.append(turn)
        self._wake()
        return turn

    def leave(self, turn: Turn) -> None:
        """Leave the line, with a place or without; the next one tries."""
        self.line.remove(turn)
        self._wake()

    def is_first(self, turn: Turn) -> bool:
        """Whether it is this one's turn to try."""
        return self.line[0] is turn

    def free(self) -> None:
        """A place came free."""
        self.freed += 1
        self._wake()

    def refuse(self, unfit: Callable[[Any], bool]) -> bool:
        """Send away those in the line to whom `unfit` applies; false when that was nobody."""
        found = [turn for turn in tuple(self.line) if unfit(turn.who)]
        for turn in found:
            turn.refused = True
            turn.ring()
        return bool(found)

    def _wake(self) -> None:
        try:
            self.line[0].ring()
        except IndexError:
            pass
