# cython: language_level=3
"""The lease table: from an id to a lease that is usable now, in a few tens of nanoseconds."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from guesthouse.resources.leases.clock cimport clock_before

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

# Marks a cell whose lease was removed, so that probing goes on behind it.
cdef lease_t* REMOVED = <lease_t*>1


cdef void new_lock(pthread_rwlock_t* lock) noexcept nogil:
    # Writers first: a lease that two guests keep reading must still be freeable.
    cdef pthread_rwlockattr_t kind
    pthread_rwlockattr_init(&kind)
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    pthread_rwlock_init(lock, &kind)


cdef table_t* table_new(lease_clock_t* clock) except NULL:
    cdef table_t* table = <table_t*>calloc(1, sizeof(table_t))
    if table == NULL:
        raise MemoryError()
    table.mask = 1023
    table.cells = <lease_t**>calloc(table.mask + 1, sizeof(lease_t*))
    if table.cells == NULL:
        free(table)
        raise MemoryError()
    table.clock = clock
    new_lock(&table.lock)
    return table


cdef void table_drop(table_t* table) noexcept:
    cdef uint64_t i
    if table == NULL:
        return
    for i in range(table.slab_count):
        free(table.slabs[i])
    free(table.slabs)
    free(table.cells)
    free(table)


cdef int add_slab(table_t* table) except -1:
    cdef lease_t* slab = <lease_t*>calloc(SLAB, sizeof(lease_t))
    cdef void** slabs = <void**>realloc(table.slabs, (table.slab_count + 1) * sizeof(void*))
    if slabs != NULL:
        table.slabs = slabs
    if slab == NULL or slabs == NULL:
        free(slab)
        raise MemoryError()
    slabs[table.slab_count] = slab
    table.slab_count += 1
    for i in range(SLAB):
        new_lock(&slab[i].lock)
        slab[i].next_free = table.unused
        table.unused = &slab[i]
    return 0


cdef int rebuild(table_t* table) except -1:
    """Resize for what is live, and drop the marks of removed leases."""
    cdef uint64_t size = 1024
    cdef uint64_t i, at
    cdef lease_t* lease
    while size < table.live * 4:
        size *= 2
    cdef lease_t** cells = <lease_t**>calloc(size, sizeof(lease_t*))
    if cells == NULL:
        raise MemoryError()
    cdef lease_t** old = table.cells
    with nogil:
        pthread_rwlock_wrlock(&table.lock)
        for i in range(table.mask + 1):
            lease = old[i]
            if lease == NULL or lease == REMOVED:
                continue
            at = lease.id & (size - 1)
            while cells[at] != NULL:
                at = (at + 1) & (size - 1)
            cells[at] = lease
        table.cells = cells
        table.mask = size - 1
        table.used = table.live
        pthread_rwlock_unlock(&table.lock)
    free(old)
    return 0


cdef lease_t* table_add(table_t* table, uint64_t id) except NULL:
    """Make a lease under an id that is not in use. The caller holds the engine's lock, and fills it in
    before anybody can know the id."""
    cdef uint64_t at
    if (table.used + 1) * 2 > table.mask:
        rebuild(table)
    if table.unused == NULL:
        add_slab(table)
    cdef lease_t* lease = table.unused
    table.unused = lease.next_free
    # Nobody can pass `acquire` with it yet: the tenant is none, and it is revoked.
    lease.tenant, lease.status, lease.id = 0, REVOKED, id
    with nogil:
        pthread_rwlock_wrlock(&table.lock)
        at = id & table.mask
        while table.cells[at] != NULL and table.cells[at] != REMOVED:
            at = (at + 1) & table.mask
        if table.cells[at] == NULL:
            table.used += 1
        table.cells[at] = lease
        table.live += 1
        pthread_rwlock_unlock(&table.lock)
    return lease


cdef void table_remove(table_t* table, lease_t* lease) noexcept nogil:
    cdef uint64_t at
    pthread_rwlock_wrlock(&table.lock)
    at = lease.id & table.mask
    while table.cells[at] != NULL:
        if table.cells[at] == lease:
            table.cells[at] = REMOVED
            table.live -= 1
            break
        at = (at + 1) & table.mask
    pthread_rwlock_unlock(&table.lock)
    pthread_rwlock_wrlock(&lease.lock)
    lease.id = 0
    lease.tenant = 0
    lease.status = REVOKED
    pthread_rwlock_unlock(&lease.lock)
    lease.next_free = table.unused
    table.unused = lease


cdef lease_t* find(table_t* table, uint64_t id) noexcept nogil:
    cdef lease_t* lease
    cdef lease_t* found = NULL
    cdef uint64_t at
    pthread_rwlock_rdlock(&table.lock)
    at = id & table.mask
    while True:
        lease = table.cells[at]
        if lease == NULL:
            break
        if lease != REMOVED and lease.id == id:
            found = lease
            break
        at = (at + 1) & table.mask
    pthread_rwlock_unlock(&table.lock)
    return found


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
    return LEASE_FENCED if status == FENCED else LEASE_REVOKED if status == REVOKED else LEASE_EXPIRED


cdef void release(lease_t* lease) noexcept nogil:
    pthread_rwlock_unlock(&lease.lock)


cdef int status_now(table_t* table, lease_t* lease) noexcept nogil:
    if lease.status == ACTIVE and not clock_before(table.clock, lease.expires_ns):
        return EXPIRED
    return lease.status


cdef void set_status(lease_t* lease, int status) noexcept nogil:
    pthread_rwlock_wrlock(&lease.lock)
    lease.status = status
    pthread_rwlock_unlock(&lease.lock)


cdef void set_expiry(lease_t* lease, int64_t seconds) noexcept nogil:
    pthread_rwlock_wrlock(&lease.lock)
    lease.expires = seconds
    lease.expires_ns = seconds * SECOND
    pthread_rwlock_unlock(&lease.lock)
