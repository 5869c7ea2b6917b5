# cython: language_level=3
"""The guest's address space as the host extends it: the break, and state values mapped into it.

Everything here runs without the GIL.  The space of an instance is made when it is first needed, and
its mappings go before the instance's memory is reused (DESIGN section 3 item 5).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from guesthouse.engine.core cimport Attachment
from guesthouse.engine.record cimport Record
from guesthouse.resources.state.posix cimport pthread_mutex_t
from guesthouse.resources.state.values cimport Value

cdef enum:
    WASM_PAGE = 65536
    MOST_WINDOWS = 1024     # of one instance

# A range of a value that the guest sees.
cdef struct Window:
    Value* value            # with a reference
    uint64_t start          # the range in the value
    uint64_t length
    uint64_t address        # guest address of the first mapped page
    uint64_t mapped         # bytes, whole host pages
    uint64_t inside         # of the range's first byte, from `address` on
    int torn                # the guest unmapped a part of it

# Threads over one shared memory have one space; `lock` it around everything but `space_of`.
cdef struct Space:
    pthread_mutex_t mutex
    uint64_t floor          # size of the memory when the host first looked: never unmapped
    uint64_t top            # size of the memory when the host last looked
    uint64_t brk            # what lies between this and `top` is zero, and ours to hand out
    Window* windows
    size_t count
    size_t room

# The space of the instance; NULL when the call was ended for lack of host memory.
cdef Space* space_of(Record* record) noexcept nogil

cdef void lock(Space* space) noexcept nogil
cdef void unlock(Space* space) noexcept nogil

# Guest address of `length` more zero bytes, rounded up to 64 KiB; -1 when the call was ended.
cdef int64_t extend(Record* record, Space* space, uint64_t length) noexcept nogil

# Takes back what lies from `address` (a multiple of 64 KiB) up to the break: 0, or -1 when it may not.
cdef int shrink(Record* record, Space* space, uint64_t address) noexcept nogil

# The current break.
cdef uint64_t current(Record* record, Space* space) noexcept nogil

cdef class SpaceKeeper(Attachment):
    cdef Space space
    cdef Record* record

# Another thread's share of a space.
cdef class SharedSpace(Attachment):
    cdef SpaceKeeper keeper
