# cython: language_level=3
"""The local tier's values: names, storage and references; see ``values.pxd``.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from guesthouse.resources.state cimport arena as pages
from guesthouse.resources.state.arena cimport PAGE, Arena
from guesthouse.resources.state.posix cimport (
    init_condition,
    pthread_cond_destroy,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
    share,
    unshare,
)

# -- names ------------------------------------------------------------------------------------------


cdef uint64_t hash_of(const uint8_t* key, size_t length) noexcept nogil:
    cdef uint64_t value = 14695981039346656037ULL       # FNV-1a
    cdef size_t i
    for i in range(length):
        value = (value ^ key[i]) * 1099511628211ULL
    return value ^ (value >> 32)


cdef Tenant* tenant_create(Arena* arena, uint64_t keys_limit, uint64_t bytes_limit) noexcept nogil:
    cdef Tenant* tenant = <Tenant*> calloc(1, sizeof(Tenant))
    if tenant == NULL:
        return NULL
    tenant.bucket_count = 64
    tenant.buckets = <Value**> calloc(64, sizeof(Value*))
    if tenant.buckets == NULL:
        free(tenant)
        return NULL
    tenant.arena = arena
    tenant.keys_limit = keys_limit
    tenant.bytes_limit = bytes_limit
    pthread_mutex_init(&tenant.mutex, NULL)
    return tenant


cdef void tenant_destroy(Tenant* tenant) noexcept nogil:
    cdef Value* value = pop(tenant)
    while value != NULL:
        release(value)
        value = pop(tenant)
    pthread_mutex_destroy(&tenant.mutex)
    free(tenant.buckets)
    free(tenant)


cdef Value* look(Tenant* tenant, uint64_t hash, const uint8_t* key, size_t length) noexcept nogil:
    cdef Value* value = tenant.buckets[hash & (tenant.bucket_count - 1)]
    while value != NULL:
        if value.hash == hash and value.key_length == length and memcmp(value.key, key, length) == 0:
            share(&value.references)
            return value
        value = value.next
    return NULL


cdef Value* find(Tenant* tenant, const uint8_t* key, size_t length) noexcept nogil:
    cdef Value* value
    pthread_mutex_lock(&tenant.mutex)
    value = look(tenant, hash_of(key, length), key, length)
    pthread_mutex_unlock(&tenant.mutex)
    return value


cdef void widen(Tenant* tenant) noexcept nogil:
    cdef size_t room = tenant.bucket_count * 4, i
    cdef Value** buckets = <Value**> calloc(room, sizeof(Value*))
    cdef Value* value
    cdef Value* following
    if buckets == NULL:
        return                              # slower, not wrong
    for i in range(tenant.bucket_count):
        value = tenant.buckets[i]
        while value != NULL:
            following = value.next
            value.next = buckets[value.hash & (room - 1)]
            buckets[value.hash & (room - 1)] = value
            value = following
    free(tenant.buckets)
    tenant.buckets = buckets
    tenant.bucket_count = room


cdef Value* find_or_add(Tenant* tenant, const uint8_t* key, size_t length, int* reason) noexcept nogil:
    cdef uint64_t hash = hash_of(key, length)
    cdef Value* value
    cdef Value** bucket
    pthread_mutex_lock(&tenant.mutex)
    value = look(tenant, hash, key, length)
    if value == NULL:
        if tenant.keys >= tenant.keys_limit:
            reason[0] = OVER_QUOTA
        else:
            value = <Value*> calloc(1, sizeof(Value) + length)
            if value == NULL:
                reason[0] = NO_MEMORY
    if value != NULL and not value.listed and value.references == 0:
        memcpy(value.key, key, length)
        value.key_length = length
        value.hash = hash
        value.tenant = tenant
        value.references = 2                # the table's and the caller's
        value.listed = 1
        value.version = -1
        pthread_mutex_init(&value.mutex, NULL)
        init_condition(&value.changed)
        if tenant.keys >= tenant.bucket_count * 2:
            widen(tenant)
        bucket = &tenant.buckets[hash & (tenant.bucket_count - 1)]
        value.next = bucket[0]
        bucket[0] = value
        tenant.keys += 1
    pthread_mutex_unlock(&tenant.mutex)
    return value


cdef int unlist(Value* value) noexcept nogil:
    # with the tenant's mutex held
    cdef Tenant* tenant = value.tenant
    cdef Value** link = &tenant.buckets[value.hash & (tenant.bucket_count - 1)]
    if not value.listed:
        return 0
    while link[0] != value:
        link = &link[0].next
    link[0] = value.next
    value.listed = 0
    tenant.keys -= 1
    return 1


cdef int forget(Value* value) noexcept nogil:
    cdef Tenant* tenant = value.tenant
    cdef int was
    pthread_mutex_lock(&tenant.mutex)
    was = unlist(value)
    pthread_mutex_unlock(&tenant.mutex)
    if was:
        release(value)
    return was


cdef Value* pop(Tenant* tenant) noexcept nogil:
    cdef Value* value = NULL
    cdef size_t i
    pthread_mutex_lock(&tenant.mutex)
    for i in range(tenant.bucket_count):
        if tenant.buckets[i] != NULL:
            value = tenant.buckets[i]
            unlist(value)                   # the table's reference becomes the caller's
            break
    pthread_mutex_unlock(&tenant.mutex)
    return value

cdef uint64_t evict(Tenant* tenant) noexcept nogil:
    cdef Value* value
    cdef Value* following
    cdef Value* gone = NULL
    cdef uint64_t freed = 0
    cdef size_t i
    pthread_mutex_lock(&tenant.mutex)
    for i in range(tenant.bucket_count):
        value = tenant.buckets[i]
        while value != NULL:
            following = value.next
            # With the table's reference only, nothing runs on it, and nothing can begin to.
            if (value.references == 1 and value.sized and not value.mapped and not value.all_dirty
                    and value.dirty_from == value.dirty_to):
                unlist(value)
                value.next = gone
                gone = value
            value = following
    pthread_mutex_unlock(&tenant.mutex)
    while gone != NULL:
        value = gone
        gone = value.next
        freed += value.extent + 1
        release(value)
    return freed

# -- storage ----------------------------------------------------------------------------------------


cdef int fix_size(Value* value, uint64_t size) noexcept nogil:
    cdef Tenant* tenant = value.tenant
    cdef uint64_t extent = (size + PAGE - 1) & ~<uint64_t> (PAGE - 1)
    cdef int64_t offset = 0
    cdef int allowed, reason = FINE
    pthread_mutex_lock(&value.mutex)
    if not value.sized or (value.size == 0 and size > 0):
        pthread_mutex_lock(&tenant.mutex)
        allowed = extent <= tenant.bytes_limit - tenant.bytes
        if allowed:
            tenant.bytes += extent
        pthread_mutex_unlock(&tenant.mutex)
        if not allowed:
            reason = OVER_QUOTA
        elif extent:
            offset = pages.take(tenant.arena, extent)
            if offset < 0:
                pthread_mutex_lock(&tenant.mutex)
                tenant.bytes -= extent
                pthread_mutex_unlock(&tenant.mutex)
                reason = NO_MEMORY
        if reason == FINE:
            value.offset = <uint64_t> offset
            value.extent = extent
            value.base = tenant.arena.base + offset if extent else NULL
            value.size = size
            value.sized = 1
            value.whole = size == 0
    pthread_mutex_unlock(&value.mutex)
    return reason


cdef void release(Value* value) noexcept nogil:
    cdef Tenant* tenant = value.tenant
    if unshare(&value.references) > 0:
        return
    if value.extent:
        pages.give(tenant.arena, value.offset, value.extent)
        pthread_mutex_lock(&tenant.mutex)
        tenant.bytes -= value.extent
        pthread_mutex_unlock(&tenant.mutex)
    pthread_mutex_destroy(&value.mutex)
    pthread_cond_destroy(&value.changed)
    free(value.holders)
    free(value.here)
    free(value.dirty)
    free(value)
