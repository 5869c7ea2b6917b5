# cython: language_level=3
"""Who may touch a value when; see ``locking.pxd``.

Lock order: a value's mutex, then a tenant's mutex or the graph mutex; nothing is taken below those two.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, realloc

from guesthouse.resources.state.posix cimport (
    pthread_cond_broadcast,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
    share,
    wait_a_while,
)
from guesthouse.resources.state.values cimport (
    DEADLOCK,
    FINE,
    NO_MEMORY,
    NOT_LOCKED,
    STOPPED,
    Holder,
    Value,
    release,
)

cdef int64_t PIECE = 10_000_000     # nanoseconds between two looks at whether to stop waiting

cdef pthread_mutex_t graph              # guards who holds and who waits, process-wide; taken when locks change
pthread_mutex_init(&graph, NULL)
cdef Actor* waiting = NULL


cdef int waits_for(Actor* actor, uint64_t owner) noexcept nogil:
    # Does the call `owner` wait for the actor's call to end?
    cdef size_t i
    for i in range(actor.waiter_count):
        if actor.waiters[i] == owner:
            return 1
    return 0


cdef int hindered(Actor* actor, Value* value, int exclusive) noexcept nogil:
    # Does another call's explicit lock stand in the way of an operation?
    cdef Holder* holder
    cdef int i, found = 0
    if value.holder_count == 0 or actor.above_locks:
        return 0
    for i in range(value.holder_count):
        holder = &value.holders[i]
        if holder.owner == actor.owner:
            return 0
        if holder.writes or exclusive:
            found = 1
    return found


cdef int leads_to(Actor* actor, Value* value) noexcept nogil:
    # With the graph mutex held: does anybody who holds `value` wait, in the end, for the actor?
    cdef Actor* other
    cdef int i
    for i in range(value.holder_count):
        if value.holders[i].owner == actor.owner or waits_for(actor, value.holders[i].owner):
            return 1
        other = waiting
        while other != NULL:
            if other.owner == value.holders[i].owner and not other.visited:
                other.visited = 1
                if leads_to(actor, other.waiting_for):
                    return 1
            other = other.next_waiting
    return 0


cdef int endless(Actor* actor, Value* value) noexcept nogil:
    # Would waiting for the locks on `value` never end? Notes the wait when it does make sense.
    global waiting
    cdef Actor* other
    cdef int i, found = 0
    pthread_mutex_lock(&graph)
    other = waiting
    while other != NULL:
        other.visited = 0
        other = other.next_waiting
    for i in range(value.holder_count):
        if value.holders[i].owner == actor.owner:
            continue                        # an upgrade waits for the others
        if waits_for(actor, value.holders[i].owner):
            found = 1
        other = waiting
        while other != NULL and not found:
            if other.owner == value.holders[i].owner and not other.visited:
                other.visited = 1
                found = leads_to(actor, other.waiting_for)
            other = other.next_waiting
    if not found and actor.waiting_for == NULL:
        actor.waiting_for = value
        actor.next_waiting = waiting
        waiting = actor
    pthread_mutex_unlock(&graph)
    return found


cdef void waits_no_more(Actor* actor) noexcept nogil:
    global waiting
    cdef Actor* other
    if actor.waiting_for == NULL:
        return
    pthread_mutex_lock(&graph)
    actor.waiting_for = NULL
    if waiting == actor:
        waiting = actor.next_waiting
    else:
        other = waiting
        while other.next_waiting != actor:
            other = other.next_waiting
        other.next_waiting = actor.next_waiting
    pthread_mutex_unlock(&graph)


cdef int sleep(Actor* actor, Value* value) noexcept nogil:
    # Sleeps until something changed, for at most a piece. The mutex is let go meanwhile.
    value.sleepers += 1
    wait_a_while(&value.changed, &value.mutex, PIECE)
    value.sleepers -= 1
    return consult(actor, value)


cdef int consult(Actor* actor, Value* value) noexcept nogil:
    # Asks whether to stop, and who waits for whom now. The mutex is let go meanwhile.
    if actor.stop != NULL:
        pthread_mutex_unlock(&value.mutex)
        if actor.stop(actor.stop_argument):
            pthread_mutex_lock(&value.mutex)
            return STOPPED
        pthread_mutex_lock(&value.mutex)
    return FINE


cdef void wake(Value* value) noexcept nogil:
    if value.sleepers:
        pthread_cond_broadcast(&value.changed)


cdef int begin(Actor* actor, Value* value, int kind, int exclusive) noexcept nogil:
    cdef int reason = FINE, queued = 0, patient = 1, asked = 0
    pthread_mutex_lock(&value.mutex)
    while True:
        if patient and hindered(actor, value, exclusive):
            if queued:                      # the lock's holder must not queue behind us
                value.writers_waiting -= 1
                queued = 0
                wake(value)
            if not asked:
                asked = 1
                reason = consult(actor, value)
                if reason:
                    break
                continue
            if endless(actor, value):
                patient = 0                 # locks are advisory: going on beats waiting for ever
                continue
        elif kind == WRITING:
            if not value.writing and not value.reading and not value.pushing:
                break
            if not queued:                  # keeps a stream of readers from starving writers
                value.writers_waiting += 1
                queued = 1
        elif not value.writing and not (kind == PUSHING and value.pushing):
            if not value.writers_waiting:
                break
        reason = sleep(actor, value)
        if reason:
            break
    if queued:
        value.writers_waiting -= 1
        if reason:
            wake(value)
    if not reason:
        if kind == WRITING:
            value.writing = 1
        elif kind == PUSHING:
            value.pushing = 1
        else:
            value.reading += 1
    waits_no_more(actor)
    pthread_mutex_unlock(&value.mutex)
    return reason


cdef void finish(Value* value, int kind) noexcept nogil:
    pthread_mutex_lock(&value.mutex)
    if kind == WRITING:
        value.writing = 0
    elif kind == PUSHING:
        value.pushing = 0
    else:
        value.reading -= 1
    wake(value)
    pthread_mutex_unlock(&value.mutex)


cdef Holder* holder_of(Value* value, uint64_t owner) noexcept nogil:
    cdef int i
    for i in range(value.holder_count):
        if value.holders[i].owner == owner:
            return &value.holders[i]
    return NULL


cdef int taken(Actor* actor, Value* value, int write) noexcept nogil:
    # Do other calls' explicit locks stand in the way of a lock?
    cdef Holder* holder
    cdef int i
    for i in range(value.holder_count):
        holder = &value.holders[i]
        if holder.owner != actor.owner and (write or holder.writes):
            return 1
    return not write and value.lockers_waiting > 0 and holder_of(value, actor.owner) == NULL


cdef int keep(Actor* actor, Value* value, int write) noexcept nogil:
    # Notes the lock with the value and with the actor; both mutexes are held.
    cdef Holder* holder = holder_of(value, actor.owner)
    cdef Holder* holders
    cdef Value** held
    cdef size_t i
    for i in range(actor.held_count):
        if actor.held[i] == value:
            break
    else:
        if actor.held_count == actor.held_room:
            held = <Value**> realloc(actor.held, (actor.held_room + 8) * sizeof(Value*))
            if held == NULL:
                return NO_MEMORY
            actor.held = held
            actor.held_room += 8
        actor.held[actor.held_count] = value
        actor.held_count += 1
        share(&value.references)
    if holder == NULL:
        if value.holder_count == value.holder_room:
            holders = <Holder*> realloc(value.holders, (value.holder_room + 8) * sizeof(Holder))
            if holders == NULL:
                return NO_MEMORY            # the reference stays until `unlock_all`
            value.holders = holders
            value.holder_room += 8
        holder = &value.holders[value.holder_count]
        value.holder_count += 1
        holder.owner = actor.owner
        holder.reads = holder.writes = 0
    if write:
        holder.writes += 1
    else:
        holder.reads += 1
    return FINE


cdef void drop_holder(Value* value, Holder* holder) noexcept nogil:
    value.holder_count -= 1
    holder[0] = value.holders[value.holder_count]


cdef int lock(Actor* actor, Value* value, int write) noexcept nogil:
    cdef int reason = FINE, queued = 0
    pthread_mutex_lock(&value.mutex)
    if taken(actor, value, write):
        reason = consult(actor, value)
    while not reason and taken(actor, value, write):
        if endless(actor, value):
            reason = DEADLOCK
            break
        if write and not queued:            # new readers queue behind a waiting writer
            value.lockers_waiting += 1
            queued = 1
        reason = sleep(actor, value)
        if reason:
            break
    if queued:
        value.lockers_waiting -= 1
    waits_no_more(actor)
    if not reason:
        pthread_mutex_lock(&graph)
        reason = keep(actor, value, write)
        pthread_mutex_unlock(&graph)
    # operations that began before end soon; new ones already wait for us
    while not reason and (value.writing or (write and (value.reading or value.pushing))):
        reason = sleep(actor, value)
        if reason:
            pthread_mutex_unlock(&value.mutex)
            unlock(actor, value, write)
            pthread_mutex_lock(&value.mutex)
    if queued:
        wake(value)
    pthread_mutex_unlock(&value.mutex)
    return reason


cdef int unlock(Actor* actor, Value* value, int write) noexcept nogil:
    cdef int reason = NOT_LOCKED, gone = 0
    cdef Holder* holder
    cdef size_t i
    pthread_mutex_lock(&value.mutex)
    pthread_mutex_lock(&graph)
    holder = holder_of(value, actor.owner)
    if holder != NULL and (holder.writes if write else holder.reads):
        reason = FINE
        if write:
            holder.writes -= 1
        else:
            holder.reads -= 1
        if not holder.reads and not holder.writes:
            drop_holder(value, holder)
            for i in range(actor.held_count):
                if actor.held[i] == value:
                    actor.held_count -= 1
                    actor.held[i] = actor.held[actor.held_count]
                    gone = 1
                    break
        wake(value)
    pthread_mutex_unlock(&graph)
    pthread_mutex_unlock(&value.mutex)
    if gone:
        release(value)
    return reason


cdef void unlock_all(Actor* actor) noexcept nogil:
    cdef Value* value
    cdef Holder* holder
    while actor.held_count:
        actor.held_count -= 1
        value = actor.held[actor.held_count]
        pthread_mutex_lock(&value.mutex)
        pthread_mutex_lock(&graph)
        holder = holder_of(value, actor.owner)
        if holder != NULL:
            drop_holder(value, holder)
        wake(value)
        pthread_mutex_unlock(&graph)
        pthread_mutex_unlock(&value.mutex)
        release(value)
    free(actor.held)
    actor.held = NULL
    actor.held_room = 0
