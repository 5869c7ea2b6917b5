# cython: language_level=3
"""A tenant's account and its leases, as Python sees them."""

from guesthouse.resources.leases.rules cimport engine_t, sight_t
from guesthouse.resources.leases.table cimport account_t

cdef class Tenant:
    cdef account_t account
    cdef readonly str name
    cdef bytes recorded             # the name as the journal writes it

cdef class Lease:
    cdef sight_t sight
    cdef engine_t* engine
    cdef object keeper              # owns `engine`
    cdef readonly Tenant owner
    cdef sight_t* look(self)

cdef Lease lease_seen(sight_t* sight, engine_t* engine, object keeper, Tenant owner)
