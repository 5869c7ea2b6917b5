# cython: language_level=3
"""Conversions between Python numbers and raw cells, by type letters; integers come back unsigned."""

from guesthouse.engine.record cimport val_t

# Fills one cell per letter. TypeError names the function and the argument at fault.
cdef int pack(val_t* values, str params, tuple args, str name) except -1

# None, the one result, or a tuple.
cdef object unpack(val_t* values, str results, str name)
cdef object unpack_one(val_t* value, Py_UCS4 kind, str name)
