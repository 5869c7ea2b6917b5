# cython: language_level=3
"""State host functions: keys are C strings of the guest, every range is checked first (faasm.md 2.3).

Copies and pointers go without the GIL; what reaches the global tier, and every refusal, takes it.
"""

cimport cython

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memchr, memset

from guesthouse.engine.core cimport Attachment, Instance, claim_slot
from guesthouse.engine.record cimport (
    OK, TRAPPED, Record, end, ENDING_MEMORY, interrupted, memory_size, native_t, span, trap, val_t,
)
from guesthouse.interfaces.faasm.space cimport MOST_WINDOWS, Space, Window, extend, lock, space_of, unlock
from guesthouse.resources.state cimport arena as pages
from guesthouse.resources.state cimport operations, values
from guesthouse.resources.state.locking cimport Actor, unlock_all
from guesthouse.resources.state.store cimport Session
from guesthouse.resources.state.values cimport BACKEND, KEY_LIMIT, STOPPED, Key, Value, release

import itertools
import types

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

# -- copies --------------------------------------------------------------------------------------------


cdef int read_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, buffer, length) -> size; length 0 asks for the size only
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef uint64_t length = args[2].u32
    cdef uint8_t* into = span(record, args[1].u32, length)
    cdef int64_t answer
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if length == 0:
        answer = operations.size(by, key)
    elif into == NULL:
        return outside(record)
    else:
        answer = operations.read(by, key, into, length)
        if answer == 0:
            memset(into, 0, length)         # an absent value reads as zeros (faasm.md 4.2)
    if answer < 0:
        return refuse(record, <int> answer, key)
    record.bytes_out += min(length, <uint64_t> answer)
    args[0].u64 = <uint32_t> answer
    return OK


cdef int read_state_offset(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, buffer, length)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    cdef uint64_t length = args[4].u32
    cdef uint8_t* into = span(record, args[3].u32, length)
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if into == NULL:
        return outside(record)
    reason = operations.read_range(by, key, args[1].u32, args[2].u32, into, length)
    record.bytes_out += length
    return refuse(record, reason, key) if reason else OK


cdef int write_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, data, length)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* data = span(record, args[1].u32, length)
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if data == NULL:
        return outside(record)
    reason = operations.write(by, key, data, length)
    record.bytes_in += length
    return refuse(record, reason, key) if reason else OK


cdef int write_state_offset(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, data, length)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    cdef uint64_t length = args[4].u32
    cdef uint8_t* data = span(record, args[3].u32, length)
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if data == NULL:
        return outside(record)
    reason = operations.write_range(by, key, args[1].u32, args[2].u32, data, length)
    record.bytes_in += length
    return refuse(record, reason, key) if reason else OK

# -- pointers ------------------------------------------------------------------------------------------


cdef Window* known_window(Space* space, operations.Place* place, uint64_t start, uint64_t length) noexcept nogil:
    cdef size_t i
    cdef Window* window
    for i in range(space.count):
        window = &space.windows[i]
        if window.value == place.value and window.start == start and window.length == length and not window.torn:
            return window
    return NULL


cdef int show(Record* record, operations.Place* place, uint64_t start, uint64_t length, val_t* out) noexcept nogil:
    """Maps the pages of a place into the guest; takes over the place's reference."""
    cdef Space* space = space_of(record)
    cdef int answer
    if space == NULL:
        release(place.value)
        return TRAPPED
    lock(space)
    answer = show_locked(record, space, place, start, length, out)
    unlock(space)
    return answer


