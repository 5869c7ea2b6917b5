# cython: language_level=3
"""The Python face of the state store; native host functions take `Session.actor` to ``operations.pxd``."""

from libc.stdint cimport int64_t

from guesthouse.resources.state.transfer cimport Link

# One instance's (or thread's) use of a tenant's state.
cdef class Session(Link):
    cdef int check(self, int64_t code, bytes key) except -1
