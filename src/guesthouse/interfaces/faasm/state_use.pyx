# cython: language_level=3
"""Who asks for state: the session of an instance, its keys, and refusals in words; see ``state_use.pxd``."""

import itertools
import types

cimport cython

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr

from guesthouse.engine.core cimport Attachment, Instance, claim_slot
from guesthouse.engine.record cimport TRAPPED, Record, interrupted, memory_size, span, trap
from guesthouse.resources.state.locking cimport Actor, unlock_all
from guesthouse.resources.state.store cimport Session
from guesthouse.resources.state.values cimport BACKEND, KEY_LIMIT, STOPPED, Key

from guesthouse.resources.state import errors

cdef int SLOT = claim_slot("faasm.state")

# What native functions find in their slot.
cdef struct Use:
    Actor* actor            # NULL before the first call
    void* keeper            # the StateUse, borrowed

# Owners of locks that no call owns: instances that outlive their calls.
NO_CALL = 1 << 62
NO_PARENT = types.SimpleNamespace(parent=None)
residents = itertools.count(1)

# -- who asks ------------------------------------------------------------------------------------------


@cython.no_gc_clear      # the session must still be there when the instance asks to detach
cdef class StateUse(Attachment):
    """One instance's use of its tenant's state; the session is opened with the first host call."""

    cdef Use use
    cdef object store
    cdef str tenant
    cdef Session session

    def __init__(self, store, str tenant):
        self.store, self.tenant = store, tenant
        self.use.keeper = <void*> self
        self.pointer = &self.use

    cdef void detach(self) noexcept:
        if self.use.actor != NULL:
            unlock_all(self.use.actor)


def bind(Instance instance not None, store, str tenant not None):
    """Let an instance that has not started use its tenant's state.

    Args:
        instance: its ``call`` owns the locks that the guest takes; the instance itself where it outlives calls.
        store: the host's `StateStore`.
        tenant: whose state.
    """
    instance.attach(SLOT, StateUse(store, tenant))


cdef int stop(void* argument) noexcept nogil:
    cdef Record* record = <Record*> argument
    cdef Use* use = <Use*> record.slots[SLOT]
    if interrupted(record):
        return 1
    if use.actor.waiters != NULL:
        look_who_waits(record, use)
    return 0


cdef void look_who_waits(Record* record, Use* use) noexcept with gil:
    """Notes which of the calls above this one wait for it just now."""
    cdef size_t found = 0
    try:
        call = (<Instance> record.owner).call
        parent = call.parent
        while parent is not None:
            each = parent.awaits
            while each is not None and each is not call:
                each = each.awaits
            if each is call:
                use.actor.waiters[found] = parent.id
                found += 1
            parent = parent.parent
        use.actor.waiter_count = found
    except BaseException:
        use.actor.waiter_count = 0          # then it waits until its deadline at worst


cdef Actor* open_session(Record* record, Use* use) noexcept with gil:
    cdef StateUse keeper = <StateUse> use.keeper
    try:
        call = (<Instance> record.owner).call
        if call is None:
            keeper.session = keeper.store.session(keeper.tenant, NO_CALL + next(residents))
            call = NO_PARENT
        above, parent = [], call.parent
        while parent is not None:
            above.append(parent.id)
            parent = parent.parent
        # Room for all of them; who waits is found out when that matters.
        if keeper.session is None:
            keeper.session = keeper.store.session(keeper.tenant, call.id, above)
        keeper.session.actor.waiter_count = 0
        keeper.session.actor.stop = stop
        keeper.session.actor.stop_argument = record
        use.actor = &keeper.session.actor
    except BaseException as problem:
        trap(record, f"state: {problem}".encode())
    return use.actor


def session(Instance instance not None):
    """Return the instance's session, for host functions written in Python; ``None`` when it was bound to no store.

    Raises:
        RuntimeError: it cannot be opened.
    """
    cdef Use* use = <Use*> instance.alive().slots[SLOT]
    if use == NULL:
        return None
    if use.actor == NULL and open_session(instance.record, use) == NULL:
        raise RuntimeError("the state session of the instance cannot be opened")
    return (<StateUse> use.keeper).session


cdef Actor* actor_of(Record* record) noexcept nogil:
    # NULL: the call was ended.
    cdef Use* use = <Use*> record.slots[SLOT]
    if use == NULL:
        trap(record, b"state: this instance was bound to no store")
        return NULL
    return use.actor if use.actor != NULL else open_session(record, use)


cdef int key_at(Record* record, uint32_t pointer, Key* key) noexcept nogil:
    # A C string of the guest; 1, or 0 when the call was ended.
    cdef uint64_t room = memory_size(record)
    cdef const uint8_t* start
    cdef const uint8_t* end
    room = min(room - pointer, <uint64_t> KEY_LIMIT + 1) if pointer < room else 0
    start = span(record, pointer, room) if room else NULL
    end = <const uint8_t*> memchr(start, 0, room) if start != NULL else NULL
    if end == NULL:
        trap(record, b"state: the key is no string of at most 4096 bytes inside of the guest's memory")
        return 0
    key.bytes = start
    key.length = end - start
    return 1


cdef Actor* who(Record* record, uint32_t pointer, Key* key) noexcept nogil:
    cdef Actor* by = actor_of(record)
    return by if by != NULL and key_at(record, pointer, key) else NULL


cdef int refuse(Record* record, int reason, Key key) noexcept with gil:
    """Ends the call with the reason in words; answers TRAPPED."""
    cdef Use* use = <Use*> record.slots[SLOT]
    cdef Session session = (<StateUse> use.keeper).session
    if reason == STOPPED:
        return TRAPPED                      # `interrupted` noted why
    try:
        if reason == BACKEND:
            problem, session.problem = session.problem, None
        else:
            name = PyBytes_FromStringAndSize(<char*> key.bytes, key.length)
            problem = errors.error(reason, key=name)
        trap(record, str(problem).encode())
    except BaseException:
        trap(record, b"state: the operation was refused")
    return TRAPPED


cdef int outside(Record* record) noexcept nogil:
    return trap(record, b"state: the buffer is outside of the guest's memory")
