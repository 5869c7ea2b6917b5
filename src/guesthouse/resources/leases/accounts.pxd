# cython: language_level=3
"""A tenant's account and its leases; the engine alone changes them."""

from libc.stdint cimport uint32_t
from guesthouse.resources.leases.table cimport lease_t, table_t

cdef class Tenant:
    cdef readonly str name
    cdef readonly uint32_t number
    cdef public object quota        # units that its leases may hold together
    cdef readonly object used       # of them held now, fenced ones included
    cdef readonly object fenced
    cdef readonly long active
    cdef object ended               # deque of leases that ended, oldest first

cdef class Lease:
    cdef lease_t* row
    cdef readonly Tenant owner
    cdef readonly object id
    cdef readonly object capacity
    cdef readonly object start
    cdef readonly object units
    cdef readonly object generation
    cdef readonly object ended_at
    cdef table_t* table
    cdef bint held                  # its extent is not back in the pool
    cdef bint fail_teardown
