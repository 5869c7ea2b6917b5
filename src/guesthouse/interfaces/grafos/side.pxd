# cython: language_level=3
"""What one instance knows of the fabric, for native host functions."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from guesthouse.engine.core cimport Attachment, Record
from guesthouse.resources.blocks.device cimport device_t, volume_t
from guesthouse.resources.leases.clock cimport lease_clock_t
from guesthouse.resources.leases.table cimport lease_cache_t
from guesthouse.resources.memory.arena cimport arena_t, window_t

ctypedef struct side_t:
    lease_clock_t* clock
    arena_t* arena
    device_t* device
    window_t* window            # NULL before fbmu_hello
    volume_t* volume            # NULL before fbbu_hello
    uint32_t memory_tenant
    uint32_t block_tenant
    lease_cache_t memory_leases
    lease_cache_t block_leases
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
