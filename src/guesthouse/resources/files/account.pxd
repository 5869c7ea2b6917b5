# cython: language_level=3
"""How much of a disk quota is used, counted by all who write."""

from libc.stdint cimport int64_t

cdef class DiskAccount:
    cdef int64_t bytes
