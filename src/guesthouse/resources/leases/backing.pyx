# cython: language_level=3
"""Backings of the lease engine: native ones, and any Python object that keeps the contract."""

import _thread

from libc.stdint cimport uint64_t


cdef class NativeBacking:
    """A backing whose functions run without the GIL; subclasses fill `native` in."""

    @property
    def size(self):
        """Units in the pool."""
        return self.native.size

    @property
    def grain(self):
        """What one unit holds, in what is leased."""
        return self.native.grain


cdef class PythonBacking(NativeBacking):
    """Calls an object that keeps :class:`guesthouse.resources.leases.contract.Backing`."""

    cdef object backing

    def __cinit__(self, backing):
        self.backing = backing
        self.native.self = <void*>self
        self.native.size, self.native.grain = backing.size, backing.grain
        self.native.admit, self.native.scrub = admit, scrub


cdef NativeBacking backing_of(object backing):
    return backing if isinstance(backing, NativeBacking) else PythonBacking(backing)


cdef int admit(void* self, uint64_t start, uint64_t units, uint64_t generation) noexcept with gil:
    try:
        (<PythonBacking>self).backing.admit(start, units, generation)
    except BaseException as error:
        return failed(error)
    return 0


cdef int scrub(void* self, uint64_t start, uint64_t units) noexcept with gil:
    try:
        (<PythonBacking>self).backing.scrub(start, units)
    except BaseException as error:
        return failed(error)
    return 0


cdef int failed(error):
    if isinstance(error, KeyboardInterrupt):        # it is meant for the main thread, not for the pool
        _thread.interrupt_main()
    return -1
