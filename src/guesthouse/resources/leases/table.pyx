# cython: language_level=3
"""The lease table: from an id to a lease that is usable now, in a few tens of nanoseconds."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from guesthouse.resources.leases.clock cimport clock_before
from guesthouse.resources.leases.numbers cimport map_drop, map_get, map_init, map_put, map_remove

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlockattr_t:
        pass
    int PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP
    int pthread_rwlockattr_init(pthread_rwlockattr_t*)
    int pthread_rwlockattr_setkind_np(pthread_rwlockattr_t*, int)
    int pthread_rwlock_init(pthread_rwlock_t*, const pthread_rwlockattr_t*)
    int pthread_rwlock_destroy(pthread_rwlock_t*)
    int pthread_rwlock_rdlock(pthread_rwlock_t*)
    int pthread_rwlock_wrlock(pthread_rwlock_t*)
    int pthread_rwlock_unlock(pthread_rwlock_t*)

cdef enum:
    SLAB = 512
    SECOND = 1000000000


cdef void new_lock(pthread_rwlock_t* lock) noexcept nogil:
    # Writers first: a lease that two guests keep reading must still be freeable.
    cdef pthread_rwlockattr_t kind
    pthread_rwlockattr_init(&kind)
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    pthread_rwlock_init(lock, &kind)


cdef table_t* table_new(lease_clock_t* clock) noexcept nogil:
    cdef table_t* table = <table_t*>calloc(1, sizeof(table_t))
    if table == NULL or map_init(&table.leases) != 0:
        free(table)
        return NULL
    table.clock = clock
    new_lock(&table.lock)
    return table


cdef void table_drop(table_t* table) noexcept nogil:
    cdef uint64_t i
    if table == NULL:
        return
    for i in range(table.slab_count):
        free(table.slabs[i])
    free(table.slabs)
    map_drop(&table.leases)
    free(table)


cdef int add_slab(table_t* table) noexcept nogil:
    cdef lease_t* slab = <lease_t*>calloc(SLAB, sizeof(lease_t))
    cdef void** slabs = <void**>realloc(table.slabs, (table.slab_count + 1) * sizeof(void*))
    if slabs != NULL:
        table.slabs = slabs
    if slab == NULL or slabs == NULL:
        free(slab)
        return -1
    slabs[table.slab_count] = slab
    table.slab_count += 1
    for i in range(SLAB):
        new_lock(&slab[i].lock)
        slab[i].next = table.unused
        table.unused = &slab[i]
    return 0


cdef lease_t* table_add(table_t* table, uint64_t id) noexcept nogil:
    cdef lease_t* lease
    cdef int status
    if table.unused == NULL and add_slab(table) != 0:
        return NULL
    lease = table.unused
    pthread_rwlock_wrlock(&table.lock)
    status = map_put(&table.leases, id, lease)
    pthread_rwlock_unlock(&table.lock)
    if status != 0:
        return NULL
    table.unused = lease.next
    # Nobody can pass `acquire` with it yet: the tenant is none, and it is revoked.
    lease.tenant, lease.status, lease.id = 0, REVOKED, id
    lease.before = lease.after = lease.next = NULL
    return lease


cdef void table_remove(table_t* table, lease_t* lease) noexcept nogil:
    pthread_rwlock_wrlock(&table.lock)
    map_remove(&table.leases, lease.id)
    pthread_rwlock_unlock(&table.lock)
    pthread_rwlock_wrlock(&lease.lock)
    lease.id = 0
    lease.tenant = 0
    lease.status = REVOKED
    pthread_rwlock_unlock(&lease.lock)
    lease.next = table.unused
    table.unused = lease


cdef lease_t* find(table_t* table, uint64_t id) noexcept nogil:
    pthread_rwlock_rdlock(&table.lock)
    cdef lease_t* lease = <lease_t*>map_get(&table.leases, id)
    pthread_rwlock_unlock(&table.lock)
    return lease


cdef int acquire(table_t* table, lease_cache_t* cache, uint32_t tenant, uint64_t id, bint writing,
                 lease_t** out) noexcept nogil:
    cdef lease_t* lease = NULL
    cdef int status
    if id == 0:
        return UNKNOWN_LEASE
    if cache != NULL:
        lease = cache.entries[id & (CACHED - 1)]
        if lease != NULL and lease.id != id:
            lease = NULL
    if lease == NULL:
        lease = find(table, id)
        if lease == NULL:
            return UNKNOWN_LEASE
    if writing:
        pthread_rwlock_wrlock(&lease.lock)
    else:
        pthread_rwlock_rdlock(&lease.lock)
    # It may have been forgotten, and the struct given to another lease, since it was found.
    if lease.id != id or lease.tenant != tenant:
        pthread_rwlock_unlock(&lease.lock)
        return UNKNOWN_LEASE
    if cache != NULL:
        cache.entries[id & (CACHED - 1)] = lease
    status = status_now(table, lease)
    if status == ACTIVE:
        out[0] = lease
        return 0
    pthread_rwlock_unlock(&lease.lock)
    return code_of(status)


cdef void release(lease_t* lease) noexcept nogil:
    pthread_rwlock_unlock(&lease.lock)


cdef int status_now(table_t* table, lease_t* lease) noexcept nogil:
    if lease.status == ACTIVE and not clock_before(table.clock, lease.expires_ns):
        return EXPIRED
    return lease.status


cdef int code_of(int status) noexcept nogil:
    if status == ACTIVE:
        return 0
    return LEASE_FENCED if status == FENCED else LEASE_REVOKED if status == REVOKED else LEASE_EXPIRED


cdef void set_status(lease_t* lease, int status) noexcept nogil:
    pthread_rwlock_wrlock(&lease.lock)
    lease.status = status
    pthread_rwlock_unlock(&lease.lock)


cdef void set_expiry(lease_t* lease, int64_t seconds) noexcept nogil:
    pthread_rwlock_wrlock(&lease.lock)
    lease.expires = seconds
    lease.expires_ns = seconds * SECOND
    pthread_rwlock_unlock(&lease.lock)


cdef void chain_append(chain_t* chain, lease_t* lease) noexcept nogil:
    lease.before, lease.after = chain.last, NULL
    if chain.last != NULL:
        chain.last.after = lease
    else:
        chain.first = lease
    chain.last = lease
    chain.count += 1


cdef void chain_remove(chain_t* chain, lease_t* lease) noexcept nogil:
    if lease.before != NULL:
        lease.before.after = lease.after
    else:
        chain.first = lease.after
    if lease.after != NULL:
        lease.after.before = lease.before
    else:
        chain.last = lease.before
    lease.before = lease.after = NULL
    chain.count -= 1
