# cython: language_level=3
"""Strings of Faasm functions, for native code; see io.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from guesthouse.engine.record cimport Record

# The NUL-terminated string at a guest address and its length without the NUL, or NULL when it does not end
# inside of the memory, or not within 1 MiB; the length is then how far it was looked for.
cdef uint8_t* text(Record* record, uint32_t pointer, uint64_t* length) noexcept nogil
