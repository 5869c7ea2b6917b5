# cython: language_level=3
"""Leases as native code sees them: found by id, checked and pinned without the GIL."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from guesthouse.resources.leases.clock cimport lease_clock_t
from guesthouse.resources.leases.numbers cimport map_t

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
    uint32_t tenant             # number of its account; 0 until it is granted
    int status                  # Status, as last written; expiry by time shows only through the clock
    int64_t expires             # seconds since the epoch
    int64_t expires_ns
    uint64_t capacity           # bytes or blocks that were granted
    uint64_t start              # first unit of the extent
    uint64_t units
    uint64_t generation
    # What follows is the engine's, under its lock.
    account_t* owner
    int64_t ended_at
    bint held                   # its extent is not back in the pool
    bint fail_teardown          # a test asked for it
    lease_t* before             # in the chain of those that expire, or that ended alike
    lease_t* after
    lease_t* next               # unused ones; those that are about to be torn down

# Leases in order, oldest first.
ctypedef struct chain_t:
    lease_t* first
    lease_t* last
    uint64_t count

# What a tenant may hold of a resource, and holds; under the engine's lock.
ctypedef struct account_t:
    uint32_t number
    int64_t quota               # units that its leases may hold together
    uint64_t used               # of them held now, fenced ones included
    uint64_t fenced
    uint64_t active             # leases
    chain_t ended               # known leases that ended, fenced ones not among them
    const unsigned char* name   # as the journal writes it
    uint64_t name_length
    account_t* next

cdef enum:
    CACHED = 8                  # leases that an instance remembers, to skip the table

ctypedef struct lease_cache_t:
    lease_t* entries[CACHED]

ctypedef struct table_t:
    pthread_rwlock_t lock
    map_t leases                # id -> lease
    lease_clock_t* clock
    lease_t* unused
    void** slabs
    uint64_t slab_count

cdef table_t* table_new(lease_clock_t* clock) noexcept nogil        # NULL: no memory
cdef void table_drop(table_t* table) noexcept nogil
# Makes a lease under an id that is not in use; nobody can acquire it before `set_status`. NULL: no memory.
cdef lease_t* table_add(table_t* table, uint64_t id) noexcept nogil
cdef void table_remove(table_t* table, lease_t* lease) noexcept nogil

# Finds a lease of this tenant that is usable now and locks it: 0, or why not (Code). `cache` may be NULL.
cdef int acquire(table_t* table, lease_cache_t* cache, uint32_t tenant, uint64_t id, bint writing,
                 lease_t** out) noexcept nogil
cdef void release(lease_t* lease) noexcept nogil

# Status of a lease now, expiry by time included. To be called with the lease locked or under the engine's lock.
cdef int status_now(table_t* table, lease_t* lease) noexcept nogil
# What an operation on a lease of this status is refused with; 0 for an active one.
cdef int code_of(int status) noexcept nogil

# Waits for calls in flight and then writes the status.
cdef void set_status(lease_t* lease, int status) noexcept nogil
cdef void set_expiry(lease_t* lease, int64_t seconds) noexcept nogil

cdef void chain_append(chain_t* chain, lease_t* lease) noexcept nogil
cdef void chain_remove(chain_t* chain, lease_t* lease) noexcept nogil
