# cython: language_level=3
"""State host functions: keys are C strings of the guest, every range is checked first (faasm.md 2.3).

Copies and pointers go without the GIL; what reaches the global tier, and every refusal, takes it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from guesthouse.engine.record cimport OK, TRAPPED, Record, native_t, span, trap, val_t
from guesthouse.interfaces.faasm.space cimport (
    MOST_WINDOWS, Space, Window, extend, lock, space_of, unlock,
)
from guesthouse.interfaces.faasm.state_use cimport key_at, outside, refuse, who
from guesthouse.resources.state cimport arena as pages
from guesthouse.resources.state cimport operations
from guesthouse.resources.state.locking cimport Actor
from guesthouse.resources.state.values cimport Key, release

# -- copies --------------------------------------------------------------------------------------------


cdef int read_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, buffer, length) -> size; length 0 asks for the size only
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef uint64_t length = args[2].u32
    cdef uint8_t* into = span(record, args[1].u32, length)
    cdef int64_t answer
    if by == NULL:
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
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    cdef uint64_t length = args[4].u32
    cdef uint8_t* into = span(record, args[3].u32, length)
    if by == NULL:
        return TRAPPED
    if into == NULL:
        return outside(record)
    reason = operations.read_range(by, key, args[1].u32, args[2].u32, into, length)
    record.bytes_out += length
    return refuse(record, reason, key) if reason else OK


cdef int write_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, data, length)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* data = span(record, args[1].u32, length)
    if by == NULL:
        return TRAPPED
    if data == NULL:
        return outside(record)
    reason = operations.write(by, key, data, length)
    record.bytes_in += length
    return refuse(record, reason, key) if reason else OK


cdef int write_state_offset(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, data, length)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    cdef uint64_t length = args[4].u32
    cdef uint8_t* data = span(record, args[3].u32, length)
    if by == NULL:
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
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef operations.Place place
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.locate(by, key, args[1].u32, 0, 0, 1, &place)
    if reason:
        return refuse(record, reason, key)
    return show(record, &place, 0, place.value.size, args)


cdef int read_state_offset_ptr(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, length) -> pointer to the byte at the offset
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef operations.Place place
    cdef uint64_t start = args[2].u32, length = args[3].u32
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.locate(by, key, args[1].u32, start, length, 0, &place)
    if reason:
        return refuse(record, reason, key)
    return show(record, &place, start, length, args)

# -- everything else -----------------------------------------------------------------------------------


cdef int push_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for dirty runs only
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.push(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int push_state_partial_mask(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, mask key)
    cdef Key key, mask
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL or not key_at(record, args[1].u32, &mask):
        return TRAPPED
    reason = operations.push_masked(by, key, mask)
    return refuse(record, reason, key) if reason else OK


cdef int pull_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.pull(by, key, args[1].u32)
    return refuse(record, reason, key) if reason else OK


cdef int flag_state_dirty(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.flag(by, key, args[1].u32, 0, 0, 1)
    return refuse(record, reason, key) if reason else OK


cdef int flag_state_offset_dirty(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, total, offset, length)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.flag(by, key, args[1].u32, args[2].u32, args[3].u32, 0)
    return refuse(record, reason, key) if reason else OK


cdef int lock_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for the write lock
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.lock(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int unlock_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key); the row's word: 1 for the write lock
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
        return TRAPPED
    reason = operations.unlock(by, key, env != NULL)
    return refuse(record, reason, key) if reason else OK


cdef int append_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, data, length)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* data = span(record, args[1].u32, length)
    if by == NULL:
        return TRAPPED
    if data == NULL:
        return outside(record)
    reason = operations.append(by, key, data, length)
    record.bytes_in += length
    return refuse(record, reason, key) if reason else OK


cdef int read_appended_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key, buffer, length, elements)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    cdef uint64_t length = args[2].u32
    cdef uint8_t* into = span(record, args[1].u32, length)
    if by == NULL:
        return TRAPPED
    if into == NULL:
        return outside(record)
    reason = operations.read_appended(by, key, into, length, args[3].u32)
    return refuse(record, reason, key) if reason else OK


cdef int clear_appended_state(Record* record, val_t* args, void* env) noexcept nogil:
    # (key)
    cdef Key key
    cdef Actor* by = who(record, args[0].u32, &key)
    cdef int reason
    if by == NULL:
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
