# cython: language_level=3
"""A host function in front of another one: counts its calls and answers in its place when told to."""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from guesthouse.engine.core cimport OK, Record, native_t, val_t

ctypedef struct fault_t:
    native_t target
    void* env
    int64_t code
    int64_t times           # how often it still answers; -1 for always
    uint64_t skip           # calls to let pass before
    uint64_t injected


cdef int stand_in(Record* record, val_t* args, void* env) noexcept nogil:
    cdef fault_t* fault = <fault_t*>env
    if fault.times != 0:
        if fault.skip:
            fault.skip -= 1
        else:
            if fault.times > 0:
                fault.times -= 1
            fault.injected += 1
            args[0].i64 = fault.code
            return OK
    return fault.target(record, args, fault.env)


cdef class Fault:
    """What stands in front of one host function. Not for several threads at once."""

    cdef fault_t* state

    def __cinit__(self):
        self.state = <fault_t*>calloc(1, sizeof(fault_t))
        if self.state == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.state)

    def cover(self, address, env):
        """Stand in front of a native function; returns address and environment of what to link."""
        self.state.target = <native_t><void*><uintptr_t>address
        self.state.env = <void*><uintptr_t>env
        return <uintptr_t>&stand_in, <uintptr_t>self.state

    def arm(self, code, times, skip):
        """Answer the next `times` calls (-1: all) with `code`, after `skip` have passed."""
        self.state.code, self.state.times, self.state.skip = code, times, skip

    def reset(self):
        """Let every call pass, and count from zero."""
        self.state.times = self.state.skip = self.state.injected = 0

    def take(self):
        """For functions that are not native: the code to answer with, or ``None`` to let the call pass."""
        if self.state.times == 0:
            return None
        if self.state.skip:
            self.state.skip -= 1
            return None
        if self.state.times > 0:
            self.state.times -= 1
        self.state.injected += 1
        return self.state.code

    @property
    def injected(self):
        """How many calls were answered here."""
        return self.state.injected
