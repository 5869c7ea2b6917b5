# cython: language_level=3
"""Errors and traps of the engine as text; see traps.pyx."""

# The text of an engine error, which is freed.
cdef str take_message(void* error)

# The guest's frames, innermost first; either pointer may be NULL, neither is freed.
cdef list take_backtrace(void* error, void* trap)
