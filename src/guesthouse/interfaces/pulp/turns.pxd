# cython: language_level=3
"""Turns and chains as compiled code sees them; see turns.pyx."""

from libc.stdint cimport int64_t

cdef class Turn

cdef class Chain:
    cdef readonly Turn wanted           # the turn it waits for
    cdef public int64_t deadline        # when the innermost entry must be over, monotonic ns; 0 outside of cells
    cdef public object call
    cdef object inside                  # the Threshold of the innermost cell that it entered

cdef class Waiter:
    cdef Chain chain
    cdef object granted
    cdef Waiter following

cdef class Turn:
    cdef readonly str name
    cdef Chain owner
    cdef Waiter first
    cdef Waiter last
    cdef bint seize(self, Chain chain) noexcept
    cdef void give_back(self)
    cdef void enqueue(self, Waiter waiter)
    cdef bint withdraw(self, Waiter waiter)
    cdef int wait(self, Waiter waiter, deadline, check) except -1
    cdef bint leads_to(self, Chain chain)
    cdef list around(self, Chain chain)

cdef Chain chain_of_this_thread()