cdef int show_locked(Record* record, Space* space, operations.Place* place, uint64_t start, uint64_t length,
                     val_t* out) noexcept nogil:
    cdef Window* windows
    cdef Window* window
    cdef int64_t address
    window = known_window(space, place, start, length)
    if window != NULL:
        release(place.value)
        out.u64 = window.address + window.inside
        return OK
    if space.count == MOST_WINDOWS:
        release(place.value)
        return trap(record, b"state: a call can have 1024 pointers into state")
    if space.count == space.room:
        windows = <Window*> realloc(space.windows, (space.room * 2 + 8) * sizeof(Window))
        if windows == NULL:
            release(place.value)
            return trap(record, b"state: the host has no memory left for another pointer")
        space.windows = windows
        space.room = space.room * 2 + 8
    address = extend(record, space, max(place.length, <uint64_t> 1))
    if address < 0:
        release(place.value)
        return TRAPPED
    if place.length == 0:                   # nothing to see: any address of our own will do
        release(place.value)
        out.u64 = <uint64_t> address
        return OK
    window = &space.windows[space.count]
    window.value = place.value
    window.start = start
    window.length = length
    window.address = <uint64_t> address
    window.mapped = place.length
    window.inside = place.inside
    window.torn = 0
    if pages.map_over(place.arena, place.offset, record.base + address, place.length):
        release(place.value)
        return trap(record, b"state: no more pointers can be had on this host")
    space.count += 1
    out.u64 = window.address + window.inside
    return OK


cdef int read_state_ptr(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total) -> pointer
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef operations.Place place
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.locate(by, key, args[1].u32, 0, 0, 1, &place)
    if reason:
        return refuse(record, reason, key)
    return show(record, &place, 0, place.value.size, args)


cdef int read_state_offset_ptr(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, length) -> pointer to the byte at the offset
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef operations.Place place
    cdef uint64_t start = args[2].u32, length = args[3].u32
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.locate(by, key, args[1].u32, start, length, 0, &place)
    if reason:
        return refuse(record, reason, key)
    return show(record, &place, start, length, args)

# -- everything else -----------------------------------------------------------------------------------


cdef int push_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for dirty runs only
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.push(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int push_state_partial_mask(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, mask key)
    cdef Actor* by = actor_of(record)
    cdef Key key, mask
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key) or not key_at(record, args[1].u32, &mask):
        return TRAPPED
    reason = operations.push_masked(by, key, mask)
    return refuse(record, reason, key) if reason else OK


cdef int pull_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.pull(by, key, args[1].u32)
    return refuse(record, reason, key) if reason else OK


cdef int flag_state_dirty(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.flag(by, key, args[1].u32, 0, 0, 1)
    return refuse(record, reason, key) if reason else OK


cdef int flag_state_offset_dirty(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, length)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.flag(by, key, args[1].u32, args[2].u32, args[3].u32, 0)
    return refuse(record, reason, key) if reason else OK


cdef int lock_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for the write lock
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.lock(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int unlock_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for the write lock
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.unlock(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int append_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, data, length)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* data = span(record, args[1].u32, length)
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if data == NULL:
        return outside(record)
    reason = operations.append(by, key, data, length)
    record.bytes_in += length
    return refuse(record, reason, key) if reason else OK


cdef int read_appended_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, buffer, length, elements)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* into = span(record, args[1].u32, length)
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    if into == NULL:
        return outside(record)
    reason = operations.read_appended(by, key, into, length, args[3].u32)
    return refuse(record, reason, key) if reason else OK


cdef int clear_appended_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key)
    cdef Actor* by = actor_of(record)
    cdef Key key
    cdef int reason
    if by == NULL or not key_at(record, args[0].u32, &key):
        return TRAPPED
    reason = operations.clear_appended(by, key)
    return refuse(record, reason, key) if reason else OK


cdef uintptr_t address(native_t function):
    return <uintptr_t> function


#: Addresses of the native functions.
FUNCTIONS = {
    "read_state": address(read_state),
    "read_state_ptr": address(read_state_ptr),
    "read_state_offset": address(read_state_offset),
    "read_state_offset_ptr": address(read_state_offset_ptr),
    "write_state": address(write_state),
    "write_state_offset": address(write_state_offset),
    "push_state": address(push_state),
    "push_state_partial_mask": address(push_state_partial_mask),
    "pull_state": address(pull_state),
    "flag_state_dirty": address(flag_state_dirty),
    "flag_state_offset_dirty": address(flag_state_offset_dirty),
    "lock_state": address(lock_state),
    "unlock_state": address(unlock_state),
    "append_state": address(append_state),
    "read_appended_state": address(read_appended_state),
    "clear_appended_state": address(clear_appended_state),
}
