# cython: language_level=3
"""Keeping the engine's fault handlers in place; see faults.pyx."""

# Before a thread enters a guest, and after it has left: faults in between are the engine's.
cdef void enter() noexcept nogil
cdef void leave() noexcept nogil
