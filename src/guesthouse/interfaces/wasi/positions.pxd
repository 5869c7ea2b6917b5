# cython: language_level=3
"""Positions of files: kept here where nobody else can move them, so that seeking needs no system call.

The kernel keeps one position for each open file.  A file that the guest opened itself is shared with nobody, and
a program without shared memory has one thread: from the first seek on its position is kept in the descriptor, and
reads and writes name it.  Everything else is left to the kernel, which knows how to serialise threads.
"""

from libc.stdint cimport int64_t, uint64_t

from guesthouse.engine.core cimport Record
from guesthouse.interfaces.wasi.posix cimport SEEK_CUR, SEEK_END, SEEK_SET, lseek
from guesthouse.interfaces.wasi.table cimport Desc

cdef enum:
    MEMORY_SHARED = 2

# Beyond these the kernel decides what a position may be: a file system may not go as far.
cdef enum:
    KEPT_MOST = 0x7fffffff

# Hands the position back to the kernel, before anybody else uses the file.
cdef inline void settle(Desc* desc) noexcept nogil:
    if desc.kept:
        desc.kept = 0
        lseek(desc.fd, <int64_t>desc.position, SEEK_SET)

cdef inline int64_t tell(Desc* desc) noexcept nogil:
    return <int64_t>desc.position if desc.kept else lseek(desc.fd, 0, SEEK_CUR)

# As lseek(2): the new position, or -1 with the errno of the host.
cdef inline int64_t move(Record* record, Desc* desc, int64_t offset, int whence) noexcept nogil:
    cdef int64_t to
    if desc.kept and whence != SEEK_END and -KEPT_MOST <= offset <= KEPT_MOST:
        to = offset if whence == SEEK_SET else <int64_t>desc.position + offset
        if 0 <= to <= KEPT_MOST:
            desc.position = <uint64_t>to
            return to
    settle(desc)
    to = lseek(desc.fd, offset, whence)
    if 0 <= to <= KEPT_MOST and desc.alone and record.memory_kind != MEMORY_SHARED:
        desc.kept = 1
        desc.position = <uint64_t>to
    return to
