# cython: language_level=3
"""Shared memory for state values: one sparse memory file, extents of whole pages, and page mappings."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from guesthouse.resources.state.posix cimport pthread_mutex_t

cdef enum:
    PAGE = 4096         # host pages; the granularity of extents and of mappings

cdef struct Extent:
    uint64_t offset
    uint64_t length

cdef struct Arena:
    int fd
    uint8_t* base
    uint64_t capacity
    uint64_t in_use         # bytes of extents that are taken
    pthread_mutex_t mutex
    Extent* gaps            # what is free, in order of offset, never two that touch
    size_t count
    size_t room

# A new arena of `capacity` bytes of address space (nothing is committed), or NULL.
cdef Arena* create(uint64_t capacity) noexcept nogil

# Unmaps and closes everything. No extent may be in use, except by guests' own mappings.
cdef void destroy(Arena* arena) noexcept nogil

# Takes an extent of `length` zero bytes (a multiple of PAGE): its offset, or -1 when none is left.
cdef int64_t take(Arena* arena, uint64_t length) noexcept nogil

# Gives an extent back; its pages are freed at once, so that they read as zeros afterwards.
cdef void give(Arena* arena, uint64_t offset, uint64_t length) noexcept nogil

cdef enum:
    MOST_MAPPINGS = 12000   # of the process: the kernel allows it 65530 areas, and each takes up to two

# Maps [offset, offset + length) of the arena over the pages at `where`: 0, or an errno.
# All three must be multiples of PAGE.  Each mapping is given back once, by `unmap_for_certain` or
# `unmapped`.
cdef int map_over(Arena* arena, uint64_t offset, void* where, uint64_t length) noexcept nogil

# Notes that a mapping is gone, which something else replaced.
cdef void unmapped() noexcept nogil

# Replaces the pages at `where` by private zero pages: 0, or an errno.
cdef int unmap(void* where, uint64_t length) noexcept nogil

# The same where there is no going on without it: ends the process rather than leave shared pages behind.
cdef void unmap_for_certain(void* where, uint64_t length) noexcept nogil
