# cython: language_level=3
"""Writing records of leases; see log.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from guesthouse.resources.leases.table cimport chain_t, lease_t

cdef enum:
    FRAME = 8                   # bytes before a record: its length, its CRC-32
    LONGEST = 65536             # bytes of a record

ctypedef struct log_t:
    int fd                      # -1 once it is closed
    bint durable                # flush to the device; otherwise the file is mapped
    uint8_t* map
    uint64_t room               # bytes that are mapped
    uint64_t size               # where the next frame goes
    uint64_t records
    int error                   # why the last one that failed did
    uint8_t* frame              # the one that is being written

# Each appends one record: 0, or -1 with `error` set and the log as before.
cdef int log_grant(log_t* log, lease_t* lease) noexcept nogil
cdef int log_renew(log_t* log, uint64_t id, int64_t expires) noexcept nogil
cdef int log_end(log_t* log, uint64_t id, int status, int64_t at) noexcept nogil
cdef int log_release(log_t* log, uint64_t id) noexcept nogil
cdef int log_fence(log_t* log, uint64_t id) noexcept nogil
cdef int log_generation(log_t* log, uint64_t generation) noexcept nogil
# All that is known of some leases.
cdef int log_chain(log_t* log, chain_t* chain) noexcept nogil

cdef class Log:
    cdef log_t log
