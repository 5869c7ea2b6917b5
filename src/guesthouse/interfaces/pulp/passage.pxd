# cython: language_level=3
"""The ways through one instance as compiled code sees them; see passage.pyx."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from guesthouse.engine.core cimport Instance, func_t

cdef enum:
    HEADER = 20                     # see structs.HEADER

cdef enum Stage:
    DONE = 0
    IN_ALLOC = 1
    NULL_BLOCK = 2
    BAD_BLOCK = 3
    IN_ENTRY = 4
    IN_FREE = 5

# One way through the guest: what it needs, and what came of it.
ctypedef struct Way:
    void* context
    func_t* alloc
    func_t* entry
    func_t* free
    void* error
    void* trap
    uint32_t block
    uint32_t asked
    uint32_t pointer        # what pulp_on_call left in the out cells
    uint32_t length
    int32_t code

cdef class Passage:
    cdef Instance instance
    cdef str cell
    cdef func_t* alloc              # these are the instance's own; NULL for what is not exported
    cdef func_t* free
    cdef func_t* init_entry
    cdef func_t* step_entry
    cdef func_t* call_entry
    cdef uint32_t kept              # the block of idle steps, from the first one on
    cdef func_t* find(self, str name) except? NULL
    cdef int prepare(self, Way* way) except -1
    cdef int settle(self, Way* way, Stage stage, str entry) except -1
    cdef int32_t hand(self, Way* way, str entry, bytes data) except? -1
    cdef bint can_tick(self) noexcept
    cdef int32_t tick(self, const uint8_t* envelope, int64_t now) except? -1
    cdef uint32_t room(self, uint32_t size) except? 0
