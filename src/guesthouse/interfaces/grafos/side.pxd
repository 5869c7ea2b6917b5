# cython: language_level=3
"""What one instance knows of the fabric, for native host functions."""

from cpython.ref cimport PyObject
from guesthouse.engine.core cimport Attachment, Record
from guesthouse.resources.blocks.device cimport device_t, volume_t
from guesthouse.resources.leases.clock cimport lease_clock_t
from guesthouse.resources.leases.rules cimport engine_t
from guesthouse.resources.leases.table cimport account_t, lease_cache_t
from guesthouse.resources.memory.arena cimport arena_t, window_t

# The tenant's leases of one kind.
ctypedef struct holding_t:
    engine_t* engine
    account_t* account
    lease_cache_t cache

ctypedef struct side_t:
    lease_clock_t* clock
    arena_t* arena
    device_t* device
    window_t* window            # NULL before fbmu_hello
    volume_t* volume            # NULL before fbbu_hello
    holding_t memory
    holding_t blocks
    PyObject* owner             # the Side, borrowed

cdef side_t* side(Record* record) noexcept nogil

cdef class Side(Attachment):
    cdef side_t state
    cdef readonly object fabric
    cdef readonly str tenant
    cdef readonly object program
    cdef readonly object memory
    cdef readonly object blocks
    cdef readonly object clock
    cdef readonly object window
    cdef readonly object volume
