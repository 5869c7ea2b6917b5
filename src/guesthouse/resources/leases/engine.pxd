# cython: language_level=3
"""The lease engine; native code reaches its table through `LeaseEngine.table`."""

from guesthouse.resources.leases.accounts cimport Lease, Tenant
from guesthouse.resources.leases.clock cimport LeaseClock
from guesthouse.resources.leases.table cimport table_t

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
