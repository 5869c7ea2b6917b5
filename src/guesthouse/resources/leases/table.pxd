# cython: language_level=3
"""Leases as native code sees them: found by id, checked and pinned without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from guesthouse.resources.leases.clock cimport lease_clock_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlock_t:
        pass

cdef enum Status:
    ACTIVE = 0
    EXPIRED = 1
    REVOKED = 2
    FENCED = 3

cdef enum Code:
    DISCONNECTED = -1
    LEASE_EXPIRED = -2
    LEASE_FENCED = -3
    CAPACITY_EXCEEDED = -4
    UNSUPPORTED = -5
    LEASE_REVOKED = -6
    INVALID_ARGUMENT = -7
    UNKNOWN_LEASE = -8
    BUFFER_TOO_SMALL = -9
    BUSY = -10
    INTERNAL = -11

# One lease. Never given back to the allocator while the table lives, so a stale pointer to one is safe
# to lock; whoever holds one from a cache checks `id` and `tenant` after locking.
ctypedef struct lease_t:
    pthread_rwlock_t lock       # read: data calls that only read; write: writes, and changes of the lease
    uint64_t id                 # 0 while unused
    uint32_t tenant
    int status                  # Status, as last written; expiry by time shows only through the clock
    int64_t expires             # seconds since the epoch
    int64_t expires_ns
    uint64_t capacity           # bytes or blocks that were granted
    uint64_t start              # first unit of the extent
    uint64_t units
    uint64_t generation
    lease_t* next_free

cdef enum:
    CACHED = 8                  # leases that an instance remembers, to skip the table

ctypedef struct lease_cache_t:
    lease_t* entries[CACHED]

ctypedef struct table_t:
    pthread_rwlock_t lock
    lease_t** cells
    uint64_t mask
    uint64_t used               # cells that are not empty, the removed ones included
    uint64_t live
    lease_clock_t* clock
    lease_t* unused
    void** slabs
    uint64_t slab_count

cdef table_t* table_new(lease_clock_t* clock) except NULL
cdef void table_drop(table_t* table) noexcept
cdef lease_t* table_add(table_t* table, uint64_t id) except NULL
cdef void table_remove(table_t* table, lease_t* lease) noexcept nogil

# Finds a lease of this tenant that is usable now and locks it: 0, or why not (Code). `cache` may be NULL.
cdef int acquire(table_t* table, lease_cache_t* cache, uint32_t tenant, uint64_t id, bint writing,
                 lease_t** out) noexcept nogil
cdef void release(lease_t* lease) noexcept nogil

# Status of a lease now, expiry by time included. To be called with the lease locked or under the engine's lock.
cdef int status_now(table_t* table, lease_t* lease) noexcept nogil

# Waits for calls in flight and then writes the status.
cdef void set_status(lease_t* lease, int status) noexcept nogil
cdef void set_expiry(lease_t* lease, int64_t seconds) noexcept nogil
