"""Whose turn it is in a cell: fair waiting, and exact detection of cycles (spec/pulp.md 5.4, 8.1).

A cell runs one entry at a time.  A *chain* is one thread of execution that goes from cell to cell by
sibling calls; it holds the turn of every cell it is in.  A chain waits for at most one turn, so
"waits for" forms a graph in which every node has one way out: following it from the wanted turn either
ends at a chain that runs (mere contention: wait, first come first served) or comes back to the chain
that asks (a true cycle: refused at once).  New edges arise only when somebody begins to wait, so
checking there finds every cycle, and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from guesthouse.errors import CallError

#: How long a waiter sleeps before it looks whether its own call is over, seconds.
_SLICE = 0.01

_graph = threading.Lock()
_here = threading.local()


class CycleError(CallError):
    """A sibling call would wait for itself.

    Attributes:
        cells: names of the cells around the cycle, the wanted one first.
    """

    def __init__(self, cells: list[str]) -> None:
        self.cells = tuple(cells)
        super().__init__(
            f"re-entrant / loopback sibling call rejected: {' -> '.join([*cells, cells[0]])} is a cycle"
        )


class WaitTimeout(CallError):
    """A turn did not come before the caller's deadline."""


class Chain:
    """One thread of execution through cells.

    Attributes:
        wanted: the turn it waits for.
        deadline: when the innermost entry must be over, in monotonic nanoseconds; 0 outside of cells.
        call: the call of the host that brought it into the innermost cell; ``None`` for events.
    """

    __slots__ = ("call", "deadline", "wanted")

    def __init__(self) -> None:
        self.wanted: Turn | None = None
        self.deadline = 0
        self.call: Any = None


class _Waiter:
    __slots__ = ("chain", "granted")

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.granted = threading.Lock()
        self.granted.acquire()


def current_chain() -> Chain:
    """Return the chain that this thread is in, or start one."""
    chain: Chain | None = getattr(_here, "chain", None)
    if chain is None:
        chain = _here.chain = Chain()
    return chain


class Turn:
    """The right to run in one cell.

    Args:
        name: the cell, for messages.
    """

    __slots__ = ("_owner", "_queue", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._owner: Chain | None = None
        self._queue: deque[_Waiter] = deque()

    @property
    def busy(self) -> bool:
        """Whether somebody runs in the cell or waits for it."""
        return self._owner is not None or bool(self._queue)

    def try_take(self) -> bool:
        """Take the turn if nobody has it and nobody waits; for idle ticks, which never queue."""
        chain = current_chain()
        with _graph:
            if self._owner is not None or self._queue:
                return False
            self._owner = chain
            return True

    def take(self, deadline: float | None = None, check: Callable[[], object] | None = None) -> None:
        """Take the turn, waiting behind those who came first.

        Args:
            deadline: when to give up, in seconds of `time.monotonic`; ``None`` waits on.
            check: called while waiting, at least every 10 ms; what it raises ends the wait.

        Raises:
            CycleError: waiting would never end, because the cell waits for this very chain.
            WaitTimeout: the deadline passed.
        """
        chain = current_chain()
        with _graph:
            if self._owner is None and not self._queue:
                self._owner = chain
                return
            self._refuse_cycle(chain)
            waiter = _Waiter(chain)
            self._queue.append(waiter)
            chain.wanted = self
        try:
            self._wait(waiter, deadline, check)
        except BaseException:
            if self._withdraw(waiter):
                raise
            self.release()
            raise

    def release(self) -> None:
        """Give the turn to whoever has waited longest."""
        with _graph:
            if not self._queue:
                self._owner = None
                return
            waiter = self._queue.popleft()
            self._owner = waiter.chain
            waiter.chain.wanted = None
        waiter.granted.release()

    def _wait(self, waiter: _Waiter, deadline: float | None, check: Callable[[], object] | None) -> None:
        while not waiter.granted.acquire(timeout=_SLICE):
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"cell {self.name!r} was busy until the caller's deadline")
            if check is not None:
                check()

    def _withdraw(self, waiter: _Waiter) -> bool:
        """Leave the queue; false when the turn was granted meanwhile."""
        with _graph:
            if waiter not in self._queue:
                return False
            self._queue.remove(waiter)
            waiter.chain.wanted = None
            return True

    def _refuse_cycle(self, chain: Chain) -> None:
        """Follow who waits for whom from this turn; called with the graph locked."""
        names = []
        turn: Turn | None = self
        while turn is not None:
            names.append(turn.name)
            if turn._owner is chain:
                raise CycleError(names)
            turn = turn._owner.wanted if turn._owner is not None else None
