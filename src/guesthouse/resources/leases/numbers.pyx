# cython: language_level=3
"""From a number to a pointer: open addressing in one array, without Python objects.

Removing moves later cells back instead of leaving marks, so a map that lives long is as quick as a new one.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

cdef enum:
    SMALLEST_BITS = 6

# Keys may be consecutive; this spreads them (2^64 divided by the golden ratio).
cdef uint64_t SPREAD = 0x9E3779B97F4A7C15ull


cdef inline uint64_t home(map_t* map, uint64_t key) noexcept nogil:
    return (key * SPREAD) >> map.shift


cdef int map_init(map_t* map) noexcept nogil:
    map.shift, map.mask, map.count = 64 - SMALLEST_BITS, (1 << SMALLEST_BITS) - 1, 0
    map.cells = <cell_t*>calloc(map.mask + 1, sizeof(cell_t))
    return 0 if map.cells != NULL else -1


cdef void map_drop(map_t* map) noexcept nogil:
    free(map.cells)
    map.cells = NULL


cdef void* map_get(map_t* map, uint64_t key) noexcept nogil:
    cdef uint64_t at = home(map, key)
    while map.cells[at].value != NULL:
        if map.cells[at].key == key:
            return map.cells[at].value
        at = (at + 1) & map.mask
    return NULL


cdef void insert(map_t* map, uint64_t key, void* value) noexcept nogil:
    cdef uint64_t at = home(map, key)
    while map.cells[at].value != NULL:
        at = (at + 1) & map.mask
    map.cells[at].key, map.cells[at].value = key, value


cdef int grow(map_t* map) noexcept nogil:
    cdef map_t larger
    cdef uint64_t i
    larger.mask, larger.shift, larger.count = 2 * map.mask + 1, map.shift - 1, map.count
    larger.cells = <cell_t*>calloc(larger.mask + 1, sizeof(cell_t))
    if larger.cells == NULL:
        return -1
    for i in range(map.mask + 1):
        if map.cells[i].value != NULL:
            insert(&larger, map.cells[i].key, map.cells[i].value)
    free(map.cells)
    map[0] = larger
    return 0


cdef int map_put(map_t* map, uint64_t key, void* value) noexcept nogil:
    if 2 * (map.count + 1) > map.mask and grow(map) != 0:
        return -1
    insert(map, key, value)
    map.count += 1
    return 0


cdef void map_remove(map_t* map, uint64_t key) noexcept nogil:
    cdef uint64_t hole = home(map, key)
    cdef uint64_t at
    while map.cells[hole].key != key or map.cells[hole].value == NULL:
        if map.cells[hole].value == NULL:
            return
        hole = (hole + 1) & map.mask
    map.count -= 1
    at = hole
    while True:
        at = (at + 1) & map.mask
        if map.cells[at].value == NULL:
            break
        # It may fill the hole unless its home lies behind it.
        if ((at - home(map, map.cells[at].key)) & map.mask) >= ((at - hole) & map.mask):
            map.cells[hole] = map.cells[at]
            hole = at
    map.cells[hole].value = NULL
