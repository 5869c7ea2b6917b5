# cython: language_level=3
"""Free space of a pool; see extents.pyx."""

cdef class Extents:
    cdef dict by_start      # start -> length of each free run
    cdef dict by_end        # end -> start of each free run
    cdef list bins          # bin -> {start: None}, used as an ordered set
    cdef object occupied    # bit set of bins that are not empty
    cdef readonly object free   # units that are free
    cdef readonly object size
    cdef object _cut(self, start, run, length)
    cdef object _insert(self, start, length)
    cdef object _remove(self, start, length)
