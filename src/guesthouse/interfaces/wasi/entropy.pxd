# cython: language_level=3
"""Random bytes for guests."""

from libc.stdint cimport uint8_t

cdef enum:
    SMALL_DRAW = 128    # most bytes that `draw_small` gives

# Fills `into` with up to SMALL_DRAW random bytes: 0, or an errno of the host.
cdef int draw_small(uint8_t* into, size_t length) noexcept nogil
