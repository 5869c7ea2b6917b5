# cython: language_level=3
"""Leased memory as native code uses it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from guesthouse.resources.leases.backing cimport NativeBacking
from guesthouse.resources.leases.engine cimport LeaseEngine
from guesthouse.resources.leases.table cimport lease_cache_t, table_t

# What a native call needs of the pool. Lives as long as the `Memory` that it belongs to.
ctypedef struct arena_t:
    table_t* table
    uint8_t* base
    uint64_t* generations       # per page: who may use the extent that begins there

# The pages of a pool.
ctypedef struct pages_t:
    uint8_t* base
    uint64_t length             # bytes
    int fd
    uint64_t* generations       # per page: who may use the extent that begins there
    uint64_t touched            # pages below this one have been in use

# A private window of one instance.
ctypedef struct window_t:
    uint8_t* base
    uint64_t size               # bytes that are visible
    uint64_t mapped

# Copies between a lease and a buffer: 0 or a negative status, and then nothing was copied.
cdef int arena_read(arena_t* arena, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t offset,
                    uint8_t* into, uint64_t length) noexcept nogil
cdef int arena_write(arena_t* arena, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t offset,
                     const uint8_t* data, uint64_t length) noexcept nogil

cdef class MemoryPool(NativeBacking):
    cdef pages_t pages

cdef class Window:
    cdef window_t view
    cdef object __weakref__

cdef class Memory:
    cdef arena_t arena
    cdef readonly LeaseEngine leases
    cdef readonly MemoryPool pool
