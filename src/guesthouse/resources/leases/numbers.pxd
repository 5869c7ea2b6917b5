# cython: language_level=3
"""From a number to a pointer; see numbers.pyx."""

from libc.stdint cimport uint64_t

ctypedef struct cell_t:
    uint64_t key
    void* value                 # NULL: empty

ctypedef struct map_t:
    cell_t* cells
    uint64_t mask
    uint64_t count
    int shift

cdef int map_init(map_t* map) noexcept nogil        # -1: no memory
cdef void map_drop(map_t* map) noexcept nogil
cdef void* map_get(map_t* map, uint64_t key) noexcept nogil
cdef int map_put(map_t* map, uint64_t key, void* value) noexcept nogil      # a new key; -1: no memory
cdef void map_remove(map_t* map, uint64_t key) noexcept nogil
