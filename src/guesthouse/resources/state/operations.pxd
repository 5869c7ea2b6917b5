# cython: language_level=3
"""State operations for native host functions: no GIL on the fast paths, a reason number on refusal.

Every operation takes the actor of a session (``store.pxd``) and a key; the GIL is only taken to speak
to the global tier.  Reasons are those of ``values.pxd``.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from guesthouse.resources.state.arena cimport Arena
from guesthouse.resources.state.locking cimport Actor
from guesthouse.resources.state.values cimport Key, Value

# Where a range of a value lives, for mapping it into a guest.  `value` carries a reference that has to be
# given back with `values.release`.
cdef struct Place:
    Value* value
    Arena* arena
    uint64_t offset                 # in the arena, of the first whole page that the range touches
    uint64_t length                 # whole pages
    uint64_t inside                 # of the range's first byte, from `offset` on

# Size of a value, 0 when there is none; negative: a reason.
cdef int64_t size(Actor* by, Key key) noexcept nogil

# Copies min(room, size) bytes from the start; the value's size, or a negative reason.
cdef int64_t read(Actor* by, Key key, uint8_t* into, uint64_t room) noexcept nogil

# `total` is the size that the caller names for the value; 0 for none.
cdef int read_range(Actor* by, Key key, uint64_t total, uint64_t start, uint8_t* into, uint64_t length) noexcept nogil
cdef int write(Actor* by, Key key, const uint8_t* data, uint64_t length) noexcept nogil
cdef int write_range(
    Actor* by, Key key, uint64_t total, uint64_t start, const uint8_t* data, uint64_t length
) noexcept nogil
cdef int flag(Actor* by, Key key, uint64_t total, uint64_t start, uint64_t length, int everything) noexcept nogil
cdef int locate(
    Actor* by, Key key, uint64_t total, uint64_t start, uint64_t length, int everything, Place* place
) noexcept nogil
cdef int push(Actor* by, Key key, int partial) noexcept nogil
cdef int push_masked(Actor* by, Key key, Key mask) noexcept nogil
cdef int pull(Actor* by, Key key, uint64_t total) noexcept nogil
cdef int lock(Actor* by, Key key, int write) noexcept nogil
cdef int unlock(Actor* by, Key key, int write) noexcept nogil
cdef int append(Actor* by, Key key, const uint8_t* data, uint64_t length) noexcept nogil
# The first `count` elements, one after another: OUT_OF_RANGE when there are fewer, or `room` is too small.
cdef int read_appended(Actor* by, Key key, uint8_t* into, uint64_t room, uint64_t count) noexcept nogil
cdef int clear_appended(Actor* by, Key key) noexcept nogil
