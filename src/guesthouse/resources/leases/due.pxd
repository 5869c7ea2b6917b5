# cython: language_level=3
"""Which leases expire next; see due.pyx."""

from libc.stdint cimport int64_t, uint64_t
from guesthouse.resources.leases.numbers cimport map_t
from guesthouse.resources.leases.table cimport chain_t, lease_t

# Leases that expire in one second.
ctypedef struct batch_t:
    int64_t moment              # seconds since the epoch
    chain_t leases

ctypedef struct due_t:
    map_t batches               # moment -> batch
    batch_t** heap              # the first one is the next; some may have become empty
    uint64_t count
    uint64_t room
    uint64_t leases             # in all of them

cdef int due_init(due_t* due) noexcept nogil                            # -1: no memory
cdef void due_drop(due_t* due) noexcept nogil
# Makes sure that adding a lease that expires then needs no memory: 0, or -1 without it.
cdef int due_prepare(due_t* due, int64_t moment) noexcept nogil
cdef void due_add(due_t* due, lease_t* lease) noexcept nogil
cdef void due_remove(due_t* due, lease_t* lease) noexcept nogil
# The next batch; NULL when there is no lease.
cdef batch_t* due_next(due_t* due) noexcept nogil
