# cython: language_level=3
"""The clock that leases live by (spec fabric.md 7 and 8).

Leases must not follow a wall clock that somebody steps, so the real clock is wall time when it was made
plus monotonic time since.  Tests use :class:`VirtualClock`, which only moves when it is told to.
"""

import time

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* out)
    int CLOCK_MONOTONIC
    int CLOCK_MONOTONIC_COARSE

cdef enum:
    SECOND = 1000000000

# The coarse clock lags by one timer tick at most, 10 ms at 100 Hz. A lease that ends later than this
# from now cannot have ended, whatever the exact clock says, and the exact one costs four times as much.
cdef enum:
    COARSE_LAG = 50000000


cdef inline int64_t read_clock(int which) noexcept nogil:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t>now.tv_sec * SECOND + now.tv_nsec


cdef int64_t clock_ns(lease_clock_t* clock) noexcept nogil:
    if clock.is_virtual:
        return clock.virtual_ns
    return read_clock(CLOCK_MONOTONIC) + clock.offset


cdef bint clock_before(lease_clock_t* clock, int64_t moment) noexcept nogil:
    if clock.is_virtual:
        return clock.virtual_ns < moment
    if read_clock(CLOCK_MONOTONIC_COARSE) + clock.offset + COARSE_LAG < moment:
        return True
    return read_clock(CLOCK_MONOTONIC) + clock.offset < moment


cdef class LeaseClock:
    """Wall time when the clock was made plus monotonic time since.

    A wall clock that is stepped later neither extends nor ends a lease (spec fabric.md 7).
    """

    def __cinit__(self, *args, **kwargs):
        self.clock = <lease_clock_t*>calloc(1, sizeof(lease_clock_t))
        if self.clock == NULL:
            raise MemoryError()
        self.clock.offset = <int64_t>time.time_ns() - read_clock(CLOCK_MONOTONIC)

    def __dealloc__(self):
        free(self.clock)

    def now(self):
        """Whole seconds since the epoch, rounded down."""
        return clock_ns(self.clock) // SECOND

    def now_ns(self):
        """Nanoseconds since the epoch."""
        return clock_ns(self.clock)

    def watch(self, callback):
        """Have `callback()` run before the clock is moved by hand; a real clock never is."""

    def unwatch(self, callback):
        """End what `watch` began."""


cdef class VirtualClock(LeaseClock):
    """A clock that moves only by :meth:`set` and :meth:`advance`.

    Args:
        now: where it starts, in seconds since the epoch.
    """

    def __init__(self, now=1_700_000_000):
        self.watchers = []
        self.clock.is_virtual = 1
        self.clock.virtual_ns = int(now * SECOND)

    def set(self, now):
        """Set the time, in seconds since the epoch; setting it back is allowed.

        Watchers run before and after, so what had ended by the old time stays ended (spec fabric.md 9).
        """
        self.set_ns(int(now * SECOND))

    def advance(self, seconds):
        """Move the time by `seconds`."""
        self.set_ns(self.clock.virtual_ns + int(seconds * SECOND))

    def set_ns(self, moment):
        """Set the time, in nanoseconds since the epoch."""
        for callback in list(self.watchers):
            callback()
        self.clock.virtual_ns = moment
        for callback in list(self.watchers):
            callback()

    def watch(self, callback):
        """Have `callback()` run before and after each change."""
        self.watchers.append(callback)

    def unwatch(self, callback):
        """End what `watch` began."""
        self.watchers.remove(callback)
