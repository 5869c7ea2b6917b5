# cython: language_level=3
"""Every state operation of faasm.md section 4, for callers without the GIL; see ``operations.pxd``."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from guesthouse.resources.state cimport locking, values
from guesthouse.resources.state.arena cimport PAGE
from guesthouse.resources.state.locking cimport PUSHING, READING, WRITING, Actor, begin, finish
from guesthouse.resources.state.posix cimport count
from guesthouse.resources.state.transfer cimport (
    Link, Room, clean, failed, fetch, global_read, global_size, global_write, is_dirty, mark_dirty, mark_here,
    missing, name_of, new_mask, refresh,
)
from guesthouse.resources.state.values cimport (
    BAD_KEY, FINE, KEY_LIMIT, NO_MEMORY, NO_SIZE, OTHER_MASK_SIZE, OTHER_SIZE, OUT_OF_RANGE, OVER_QUOTA, Key, Value,
    fix_size, release,
)

cdef int usable(Key key) noexcept nogil:
    return 0 < key.length <= KEY_LIMIT


cdef int acquire(Actor* by, Key key, int sized, uint64_t total, Value** out) noexcept nogil:
    """Finds the value, with a reference, and makes it where a size is known for it (faasm.md 4.2)."""
    cdef int64_t known = -1
    cdef int reason = FINE
    cdef Value* value
    if not usable(key):
        return BAD_KEY
    value = values.find(by.tenant, key.bytes, key.length)
    if value != NULL and value.sized and (value.size or not total):
        out[0] = value
        return FINE
    reason = global_size(by, key, &known)
    if not reason and known < 0 and not sized:
        reason = NO_SIZE
    if not reason and value == NULL:
        value = values.find_or_add(by.tenant, key.bytes, key.length, &reason)
        if value == NULL and reason == OVER_QUOTA and values.evict(by.tenant):
            reason = FINE
            value = values.find_or_add(by.tenant, key.bytes, key.length, &reason)
    if not reason:
        reason = fix_size(value, <uint64_t> known if known > 0 else total)
        if (reason == OVER_QUOTA or reason == NO_MEMORY) and values.evict(by.tenant):
            reason = fix_size(value, <uint64_t> known if known > 0 else total)
    if reason:
        if value != NULL:
            if not value.sized:
                values.forget(value)
            release(value)
        return reason
    out[0] = value
    return FINE


cdef inline int inside(Value* value, uint64_t start, uint64_t length) noexcept nogil:
    return start <= value.size and length <= value.size - start


cdef int begin_reading(Actor* by, Value* value, uint64_t start, uint64_t end) noexcept nogil:
    """Begins a READING operation with the range fetched."""
    cdef int reason = begin(by, value, READING, 0)
    while not reason and missing(value, start, end):
        finish(value, READING)
        reason = fetch(by, value, start, end)
        if not reason:
            reason = begin(by, value, READING, 0)
    return reason


cdef int64_t size(Actor* by, Key key) noexcept nogil:
    cdef int64_t known = -1
    cdef int reason
    cdef Value* value
    if not usable(key):
        return BAD_KEY
    value = values.find(by.tenant, key.bytes, key.length)
    if value != NULL and value.sized and value.size:
        known = <int64_t> value.size
    else:
        reason = global_size(by, key, &known)
        if reason:
            known = reason
        elif known < 0:
            known = 0
    if value != NULL:
        release(value)
    return known


cdef int64_t read(Actor* by, Key key, uint8_t* into, uint64_t room) noexcept nogil:
    cdef Value* value
    cdef uint64_t length
    cdef int64_t answer
    cdef int reason = acquire(by, key, 0, 0, &value)
    if reason == NO_SIZE:
        return 0
    if reason:
        return reason
    answer = <int64_t> value.size
    length = min(room, value.size)
    reason = begin_reading(by, value, 0, length)
    if not reason:
        memcpy(into, value.base, length)
        finish(value, READING)
    release(value)
    return reason if reason else answer


cdef int read_range(Actor* by, Key key, uint64_t total, uint64_t start, uint8_t* into,
                    uint64_t length) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, total > 0, total, &value)
    if reason:
        return reason
    if not inside(value, start, length):
        reason = OUT_OF_RANGE
    else:
        reason = begin_reading(by, value, start, start + length)
    if not reason:
        memcpy(into, value.base + start, length)
        finish(value, READING)
    release(value)
    return reason


cdef int change(Actor* by, Value* value, uint64_t start, const uint8_t* data, uint64_t length) noexcept nogil:
    cdef int reason = begin(by, value, WRITING, 1)
    if reason:
        return reason
    reason = mark_here(value, start, start + length)
    if not reason:
        reason = mark_dirty(value, start, start + length)
    if not reason:
        memcpy(value.base + start, data, length)
    finish(value, WRITING)
    return reason


cdef int write(Actor* by, Key key, const uint8_t* data, uint64_t length) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, 1, length, &value)
    if reason:
        return reason
    reason = OTHER_SIZE if value.size != length else change(by, value, 0, data, length)
    release(value)
    return reason


cdef int write_range(Actor* by, Key key, uint64_t total, uint64_t start, const uint8_t* data,
                     uint64_t length) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, total > 0, total, &value)
    if reason:
        return reason
    reason = change(by, value, start, data, length) if inside(value, start, length) else OUT_OF_RANGE
    release(value)
    return reason


cdef int flag(Actor* by, Key key, uint64_t total, uint64_t start, uint64_t length, int everything) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, total > 0, total, &value)
    if reason:
        return reason
    if everything:
        if total > value.size:
            reason = OTHER_SIZE
        start, length = 0, value.size
    elif not inside(value, start, length):
        reason = OUT_OF_RANGE
    if not reason:
        reason = begin(by, value, WRITING, 0)
        if not reason:
            reason = mark_dirty(value, start, start + length)
            finish(value, WRITING)
    release(value)
    return reason


cdef int locate(Actor* by, Key key, uint64_t total, uint64_t start, uint64_t length, int everything,
                Place* place) noexcept nogil:
    cdef Value* value
    cdef uint64_t first, last
    cdef int reason = acquire(by, key, total > 0, total, &value)
    if reason:
        return reason
    if everything:
        if total > value.size:
            reason = OTHER_SIZE
        start, length = 0, value.size
    if not reason and not inside(value, start, length):
        reason = OUT_OF_RANGE
    if not reason:
        first = start & ~<uint64_t> (PAGE - 1)
        last = (start + length + PAGE - 1) & ~<uint64_t> (PAGE - 1)
        if missing(value, first, min(last, value.size)):
            reason = fetch(by, value, first, min(last, value.size))
    if reason:
        release(value)
        return reason
    value.mapped = 1
    place.value = value
    place.arena = value.tenant.arena
    place.offset = value.offset + first
    place.length = last - first
    place.inside = start - first
    return FINE


cdef int push(Actor* by, Key key, int partial) noexcept nogil:
    cdef Value* value
    cdef int64_t version = 0
    cdef int behind = 0
    cdef int reason = acquire(by, key, 0, 0, &value)
    if reason:
        return reason
    reason = begin(by, value, PUSHING, 0)
    if not reason:
        if is_dirty(value):
            partial = partial and not value.all_dirty
            reason = global_write(by, value, value.dirty if partial else NULL, &version)
            if not reason:
                clean(value)
                # others pushed since our bytes and the global ones were the same
                behind = partial and value.whole and version != value.version + 1
                value.version = version if value.whole else -1
        finish(value, PUSHING)
    if behind:
        reason = begin(by, value, WRITING, 0)
        if not reason:
            reason = refresh(by, value)
            finish(value, WRITING)
    release(value)
    return reason


cdef uint64_t* selection(Actor* by, Value* mask, int* reason) noexcept nogil:
    """Turns mask bytes into mask bits; NULL with a reason when that fails."""
    cdef uint64_t i, word = 0
    cdef uint64_t* selected = new_mask(mask.size)
    if selected == NULL:
        reason[0] = NO_MEMORY
        return NULL
    reason[0] = begin_reading(by, mask, 0, mask.size)
    if reason[0]:
        free(selected)
        return NULL
    for i in range(mask.size):
        if mask.base[i]:
            selected[i >> 6] |= <uint64_t> 1 << (i & 63)
    finish(mask, READING)
    return selected


cdef int push_selected(Actor* by, Value* value, const uint64_t* selected) noexcept nogil:
    """Pushes the selected bytes; the dirty ones that were not selected are lost (faasm.md 4.5)."""
    cdef int64_t version = 0
    cdef uint64_t i
    cdef int reason = begin(by, value, WRITING, 0)
    if reason:
        return reason
    if is_dirty(value):
        reason = global_write(by, value, selected, &version)
        if not reason:
            if not value.whole and value.here != NULL:
                for i in range((value.size + 63) // 64):
                    value.here[i] &= selected[i] | (
                        0 if value.all_dirty else ~value.dirty[i] if value.dirty != NULL else ~<uint64_t> 0
                    )
            clean(value)
            if value.whole:
                reason = refresh(by, value)
    finish(value, WRITING)
    return reason


cdef int push_masked(Actor* by, Key key, Key mask_key) noexcept nogil:
    cdef Value* value
    cdef Value* mask
    cdef uint64_t* selected
    cdef uint64_t i
    cdef int reason = acquire(by, key, 0, 0, &value)
    if reason:
        return reason
    reason = acquire(by, mask_key, 0, 0, &mask)
    if reason:
        release(value)
        return reason
    if value.size != mask.size:
        reason = OTHER_MASK_SIZE
    elif is_dirty(value):
        selected = selection(by, mask, &reason)
        if selected != NULL:
            reason = push_selected(by, value, selected)
            if not reason:
                reason = begin(by, mask, WRITING, 1)
            if not reason:
                for i in range(mask.size):
                    if selected[i >> 6] >> (i & 63) & 1:
                        mask.base[i] = 0
                finish(mask, WRITING)
            free(selected)
    release(mask)
    release(value)
    return reason


cdef int pull(Actor* by, Key key, uint64_t total) noexcept nogil:
    cdef Value* value
    cdef int64_t version = 0
    cdef int reason = acquire(by, key, total > 0, total, &value)
    if reason:
        return reason
    if total > value.size:
        reason = OTHER_SIZE
    else:
        reason = begin(by, value, WRITING, 1)
    if not reason:
        reason = global_read(by, value, 0, value.base, value.size, &version)
        if not reason and version:
            value.version = version
            value.whole = 1
            clean(value)
        finish(value, WRITING)
    release(value)
    return reason


cdef int lock(Actor* by, Key key, int write) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, 0, 0, &value)
    if not reason:
        reason = locking.lock(by, value, write)
        release(value)
    return reason


cdef int unlock(Actor* by, Key key, int write) noexcept nogil:
    cdef Value* value
    cdef int reason = acquire(by, key, 0, 0, &value)
    if not reason:
        reason = locking.unlock(by, value, write)
        release(value)
    return reason


cdef int append(Actor* by, Key key, const uint8_t* data, uint64_t length) noexcept nogil:
    if not usable(key):
        return BAD_KEY
    with gil:
        return append_element(<Link> by.link, name_of(key), PyBytes_FromStringAndSize(<char*> data, length))


cdef int append_element(Link link, bytes key, bytes element) noexcept:
    cdef Room room = link.room
    try:
        room.tier.append(room.name, key, element, room.list_quota)
        count(&room.appended, len(element))
        return FINE
    except BaseException as problem:
        return failed(link, problem)


cdef int read_appended(Actor* by, Key key, uint8_t* into, uint64_t room, uint64_t number) noexcept nogil:
    if not usable(key):
        return BAD_KEY
    with gil:
        return copy_elements(<Link> by.link, name_of(key), into, room, number)


cdef int copy_elements(Link link, bytes key, uint8_t* into, uint64_t room, uint64_t number) noexcept:
    cdef uint64_t total = 0
    try:
        elements = link.room.tier.appended(link.room.name, key, number)
        for element in elements:
            total += <uint64_t> PyBytes_GET_SIZE(element)
        if <uint64_t> len(elements) < number or total > room:
            return OUT_OF_RANGE
        for element in elements:
            memcpy(into, PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element))
            into += PyBytes_GET_SIZE(element)
        return FINE
    except BaseException as problem:
        return failed(link, problem)


cdef int clear_appended(Actor* by, Key key) noexcept nogil:
    if not usable(key):
        return BAD_KEY
    with gil:
        return clear_elements(<Link> by.link, name_of(key))


cdef int clear_elements(Link link, bytes key) noexcept:
    try:
        link.room.tier.clear(link.room.name, key)
        return FINE
    except BaseException as problem:
        return failed(link, problem)
