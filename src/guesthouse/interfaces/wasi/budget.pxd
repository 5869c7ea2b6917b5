# cython: language_level=3
"""The disk budget of a process: by how much its files may grow (DESIGN section 8, invariant 4)."""

from libc.stdint cimport int64_t, uint64_t

from guesthouse.interfaces.wasi.posix cimport iovec
from guesthouse.interfaces.wasi.table cimport Desc, Wasi

# Claims the room for a file to grow to `end` bytes: SUCCESS or the errno.
cdef int afford(Wasi* wasi, Desc* desc, int64_t end, int64_t* claimed) noexcept nogil

# A file ends at `end` or beyond: what was claimed and not needed is given back (end 0: all of it).
cdef void charge(Wasi* wasi, Desc* desc, int64_t end, int64_t claimed) noexcept nogil

# Bytes are free again.
cdef void refund(Wasi* wasi, int64_t count) noexcept nogil

# A further name in a directory, before it is made: SUCCESS or the errno; and when it is gone, or was not made.
cdef int claim_name(Wasi* wasi) noexcept nogil
cdef void give_name(Wasi* wasi) noexcept nogil

# Gives back what cutting a file short freed; every descriptor of it learns where it ends now.
cdef void shrank(Wasi* wasi, int fd, int64_t before, int64_t end) noexcept nogil

# Claims the room for a write, and cuts it to what there is; nothing left is the errno. Offset -1: at the position.
cdef int within_budget(Wasi* wasi, Desc* desc, iovec* parts, int* n, int64_t offset, int64_t* claimed) noexcept nogil

# Whether a descriptor of the process stands for this file of the host.
cdef int is_open(Wasi* wasi, uint64_t dev, uint64_t ino) noexcept nogil
