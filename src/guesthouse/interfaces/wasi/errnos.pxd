# cython: language_level=3
"""Translation of error numbers."""

# What an errno of the host is in WASI; 29 (IO) for one that WASI does not know.
cdef int translate(int host) noexcept nogil
