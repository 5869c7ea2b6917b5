# cython: language_level=3
"""What a program must not even open: FIFOs, devices and sockets in a directory that it was given."""

from guesthouse.interfaces.wasi.resolve cimport Path
from guesthouse.interfaces.wasi.table cimport Desc, Wasi

# Whether opening a name with these flags of the host can only reach a file or a directory: SUCCESS or the errno.
cdef int refuse_special(Wasi* wasi, Desc* base, Path* path, int flags) noexcept nogil

# Names may mean something else from now on: something was renamed or linked.
cdef void forget_names(Wasi* wasi) noexcept nogil
