# cython: language_level=3
"""The lease engine; native code reaches its rules through `LeaseEngine.engine`."""

from guesthouse.resources.leases.accounts cimport Tenant
from guesthouse.resources.leases.backing cimport NativeBacking
from guesthouse.resources.leases.clock cimport LeaseClock
from guesthouse.resources.leases.log cimport Log
from guesthouse.resources.leases.rules cimport engine_t
from guesthouse.resources.leases.table cimport chain_t, table_t

cdef class LeaseEngine:
    cdef engine_t engine
    cdef table_t* table
    cdef readonly str kind
    cdef readonly LeaseClock clock
    cdef readonly object backing
    cdef NativeBacking native           # the same, as the rules call it
    cdef readonly Log journal
    cdef readonly dict tenants          # name -> Tenant
    cdef readonly dict notes            # what else the journal keeps: key -> values
    cdef public object default_quota    # of tenants that are new
    cdef bint closed
    cdef Tenant account_of(self, str name)
    cdef collect(self, list found, Tenant owner, chain_t* chain)
    cdef int demand(self, int status, detail) except -1
