# cython: language_level=3
"""The system calls that leased blocks are measured against, in a loop without the GIL."""

import time

from libc.stdint cimport uint64_t

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void* into, size_t length, long offset)
    ssize_t pwrite(int fd, const void* data, size_t length, long offset)


def plain(int fd, uint64_t blocks, bint writing, uint64_t n):
    """Read or write `n` blocks of 512 bytes in turn; returns the seconds."""
    cdef char buffer[512]
    cdef uint64_t i
    begun = time.perf_counter()
    with nogil:
        for i in range(n):
            if writing:
                pwrite(fd, buffer, 512, <long>(i % blocks * 512))
            else:
                pread(fd, buffer, 512, <long>(i % blocks * 512))
    return time.perf_counter() - begun
