# cython: language_level=3
"""The disk budget of a process: by how much its files may grow (DESIGN section 8, invariant 4)."""

from libc.stdint cimport int64_t, uint64_t

from guesthouse.interfaces.wasi.posix cimport iovec
from guesthouse.interfaces.wasi.table cimport Desc, Wasi

# Whether a file may grow to `end` bytes: SUCCESS or the errno; that it has; and that bytes were given back.
cdef int afford(Wasi* wasi, Desc* desc, int64_t end) noexcept nogil
cdef void charge(Wasi* wasi, Desc* desc, int64_t end) noexcept nogil
cdef void refund(Wasi* wasi, int64_t count) noexcept nogil

# Gives back what cutting a file short freed; every descriptor of it learns where it ends now.
cdef void shrank(Wasi* wasi, int fd, int64_t before, int64_t end) noexcept nogil

# Cuts a write to what the budget allows; nothing left of it is the errno. Offset -1: at the position.
cdef int within_budget(Wasi* wasi, Desc* desc, iovec* parts, int* n, int64_t offset) noexcept nogil

# Whether a descriptor of the process stands for this file of the host.
cdef int is_open(Wasi* wasi, uint64_t dev, uint64_t ino) noexcept nogil
