# cython: language_level=3
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from guesthouse.interfaces.wasi.posix cimport stat_t, timespec
from guesthouse.interfaces.wasi.table cimport Desc

# The file type of a descriptor, looking at the host where that was put off.
cdef int filetype_of(Desc* desc) noexcept nogil

# The WASI file type of a host mode.
cdef int filetype_of_mode(uint32_t mode) noexcept nogil

# Writes a filestat: 64 bytes, or the 56 of snapshot 0.
cdef void write_stat(uint8_t* at, const stat_t* found, int filetype, int unstable) noexcept nogil

# The two times of utimensat from the arguments of *_set_times: an errno.
cdef int read_times(uint64_t accessed, uint64_t modified, uint16_t flags, timespec* times) noexcept nogil
