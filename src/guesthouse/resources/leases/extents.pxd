# cython: language_level=3
"""Free space of a pool; see extents.pyx."""

from libc.stdint cimport uint64_t
from guesthouse.resources.leases.numbers cimport map_t

# A free run of units.
ctypedef struct run_t:
    uint64_t start
    uint64_t length
    run_t* before               # in its bin
    run_t* after

cdef enum:
    BINS = 640
    BIN_WORDS = 10

ctypedef struct extents_t:
    uint64_t size
    uint64_t free               # units that are free
    map_t by_start              # start -> run
    map_t by_end                # end -> run
    run_t* bins[BINS]
    uint64_t occupied[BIN_WORDS]    # a bit per bin: it is not empty
    run_t* last                 # the run that changed last
    run_t* unused

cdef int extents_init(extents_t* space, uint64_t size) noexcept nogil       # -1: no memory
cdef void extents_drop(extents_t* space) noexcept nogil
# Takes a run: 0 and where it begins, or -1 when no run is long enough.
cdef int extents_take(extents_t* space, uint64_t length, uint64_t* start) noexcept nogil
# Takes exactly this run: 0, or -1 when it is not free.
cdef int extents_take_at(extents_t* space, uint64_t start, uint64_t length) noexcept nogil
cdef void extents_give_back(extents_t* space, uint64_t start, uint64_t length) noexcept nogil
# Length of a longest run.
cdef uint64_t extents_longest(extents_t* space) noexcept nogil
