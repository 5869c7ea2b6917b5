# cython: language_level=3
"""Errors and traps of the engine as text, and exceptions as traps; see traps.pyx."""

from guesthouse.engine.record cimport Record

# The text of an engine error, which is freed.
cdef str take_message(void* error)

# The guest's frames, innermost first; either pointer may be NULL, neither is freed.
cdef list take_backtrace(void* error, void* trap)

# Ends the call with a Python exception, or with an exit code where it is an Exit. Return its result.
cdef int park(Record* record, object error) noexcept
