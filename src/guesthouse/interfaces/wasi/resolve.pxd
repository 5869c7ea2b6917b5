# cython: language_level=3
"""Paths of a guest: copied out of its memory, checked, and resolved beneath a directory."""

from libc.stdint cimport uint8_t, uint32_t

from guesthouse.engine.core cimport Record
from guesthouse.interfaces.wasi.posix cimport stat_t

cdef enum:
    PATH_SPACE = 4352       # longest path of the kernel and room for "/."

ctypedef struct Path:
    char text[PATH_SPACE]   # NUL-terminated
    uint32_t length
    int slash               # ends with a slash
    int single              # one component that is neither "." nor ".."

# Where the last component of a path lives.
ctypedef struct Place:
    int fd                  # directory
    int owned               # to be closed with `leave_place`
    const char* name        # last component, with its trailing slash

cdef int read_path(Record* record, uint32_t ptr, uint32_t length, Path* path) noexcept nogil

# Opens beneath `dirfd`: a host descriptor, or -1 with errno in `error` (of WASI).
cdef int open_beneath(int dirfd, const char* path, int flags, int mode, int* error) noexcept nogil

# Finds the directory of the last component.
cdef int find_place(int dirfd, Path* path, Place* place) noexcept nogil
cdef void leave_place(Place* place) noexcept nogil

# The status of what a path names, with or without following a link at its end: SUCCESS or the errno.
cdef int status_beneath(int dirfd, Path* path, int follow, stat_t* found) noexcept nogil

# Whether text is UTF-8 without surrogates.
cdef int is_utf8(const uint8_t* data, uint32_t length) noexcept nogil
