# cython: language_level=3
"""What the lease engine calls to prepare and to clean extents."""

from libc.stdint cimport uint64_t

# Like `contract.Backing`; 0, or -1 for a failure.
ctypedef struct backing_t:
    void* self
    uint64_t size
    uint64_t grain
    int (*admit)(void* self, uint64_t start, uint64_t units, uint64_t generation) noexcept nogil
    int (*scrub)(void* self, uint64_t start, uint64_t units) noexcept nogil

cdef class NativeBacking:
    cdef backing_t native

cdef NativeBacking backing_of(object backing)
