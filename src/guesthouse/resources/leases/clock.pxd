# cython: language_level=3
"""The lease clock, readable without the GIL."""

from libc.stdint cimport int64_t

# Either wall time at the start plus monotonic time since, or a number that tests move.
ctypedef struct lease_clock_t:
    int is_virtual
    int64_t offset          # real: what to add to CLOCK_MONOTONIC, in ns
    int64_t virtual_ns

# Nanoseconds since the epoch.
cdef int64_t clock_ns(lease_clock_t* clock) noexcept nogil

# True while the clock has not reached `moment` (ns since the epoch).
cdef bint clock_before(lease_clock_t* clock, int64_t moment) noexcept nogil

cdef class LeaseClock:
    cdef lease_clock_t* clock

cdef class VirtualClock(LeaseClock):
    cdef list watchers
