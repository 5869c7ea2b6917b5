# cython: language_level=3
"""Bytes between the two tiers: what is here, what is dirty, and how it moves; see ``transfer.pxd``.

Bytes are fetched when they are first needed, and only those (`fetch`); what was written is marked byte
by byte, so that a partial push sends exactly that.
"""

cimport cython

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from guesthouse.resources.state.bits cimport fill, following
from guesthouse.resources.state.locking cimport WRITING, Actor, begin, finish
from guesthouse.resources.state.posix cimport count, look
from guesthouse.resources.state.values cimport BACKEND, FINE, NO_MEMORY, Key, Value, tenant_destroy


@cython.no_gc_clear      # what its values lie in must outlive it
cdef class Room:
    """A tenant's part of the store: its values here, its name and bounds in the global tier."""

    def __dealloc__(self):
        if self.tenant != NULL:
            tenant_destroy(self.tenant)


@cython.no_gc_clear      # its locks are given back when it is deallocated
cdef class Link:
    """Speaks to the global tier for one actor."""

# -- the global tier, for callers without the GIL ------------------------------------------------------


cdef bytes name_of(Key key):
    return PyBytes_FromStringAndSize(<char*> key.bytes, key.length)


cdef bytes key_of(Value* value):
    return PyBytes_FromStringAndSize(<char*> value.key, value.key_length)


cdef int failed(Link link, object problem):
    link.problem = problem
    return BACKEND


cdef int global_size(Actor* by, Key key, int64_t* found) noexcept with gil:
    """The size of a global value; -1 when there is none."""
    cdef Link link = <Link> by.link
    try:
        answer = link.room.tier.size(link.room.name, name_of(key))
        found[0] = -1 if answer is None else answer
        return FINE
    except BaseException as problem:
        return failed(link, problem)


cdef int global_read(Actor* by, Value* value, uint64_t start, uint8_t* into, uint64_t length,
                     int64_t* version) noexcept with gil:
    """Copies a range of the global value; leaves the bytes alone and answers 0 when there is none."""
    cdef Link link = <Link> by.link
    version[0] = 0
    if length == 0:
        return FINE
    try:
        answer = link.room.tier.read(
            link.room.name, key_of(value), value.size, start,
            PyMemoryView_FromMemory(<char*> into, length, PyBUF_WRITE),
        )
        if answer is not None:
            version[0] = answer
            count(&link.room.pulled, length)
        return FINE
    except BaseException as problem:
        return failed(link, problem)


cdef class Runs:
    """Iterates over the runs of bytes that two masks select (no mask: every byte)."""

    cdef Value* value
    cdef const uint64_t* one
    cdef const uint64_t* other
    cdef uint64_t position
    cdef uint64_t moved

    def __iter__(self):
        return self

    def __next__(self):
        cdef uint64_t start = self.position, end = self.value.size, both, stop
        while start < end:
            both = following(self.one, start, end, 1) if self.one != NULL else start
            if self.other != NULL and both < end:
                start = following(self.other, both, end, 1)
                if start == both:
                    break
            else:
                start = both
                break
        if start >= end:
            raise StopIteration
        stop = following(self.one, start, end, 0) if self.one != NULL else end
        if self.other != NULL:
            stop = following(self.other, start, stop, 0)
        self.position = stop
        self.moved += stop - start
        return start, PyMemoryView_FromMemory(<char*> self.value.base + start, stop - start, PyBUF_READ)


cdef int global_write(Actor* by, Value* value, const uint64_t* selected, int64_t* version) noexcept with gil:
    """Sends the selected bytes (NULL: every byte) that are here, as one write."""
    cdef Link link = <Link> by.link
    cdef Runs runs = Runs.__new__(Runs)
    runs.value = value
    runs.one = selected
    runs.other = NULL if value.whole else value.here
    if not value.whole and value.here == NULL:
        runs.position = value.size          # nothing is here: an empty write that fixes the size
    try:
        version[0] = link.room.tier.write(
            link.room.name, key_of(value), value.size, runs, link.room.value_quota
        )
        count(&link.room.pushed, runs.moved)
        return FINE
    except BaseException as problem:
        return failed(link, problem)

