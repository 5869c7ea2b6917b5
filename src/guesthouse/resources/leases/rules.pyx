# cython: language_level=3
"""The lease rules of spec fabric.md 8, natively: who holds what until when.

Extents are taken and given back under the engine's lock; they are prepared and scrubbed without it, as
that can take long and must not hold up other tenants.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from guesthouse.resources.leases.clock cimport clock_ns
from guesthouse.resources.leases.due cimport batch_t, due_add, due_drop, due_init, due_next, due_prepare, due_remove
from guesthouse.resources.leases.extents cimport (
    extents_drop, extents_give_back, extents_init, extents_longest, extents_take,
)
from guesthouse.resources.leases.log cimport log_end, log_fence, log_grant, log_release, log_renew
from guesthouse.resources.leases.numbers cimport map_get
from guesthouse.resources.leases.table cimport (
    ACTIVE, CAPACITY_EXCEEDED, EXPIRED, FENCED, INTERNAL, INVALID_ARGUMENT, LEASE_FENCED, REVOKED,
    UNKNOWN_LEASE, chain_append, chain_remove, code_of, set_expiry, set_status, status_now, table_add,
    table_remove,
)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* out)
    int CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* into, size_t length, unsigned int flags)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutexattr_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int PTHREAD_MUTEX_RECURSIVE
    int pthread_mutexattr_init(pthread_mutexattr_t*)
    int pthread_mutexattr_settype(pthread_mutexattr_t*, int)
    int pthread_mutex_init(pthread_mutex_t*, pthread_mutexattr_t*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)
    int pthread_condattr_init(pthread_condattr_t*)
    int pthread_condattr_setclock(pthread_condattr_t*, int)
    int pthread_cond_init(pthread_cond_t*, pthread_condattr_t*)
    int pthread_cond_broadcast(pthread_cond_t*)
    int pthread_cond_timedwait(pthread_cond_t*, pthread_mutex_t*, const timespec*)

cdef enum:
    NS = 1000000000
    # Time to live that 0 asks for, and the longest one, in seconds (spec fabric.md 4).
    DEFAULT_TTL = 300
    MAX_TTL = 86400
    # Ended leases stay known this long, and this many of them per tenant (spec fabric.md 8.6).
    REMEMBER_SECONDS = 3600
    REMEMBER_COUNT = 65536
    # A teardown that takes longer fences its extent (spec fabric.md 8.8).
    TEARDOWN_SECONDS = 10


cdef int engine_init(engine_t* engine, table_t* table, backing_t* backing, log_t* log) noexcept nogil:
    cdef pthread_mutexattr_t kind
    cdef pthread_condattr_t waits
    memset(engine, 0, sizeof(engine_t))
    pthread_mutexattr_init(&kind)
    # A finalizer may run in a backing that is called under the lock, and ask something.
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE)
    pthread_mutex_init(&engine.lock, &kind)
    pthread_condattr_init(&waits)
    pthread_condattr_setclock(&waits, CLOCK_MONOTONIC)
    pthread_cond_init(&engine.changed, &waits)
    engine.table, engine.backing, engine.log, engine.generation = table, backing, log, 1
    engine.most_records = MOST_RECORDS
    return -1 if due_init(&engine.due) != 0 else extents_init(&engine.space, backing.size)


cdef void engine_drop(engine_t* engine) noexcept nogil:
    extents_drop(&engine.space)
    due_drop(&engine.due)


cdef void lock(engine_t* engine) noexcept nogil:
    pthread_mutex_lock(&engine.lock)


cdef void unlock(engine_t* engine) noexcept nogil:
    pthread_mutex_unlock(&engine.lock)


# -- what tenants do --------------------------------------------------------------------------------------

cdef int grant_lease(engine_t* engine, account_t* owner, uint64_t amount, uint64_t ttl,
                     sight_t* out) noexcept nogil:
    cdef uint64_t start, generation
    cdef int status
    lock(engine)
    if engine.due.count and engine.due.heap[0].moment <= seconds(engine):
        unlock(engine)
        reap_leases(engine)
        lock(engine)
    status = take(engine, owner, &amount, &start)
    if status == 0:
        generation = engine.generation
        engine.generation += 1
        unlock(engine)
        status = engine.backing.admit(engine.backing.self, start, units_of(engine, amount), generation)
        lock(engine)
        if status != 0:         # zeros could not be proven: nobody gets these units
            engine.fenced_units += units_of(engine, amount)
            status = CAPACITY_EXCEEDED
        else:
            status = issue(engine, owner, amount, ttl, start, generation, out)
            if status != 0:
                extents_give_back(&engine.space, start, units_of(engine, amount))
        if status != 0:
            owner.used -= amount
            owner.active -= 1
    unlock(engine)
    return status


cdef int renew_lease(engine_t* engine, account_t* owner, uint64_t id, uint64_t ttl,
                     uint64_t* expires) noexcept nogil:
    cdef lease_t* lease
    cdef int64_t moment
    cdef int status
    lock(engine)
    lease = find_lease(engine, owner, id)
    status = UNKNOWN_LEASE if lease == NULL else code_of(status_now(engine.table, lease))
    if status == 0:
        moment = seconds(engine) + lifetime(ttl)
        if moment > lease.expires:
            if due_prepare(&engine.due, moment) != 0:
                status = INTERNAL
            elif engine.log != NULL and log_renew(engine.log, id, moment) != 0:
                status = INTERNAL
            else:
                due_remove(&engine.due, lease)
                set_expiry(lease, moment)
                due_add(&engine.due, lease)
        expires[0] = <uint64_t>lease.expires
    unlock(engine)
    return status


cdef int free_lease(engine_t* engine, account_t* owner, uint64_t id) noexcept nogil:
    cdef lease_t* lease
    cdef int status
    lock(engine)
    lease = find_lease(engine, owner, id)
    status = UNKNOWN_LEASE if lease == NULL else code_of(status_now(engine.table, lease))
    if status == 0:
        status = end(engine, lease, REVOKED, seconds(engine))
    unlock(engine)
    if status == 0 and not tear_down(engine, lease):
        return LEASE_FENCED
    return status


cdef int query_lease(engine_t* engine, account_t* owner, uint64_t id, sight_t* out) noexcept nogil:
    cdef lease_t* lease
    lock(engine)
    lease = find_lease(engine, owner, id)
    if lease != NULL:
        look_at(engine, lease, out)
    unlock(engine)
    return UNKNOWN_LEASE if lease == NULL else 0


cdef int ready_for(engine_t* engine, account_t* owner) noexcept nogil:
    cdef bint nothing_left
    lock(engine)
    nothing_left = (owner.fenced and owner.quota <= <int64_t>owner.fenced) or (
        engine.fenced_units and engine.fenced_units >= engine.backing.size
    )
    unlock(engine)
    return LEASE_FENCED if nothing_left else 0


# -- what the host does -----------------------------------------------------------------------------------

cdef uint64_t reap_leases(engine_t* engine) noexcept nogil:
    cdef lease_t* expired = NULL
    cdef lease_t* lease
    cdef batch_t* batch
    cdef account_t* owner
    cdef uint64_t count = 0
    cdef int64_t now
    lock(engine)
    now = seconds(engine)
    batch = due_next(&engine.due)
    while batch != NULL and batch.moment <= now:
        lease = batch.leases.first
        end(engine, lease, EXPIRED, lease.expires)
        lease.next = expired
        expired = lease
        batch = due_next(&engine.due)
    owner = engine.accounts
    while owner != NULL:
        forget_oldest(engine, owner, now)
        owner = owner.next
    unlock(engine)
    while expired != NULL:
        lease = expired
        expired = lease.next    # once it is torn down it may be forgotten, and given to another
        tear_down(engine, lease)
        count += 1
    return count


cdef int unfence_lease(engine_t* engine, uint64_t id) noexcept nogil:
    cdef lease_t* lease
    cdef int64_t now
    lock(engine)
    lease = find_lease(engine, NULL, id)
    if lease == NULL or lease.status != FENCED:
        unlock(engine)
        return UNKNOWN_LEASE if lease == NULL else INVALID_ARGUMENT
    now = seconds(engine)
    if engine.log != NULL and log_end(engine.log, id, REVOKED, now) != 0:
        unlock(engine)
        return INTERNAL
    lease.owner.fenced -= lease.capacity
    engine.fenced_units -= lease.units
    chain_remove(&engine.fenced, lease)
    set_status(lease, REVOKED)
    lease.ended_at = now
    chain_append(&lease.owner.ended, lease)
    engine.tearing_down += 1
    unlock(engine)
    return 0 if tear_down(engine, lease) else LEASE_FENCED


cdef int doom_lease(engine_t* engine, uint64_t id) noexcept nogil:
    cdef lease_t* lease
    lock(engine)
    lease = find_lease(engine, NULL, id)
    if lease != NULL:
        lease.fail_teardown = True
    unlock(engine)
    return UNKNOWN_LEASE if lease == NULL else 0


# -- inside; the lock is held -----------------------------------------------------------------------------

cdef inline int64_t seconds(engine_t* engine) noexcept nogil:
    return clock_ns(engine.table.clock) // NS


cdef inline int64_t lifetime(uint64_t ttl) noexcept nogil:
    if ttl == 0:
        return DEFAULT_TTL
    return <int64_t>ttl if ttl < MAX_TTL else MAX_TTL


cdef uint64_t units_of(engine_t* engine, uint64_t amount) noexcept nogil:
    return amount // engine.backing.grain + (amount % engine.backing.grain != 0)


cdef bint overgrown(engine_t* engine) noexcept nogil:
    return engine.log != NULL and engine.log.records >= engine.most_records and (
        engine.log.records >= MOST_RECORDS_EACH * engine.table.leases.count
    )


cdef lease_t* find_lease(engine_t* engine, account_t* owner, uint64_t id) noexcept nogil:
    # Only who holds the engine's lock changes the table, so its own lock is not needed for looking.
    cdef lease_t* lease = <lease_t*>map_get(&engine.table.leases, id)
    if lease == NULL or lease.tenant == 0 or (owner != NULL and lease.owner != owner):
        return NULL
    return lease


cdef void look_at(engine_t* engine, lease_t* lease, sight_t* out) noexcept nogil:
    out.id, out.capacity, out.start, out.units = lease.id, lease.capacity, lease.start, lease.units
    out.generation, out.expires, out.ended_at = lease.generation, lease.expires, lease.ended_at
    out.status, out.owner = status_now(engine.table, lease), lease.owner


cdef int take(engine_t* engine, account_t* owner, uint64_t* amount, uint64_t* start) noexcept nogil:
    """Take an extent and charge it; waits for space that is just being scrubbed. 0 means the default amount."""
    cdef timespec until
    cdef bint waited = False
    cdef bint late = False
    cdef uint64_t left, wanted
    while True:
        left = <uint64_t>owner.quota - owner.used if owner.quota > <int64_t>owner.used else 0
        wanted = amount[0]
        if wanted == 0:
            wanted = min(engine.default_amount, left, extents_longest(&engine.space) * engine.backing.grain)
            if wanted < engine.default_amount and engine.tearing_down and not late:
                wanted = 0      # more is about to come back
        if 0 < wanted <= left and owner.active < engine.max_leases:
            if extents_take(&engine.space, units_of(engine, wanted), start) == 0:
                amount[0] = wanted
                owner.used += wanted
                owner.active += 1
                return 0
        if engine.tearing_down == 0 or late:
            return CAPACITY_EXCEEDED
        if not waited:
            clock_gettime(CLOCK_MONOTONIC, &until)
            until.tv_sec += TEARDOWN_SECONDS
            waited = True
        late = pthread_cond_timedwait(&engine.changed, &engine.lock, &until) != 0


cdef int issue(engine_t* engine, account_t* owner, uint64_t amount, uint64_t ttl, uint64_t start,
               uint64_t generation, sight_t* out) noexcept nogil:
    """Make the lease on a prepared extent, record it, and let it be used."""
    cdef uint64_t id = new_id(engine)
    cdef lease_t* lease = table_add(engine.table, id) if id else NULL
    if lease == NULL:
        return INTERNAL
    lease.owner, lease.capacity, lease.start, lease.generation = owner, amount, start, generation
    lease.units, lease.held, lease.fail_teardown, lease.ended_at = units_of(engine, amount), True, False, 0
    set_expiry(lease, seconds(engine) + lifetime(ttl))
    if due_prepare(&engine.due, lease.expires) != 0 or (
        engine.log != NULL and log_grant(engine.log, lease) != 0
    ):
        table_remove(engine.table, lease)
        return INTERNAL
    due_add(&engine.due, lease)
    activate(engine, lease)
    look_at(engine, lease, out)
    return 0


cdef void activate(engine_t* engine, lease_t* lease) noexcept nogil:
    """Let a lease be used by its owner."""
    lease.tenant = lease.owner.number
    set_status(lease, ACTIVE)


cdef uint64_t new_id(engine_t* engine) noexcept nogil:
    """A random id, non-zero and below 2^63, that is not in use (spec fabric.md 3.3); 0 without randomness."""
    cdef uint64_t id = 0
    while id == 0 or map_get(&engine.table.leases, id) != NULL:
        if engine.entropy_left == 0:
            while getrandom(engine.entropy, ENTROPY, 0) != ENTROPY:
                if errno != EINTR:
                    return 0
            engine.entropy_left = ENTROPY
        engine.entropy_left -= 8
        memcpy(&id, engine.entropy + engine.entropy_left, 8)
        id >>= 1
    return id


cdef int end(engine_t* engine, lease_t* lease, int status, int64_t at) noexcept nogil:
    """Make an active lease unusable; its capacity comes back with `tear_down`.

    What expires need not be recorded to be over; what is given up does, or it would be back after a restart.
    """
    if engine.log != NULL and log_end(engine.log, lease.id, status, at) != 0 and status != EXPIRED:
        return INTERNAL
    set_status(lease, status)   # waits for calls in flight
    due_remove(&engine.due, lease)
    lease.ended_at = at
    lease.owner.active -= 1
    engine.tearing_down += 1
    chain_append(&lease.owner.ended, lease)
    if lease.owner.ended.count > REMEMBER_COUNT and not lease.owner.ended.first.held:
        forget(engine, lease.owner.ended.first)
    return 0


cdef bint tear_down(engine_t* engine, lease_t* lease) noexcept nogil:
    """Scrub an ended lease and return its extent, or fence it: whether it worked. Without the lock."""
    cdef timespec begun, done
    cdef bint works = not lease.fail_teardown
    lease.fail_teardown = False
    clock_gettime(CLOCK_MONOTONIC_COARSE, &begun)
    if works:
        works = engine.backing.scrub(engine.backing.self, lease.start, lease.units) == 0
    clock_gettime(CLOCK_MONOTONIC_COARSE, &done)
    if done.tv_sec - begun.tv_sec - (done.tv_nsec < begun.tv_nsec) >= TEARDOWN_SECONDS:
        works = False
    lock(engine)
    engine.tearing_down -= 1
    if works:
        lease.held = False
        lease.owner.used -= lease.capacity
        extents_give_back(&engine.space, lease.start, lease.units)
    else:
        set_status(lease, FENCED)
        lease.owner.fenced += lease.capacity
        engine.fenced_units += lease.units
        chain_remove(&lease.owner.ended, lease)
        chain_append(&engine.fenced, lease)
    # What does not survive is in no extent after a restart, so nobody will ask. Where this cannot be
    # recorded, the next start scrubs once more.
    if engine.log != NULL and engine.survives:
        if works:
            log_release(engine.log, lease.id)
        else:
            log_fence(engine.log, lease.id)
    pthread_cond_broadcast(&engine.changed)
    unlock(engine)
    return works


cdef void forget(engine_t* engine, lease_t* lease) noexcept nogil:
    """Drop every trace of an ended lease: from now on its id is as unknown as any other.

    The journal is not told: a restart forgets by the same rules.
    """
    chain_remove(&lease.owner.ended, lease)
    table_remove(engine.table, lease)


cdef void forget_oldest(engine_t* engine, account_t* owner, int64_t now) noexcept nogil:
    """Forget what ended long ago, and what there is too much of."""
    cdef lease_t* oldest = owner.ended.first
    while oldest != NULL and not oldest.held and (
        oldest.ended_at + REMEMBER_SECONDS < now or owner.ended.count > REMEMBER_COUNT
    ):
        forget(engine, oldest)
        oldest = owner.ended.first
