# cython: language_level=3
"""The way into a cell: turn, deadline, and the straight path of idle ticks (spec/pulp.md 5.3, 5.4).

An idle tick happens up to five thousand times a second in every cell, and mostly nothing comes of it.
While the cell is free and its instance well, it allocates no object beyond its result; whatever is out of
the ordinary (a busy cell, a first tick, an end) takes the common way.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from guesthouse.engine.core cimport monotonic
from guesthouse.interfaces.pulp.passage cimport HEADER, Passage
from guesthouse.interfaces.pulp.turns cimport Chain, Turn, chain_of_this_thread

from guesthouse.errors import DeadlineExceeded
from guesthouse.interfaces.pulp.errors import CellClosed
from guesthouse.interfaces.pulp.turns import WaitTimeout

cdef double LONGEST = 4e18  # ns: a budget that fits the clock


cdef class Threshold:
    """What whoever enters a cell passes: its turn, its deadline, and the naming of failures.

    The base of `Cell`, which says by ``_failed`` what a failure inside means.

    Args:
        label: what logs and errors call the cell.
        budget: seconds that an entry may take.

    Attributes:
        label: as given.
    """

    cdef readonly str label
    cdef readonly Turn _turn
    cdef public bint _closed
    cdef int64_t budget     # ns
    cdef object body
    cdef Passage passage    # the body's
    cdef Threshold outer    # the cell from which the chain in here came
    cdef bint ending        # that chain was told to end

    def __init__(self, str label not None, double budget):
        self.label = label
        self._turn = Turn(label)
        self.budget = nanoseconds(budget)

    @property
    def _body(self):
        return self.body

    @_body.setter
    def _body(self, body):
        self.body, self.passage = body, body.passage

    @property
    def busy(self) -> bool:
        """Whether somebody is in the cell or waits for it."""
        return self._turn.owner is not None

    def idle_step(self, uint64_t call_number, uint64_t wall_time):
        """Run an idle step unless the cell is busy or somebody waits for it.

        Args:
            call_number: see `Envelope`.
            wall_time: Unix nanoseconds.

        Returns:
            The guest's own code; ``None`` when the step was skipped.

        Raises:
            CallError: as `Cell.step`.
        """
        cdef uint8_t envelope[HEADER]
        cdef Chain chain = chain_of_this_thread()
        cdef int64_t now
        if not self._turn.seize(chain):
            return None
        now = monotonic()
        memcpy(envelope, &call_number, 8)
        memcpy(envelope + 8, &wall_time, 8)
        envelope[16] = envelope[17] = envelope[18] = envelope[19] = 0
        if self._closed or not self.passage.can_tick():
            return self.inside(chain, "pulp_step", now + self.budget, self._tick, (envelope[:HEADER],))
        return self.tick_once(chain, envelope, now)

    cdef int32_t tick_once(self, Chain chain, const uint8_t* envelope, int64_t now) except? -1:
        """An idle step with the turn held, which is given back."""
        cdef int64_t outer = chain.deadline
        cdef int64_t until = now + self.budget
        try:
            if outer and outer < until:
                until = outer
            chain.deadline = self.passage.instance.record.deadline = until
            return self.passage.tick(envelope, now)
        except Exception as error:
            failure = self._failed("pulp_step", self.body, error)
            if failure is error:
                raise
            raise failure from None
        finally:
            chain.deadline = outer
            self._turn.give_back()

    @staticmethod
    def _tick(body, envelope):
        """Step as `Cell.step` does."""
        return body.step(envelope)

    def _take(self, timeout, check):
        """Wait for the turn, ``timeout`` seconds at most."""
        self._turn.take(None if timeout is None else monotonic() / 1e9 + timeout, check)

    def _enter(self, str function not None, timeout, check, work, *args):
        """Wait for the turn, then do some work inside; the budget counts from now."""
        cdef Chain chain = chain_of_this_thread()
        cdef int64_t until
        if self._closed:
            raise CellClosed("cell is closed", cell=self.label)
        until = monotonic() + (self.budget if timeout is None else nanoseconds(timeout))
        if not self._turn.seize(chain):
            try:
                self._turn.take(until / 1e9, check)
            except WaitTimeout as error:
                limit = self.budget / 1e9 if timeout is None else timeout
                raise DeadlineExceeded(limit=limit, guest=self.label, function=function) from error
        return self.inside(chain, function, until, work, args)

    def end(self, Chain chain not None, str reason not None):
        """End what a chain does in this cell and in those that it went on to, from any thread.

        Nothing happens where it waits for its turn here, or has left.
        """
        cdef Threshold each = chain.inside
        while each is not None and each is not self:
            each = each.outer
        if each is None:
            return
        each = chain.inside
        while True:
            each.ending = True
            each.body.instance.cancel(reason)
            if each is self:
                return
            each = each.outer

    cdef object inside(self, Chain chain, str function, int64_t until, work, tuple args):
        """Do some work with the turn held: set the deadline, name failures, give the turn back."""
        cdef int64_t outer = chain.deadline
        body = self.body
        self.outer, chain.inside = chain.inside, self
        try:
            if self._closed:
                raise CellClosed("cell is closed", cell=self.label)
            if not body.usable:
                raise CellClosed(f"cell has ended: {body.ended}; reload it", cell=self.label)
            if outer and outer < until:
                until = outer
            chain.deadline = body.instance.deadline = until
            if chain.call is not None:
                chain.call.check()      # from here on `end` finds the chain in here
            return work(body, *args)
        except Exception as error:
            failure = self._failed(function, body, error)
            if failure is error:
                raise
            raise failure from None
        finally:
            chain.deadline = outer
            chain.inside, self.outer = self.outer, None
            if self.ending:         # nobody can set it any more
                self.ending = False
                if body.usable:
                    body.instance.resume()
            self._turn.give_back()


cdef int64_t nanoseconds(double seconds) except? -1:
    """A budget in seconds, in nanoseconds that can be added to the clock."""
    return <int64_t>(min(seconds * 1e9, LONGEST))
