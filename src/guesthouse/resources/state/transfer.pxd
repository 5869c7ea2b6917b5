# cython: language_level=3
"""Bytes between the two tiers: what is here, what is dirty, and how it moves."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from guesthouse.resources.state.locking cimport Actor
from guesthouse.resources.state.values cimport Key, Tenant, Value

# A tenant's part of the store.
cdef class Room:
    cdef Tenant* tenant
    cdef object arena               # keeps the shared memory alive
    cdef readonly str name
    cdef object tier
    cdef uint64_t list_quota
    cdef uint64_t value_quota
    cdef uint64_t pulled            # bytes that came from the global tier
    cdef uint64_t pushed            # bytes that went there
    cdef uint64_t appended

# Speaks to the global tier for an actor; `store.Session` is its public face.
cdef class Link:
    cdef Actor actor
    cdef Room room
    cdef readonly object problem    # the exception behind the last BACKEND

cdef bytes name_of(Key key)

# Keeps an exception of the global tier for the caller; answers BACKEND.
cdef int failed(Link link, object problem)

# The size of a global value, -1 when there is none.
cdef int global_size(Actor* by, Key key, int64_t* found) noexcept with gil

# Copies a range of the global value. Version 0, and no byte touched, when there is none.
cdef int global_read(Actor* by, Value* value, uint64_t start, uint8_t* into, uint64_t length,
                     int64_t* version) noexcept with gil

# Sends the selected bytes (NULL: every byte) that are here, as one write.
cdef int global_write(Actor* by, Value* value, const uint64_t* selected, int64_t* version) noexcept with gil

# A mask for `size` bytes, all clear; NULL without memory.
cdef uint64_t* new_mask(uint64_t size) noexcept nogil

# Was any byte of the range neither fetched nor written yet?
cdef int missing(Value* value, uint64_t start, uint64_t end) noexcept nogil

# Inside a WRITING operation: note what is here, and what is dirty.
cdef int mark_here(Value* value, uint64_t start, uint64_t end) noexcept nogil
cdef int mark_dirty(Value* value, uint64_t start, uint64_t end) noexcept nogil
cdef int is_dirty(Value* value) noexcept nogil
cdef void clean(Value* value) noexcept nogil

# Fetches those bytes of a range that never were here; an operation of its own.
cdef int fetch(Actor* by, Value* value, uint64_t start, uint64_t end) noexcept nogil

# Fetches every byte that is not dirty again. Runs inside a WRITING operation.
cdef int refresh(Actor* by, Value* value) noexcept nogil
