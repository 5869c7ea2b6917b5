# cython: language_level=3
"""Whose turn it is in a cell: fair waiting, and exact detection of cycles (spec/pulp.md 5.4, 8.1).

A cell runs one entry at a time.  A *chain* is one thread of execution that goes from cell to cell by
sibling calls; it holds the turn of every cell it is in.  A chain waits for at most one turn, so
"waits for" forms a graph in which every node has one way out: following it from the wanted turn either
ends at a chain that runs (mere contention: wait, first come first served) or comes back to the chain
that asks (a true cycle: refused at once).  New edges arise only when somebody begins to wait, so
checking there finds every cycle, and nothing else.

The GIL is the lock of the graph: between looking at it and changing it nothing here allocates an object
or runs Python code, either of which could let another thread in.
"""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.ref cimport PyObject

import threading
import time

from guesthouse.errors import CallError

cdef extern from "Python.h":
    PyObject* PyThreadState_GetDict()

cdef double SLICE = 0.01    # seconds that a waiter sleeps before it looks whether its own call is over

cdef str _key = "guesthouse.interfaces.pulp.turns"      # of the chain in a thread's own dictionary
cdef object _monotonic = time.monotonic
cdef object _new_lock = threading.Lock


class CycleError(CallError):
    """A sibling call would wait for itself.

    Attributes:
        cells: names of the cells around the cycle, the wanted one first.
    """

    def __init__(self, cells):
        self.cells = tuple(cells)
        super().__init__(
            f"re-entrant / loopback sibling call rejected: {' -> '.join([*cells, cells[0]])} is a cycle"
        )


class WaitTimeout(CallError):
    """A turn did not come before the caller's deadline."""


cdef class Chain:
    """One thread of execution through cells.

    Attributes:
        call: the call of the host that brought it into the innermost cell; ``None`` for events.
    """


cdef class Waiter:
    """A chain in the queue of a turn; ``granted`` is locked until the turn is its own."""

    def __init__(self, Chain chain not None):
        self.chain = chain
        self.granted = _new_lock()
        self.granted.acquire()


cdef Chain chain_of_this_thread():
    cdef PyObject* own = PyThreadState_GetDict()
    cdef PyObject* found
    if own == NULL:
        raise MemoryError("no memory for this thread's dictionary")
    found = PyDict_GetItemWithError(<object>own, _key)
    if found != NULL:
        return <Chain>found
    chain = Chain.__new__(Chain)
    PyDict_SetItem(<object>own, _key, chain)
    return chain


def current_chain():
    """Return the chain that this thread is in, or start one."""
    return chain_of_this_thread()


cdef class Turn:
    """The right to run in one cell.

    Args:
        name: the cell, for messages.
    """

    def __init__(self, str name not None):
        self.name = name

    @property
    def busy(self) -> bool:
        """Whether somebody runs in the cell or waits for it."""
        return self.owner is not None

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        cdef int number = 0
        cdef Waiter waiter = self.first
        while waiter is not None:
            number += 1
            waiter = waiter.following
        return number

    cdef bint seize(self, Chain chain) noexcept:
        """Take the turn if nobody has it; while somebody waits, somebody has it."""
        if self.owner is not None:
            return False
        self.owner = chain
        return True

    cdef void give_back(self):
        """Give the turn to whoever has waited longest."""
        cdef Waiter waiter = self.first
        if waiter is None:
            self.owner = None
            return
        self.first = waiter.following
        if self.first is None:
            self.last = None
        self.owner = waiter.chain
        waiter.chain.wanted = None
        waiter.granted.release()

    def try_take(self) -> bool:
        """Take the turn if nobody has it and nobody waits; for idle ticks, which never queue."""
        return self.seize(chain_of_this_thread())

    def take(self, deadline=None, check=None):
        """Take the turn, waiting behind those who came first.

        Args:
            deadline: when to give up, in seconds of `time.monotonic`; ``None`` waits on.
            check: called while waiting, at least every 10 ms; what it raises ends the wait.

        Raises:
            CycleError: waiting would never end, because the cell waits for this very chain.
            WaitTimeout: the deadline passed.
        """
        cdef Chain chain = chain_of_this_thread()
        cdef Waiter waiter
        if self.seize(chain):
            return
        waiter = Waiter(chain)
        if self.seize(chain):       # it was given back meanwhile
            return
        if self.leads_to(chain):
            raise CycleError(self.around(chain))
        self.enqueue(waiter)
        try:
            self.wait(waiter, deadline, check)
        except BaseException:
            if not self.withdraw(waiter):
                self.give_back()    # it was granted meanwhile
            raise

    def release(self):
        """Give the turn to whoever has waited longest."""
        self.give_back()

    cdef void enqueue(self, Waiter waiter):
        waiter.chain.wanted = self
        if self.last is None:
            self.first = waiter
        else:
            self.last.following = waiter
        self.last = waiter

    cdef bint withdraw(self, Waiter waiter):
        """Leave the queue; false when the turn was granted meanwhile."""
        cdef Waiter before = None
        cdef Waiter at = self.first
        while at is not None and at is not waiter:
            before, at = at, at.following
        if at is None:
            return False
        if before is None:
            self.first = at.following
        else:
            before.following = at.following
        if self.last is at:
            self.last = before
        waiter.chain.wanted = None
        return True

    cdef int wait(self, Waiter waiter, deadline, check) except -1:
        while not waiter.granted.acquire(timeout=SLICE):
            if deadline is not None and _monotonic() >= deadline:
                raise WaitTimeout(f"cell {self.name!r} was busy until the caller's deadline")
            if check is not None:
                check()
        return 0

    cdef bint leads_to(self, Chain chain):
        """Follow who waits for whom from this turn; whether that comes back to a chain."""
        cdef Turn turn = self
        while turn is not None and turn.owner is not None:
            if turn.owner is chain:
                return True
            turn = turn.owner.wanted
        return False

    cdef list around(self, Chain chain):
        """Return the names along the way of `leads_to`."""
        cdef Turn turn = self
        cdef list names = []
        while turn is not None:
            names.append(turn.name)
            turn = turn.owner.wanted if turn.owner is not None and turn.owner is not chain else None
        return names
