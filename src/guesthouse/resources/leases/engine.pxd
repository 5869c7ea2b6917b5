# cython: language_level=3
"""The lease engine; native code reaches its table through `LeaseEngine.table`."""

from libc.stdint cimport uint32_t, uint64_t
from guesthouse.resources.leases.clock cimport LeaseClock
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

cdef class LeaseEngine:
    cdef table_t* table
    cdef readonly str kind
    cdef readonly LeaseClock clock
    cdef readonly object backing
    cdef readonly object journal
    cdef object lock                # over all that follows
    cdef object changed             # its condition: an extent came back
    cdef long waiting
    cdef readonly dict tenants      # name -> Tenant
    cdef dict leases                # id -> Lease
    cdef readonly dict notes        # what else the journal keeps: key -> values
    cdef list due                   # heap of (expires, id); one entry per active lease, plus stale ones
    cdef long active
    cdef long tearing_down
    cdef object generation
    cdef object fenced_units
    cdef object entropy
    cdef int entropy_at
    cdef public object default_quota    # of tenants that are new
    cdef object default_amount
    cdef long max_leases
    cdef bint closed
    cdef bint survives
    cdef Tenant tenant_of(self, str name)
    cdef Lease lease_of(self, str tenant, id)
