# cython: language_level=3
"""The local tier's values: names, storage and references. No GIL needed."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from guesthouse.resources.state.arena cimport Arena
from guesthouse.resources.state.posix cimport pthread_cond_t, pthread_mutex_t

# Why an operation was refused; `errors.REASONS` has the words.
cdef enum:
    FINE = 0
    BAD_KEY = -1
    NO_SIZE = -2
    OTHER_SIZE = -3
    OUT_OF_RANGE = -4
    OVER_QUOTA = -5
    NOT_LOCKED = -6
    DEADLOCK = -7
    STOPPED = -8
    BACKEND = -9            # the session keeps the exception
    OTHER_MASK_SIZE = -10
    NO_MEMORY = -11

cdef enum:
    KEY_LIMIT = 4096        # bytes of a key

# A key as the guest wrote it.
cdef struct Key:
    const uint8_t* bytes
    size_t length

cdef struct Holder:
    uint64_t owner
    uint32_t reads
    uint32_t writes

cdef struct Tenant

cdef struct Value:
    Value* next             # in the tenant's table
    Tenant* tenant
    uint64_t hash
    long references         # the table's, operations', mappings' and explicit locks'
    int listed              # still in the table
    int sized
    int mapped              # a guest had a pointer into it, so that bytes may have changed unnoticed
    uint64_t size
    uint64_t offset         # of its extent in the arena
    uint64_t extent         # bytes, whole pages
    uint8_t* base
    # -- exclusion; `mutex` guards everything down to `holders`
    pthread_mutex_t mutex
    pthread_cond_t changed
    int sleepers
    int reading
    int writing
    int pushing
    int writers_waiting
    int lockers_waiting     # calls that wait for the explicit write lock
    Holder* holders         # changed only with the graph mutex held as well
    int holder_count
    int holder_room
    # -- content; changed inside operations only, see `locking`
    int whole               # every byte is here
    int all_dirty
    uint64_t* here          # one bit per byte: was fetched or written; NULL: none (or see `whole`)
    uint64_t* dirty         # one bit per byte: to be pushed; NULL: none (or see `all_dirty`)
    uint64_t dirty_from     # no dirty bit is set outside [dirty_from, dirty_to)
    uint64_t dirty_to
    int64_t version         # global version that the clean local bytes equal; -1 unknown
    size_t key_length
    uint8_t key[1]

cdef struct Tenant:
    Arena* arena
    pthread_mutex_t mutex
    Value** buckets
    size_t bucket_count
    size_t keys
    uint64_t bytes          # of extents
    uint64_t keys_limit
    uint64_t bytes_limit

cdef Tenant* tenant_create(Arena* arena, uint64_t keys_limit, uint64_t bytes_limit) noexcept nogil
cdef void tenant_destroy(Tenant* tenant) noexcept nogil

# The value with this key, with one reference for the caller; NULL when there is none.
cdef Value* find(Tenant* tenant, const uint8_t* key, size_t length) noexcept nogil

# The same, made where it is missing. NULL: over quota or out of memory, see `reason`.
cdef Value* find_or_add(Tenant* tenant, const uint8_t* key, size_t length, int* reason) noexcept nogil

# Gives the value its size and storage, unless it has a size already (0 can still become another).
cdef int fix_size(Value* value, uint64_t size) noexcept nogil

# Gives one reference back; the last one frees the value and its storage.
cdef void release(Value* value) noexcept nogil

# Takes a value out of the table; whoever refers to it keeps it. True when it was there.
cdef int forget(Value* value) noexcept nogil

# Takes every value out of the table that nobody uses and that the global tier has just as well; 0 when there was none.
cdef uint64_t evict(Tenant* tenant) noexcept nogil

# Takes some value out of the table, with a reference for the caller; NULL when the table is empty.
cdef Value* pop(Tenant* tenant) noexcept nogil