# -- what is here, what is dirty -----------------------------------------------------------------------


cdef uint64_t* new_mask(uint64_t size) noexcept nogil:
    return <uint64_t*> calloc((size + 63) // 64, 8)


cdef int missing(Value* value, uint64_t start, uint64_t end) noexcept nogil:
    if look(&value.whole) or start >= end:
        return 0
    return value.here == NULL or following(value.here, start, end, 0) < end


cdef int mark_here(Value* value, uint64_t start, uint64_t end) noexcept nogil:
    if value.whole or start >= end:
        return FINE
    if start == 0 and end == value.size:
        value.whole = 1
        return FINE
    if value.here == NULL:
        value.here = new_mask(value.size)
        if value.here == NULL:
            return NO_MEMORY
    fill(value.here, start, end, 1)
    value.whole = following(value.here, 0, value.size, 0) == value.size
    return FINE


cdef int mark_dirty(Value* value, uint64_t start, uint64_t end) noexcept nogil:
    if start >= end and value.size:
        return FINE
    if start == 0 and end == value.size:
        value.all_dirty = 1
        return FINE
    if value.dirty == NULL:
        value.dirty = new_mask(value.size)
        if value.dirty == NULL:
            return NO_MEMORY
    if value.dirty_from == value.dirty_to:
        value.dirty_from, value.dirty_to = start, end
    else:
        value.dirty_from = min(value.dirty_from, start)
        value.dirty_to = max(value.dirty_to, end)
    fill(value.dirty, start, end, 1)
    return FINE


cdef int is_dirty(Value* value) noexcept nogil:
    return value.all_dirty or value.dirty_from < value.dirty_to


cdef void clean(Value* value) noexcept nogil:
    if value.dirty != NULL:
        fill(value.dirty, value.dirty_from, value.dirty_to, 0)
    value.dirty_from = value.dirty_to = 0
    value.all_dirty = 0


cdef int fetch_around(Actor* by, Value* value, uint64_t start, uint64_t end, const uint64_t* keep,
                      int64_t* version) noexcept nogil:
    """Fetches a range, but for the bytes in `keep`. Runs inside a WRITING operation."""
    cdef uint64_t first = following(keep, start, end, 0), last = first, stop, at
    cdef uint8_t* copy
    cdef int reason, pieces = 0
    at = first
    while at < end:
        last = following(keep, at, end, 1)
        at = following(keep, last, end, 0)
        pieces += 1
    if pieces == 0:
        return FINE
    if pieces == 1:
        return global_read(by, value, first, value.base + first, last - first, version)
    copy = <uint8_t*> malloc(last - first)
    if copy == NULL:
        return NO_MEMORY
    reason = global_read(by, value, first, copy, last - first, version)
    if not reason and version[0]:
        at = first
        while at < last:
            stop = following(keep, at, last, 1)
            memcpy(value.base + at, copy + (at - first), stop - at)
            at = following(keep, stop, last, 0)
    free(copy)
    return reason


cdef int fetch(Actor* by, Value* value, uint64_t start, uint64_t end) noexcept nogil:
    """Fetches those bytes of a range that never were here (faasm.md 4.4)."""
    cdef int64_t version = 0
    cdef int reason = begin(by, value, WRITING, 0)
    if reason:
        return reason
    if missing(value, start, end):
        if value.here == NULL:
            reason = global_read(by, value, start, value.base + start, end - start, &version)
            if start == 0 and end == value.size:
                value.version = version
        else:
            reason = fetch_around(by, value, start, end, value.here, &version)
        if not reason:
            reason = mark_here(value, start, end)
    finish(value, WRITING)
    return reason

cdef int refresh(Actor* by, Value* value) noexcept nogil:
    """Fetches every byte that is not dirty again. Runs inside a WRITING operation."""
    cdef int64_t version = 0
    cdef int reason = FINE
    if value.all_dirty:
        return FINE
    if value.dirty == NULL:
        reason = global_read(by, value, 0, value.base, value.size, &version)
    else:
        reason = fetch_around(by, value, 0, value.size, value.dirty, &version)
    if not reason:
        value.version = version
    return reason
