# cython: language_level=3
"""The block pool; native code uses `Blocks.device` and `Volume.view`."""

from guesthouse.resources.blocks.device cimport device_t, volume_t
from guesthouse.resources.leases.engine cimport LeaseEngine

cdef class BlockPool:
    cdef device_t device
    cdef readonly int fd            # transfers; direct where asked for
    cdef readonly int plain         # scrubbing and checking, through the page cache
    cdef readonly object size       # units
    cdef readonly object grain      # blocks in one
    cdef readonly bint is_device

cdef class Volume:
    cdef volume_t view

cdef class Blocks:
    cdef readonly BlockPool pool
    cdef readonly LeaseEngine leases
    cdef dict volumes
    cdef object lock
    cdef object flusher
    cdef resize(self, Volume volume, str key, blocks)
