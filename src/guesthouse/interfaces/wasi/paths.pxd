# cython: language_level=3
from guesthouse.engine.core cimport Record, val_t

# The host function, for those that only arrange its arguments differently.
cdef int path_open(Record* record, val_t* args, void* env) noexcept nogil
