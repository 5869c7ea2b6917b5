# cython: language_level=3
"""Duplicates of descriptors, and whole files read on behalf of a guest (faasm.md 2.7).

Like WASIX, files build on WASI's descriptor table and its path resolution.
"""

import os
import stat

from libc.stdint cimport int32_t, uint32_t, uint8_t, uintptr_t
from libc.string cimport memcmp, memcpy

from guesthouse.engine.record cimport OK, Record, native_t, span, trap, val_t
from guesthouse.interfaces.wasi.budget cimport claim_name, give_name
from guesthouse.interfaces.wasi.resolve cimport (
    Path, Place, find_place, leave_place, open_beneath, read_path,
)
from guesthouse.interfaces.wasi.table cimport Desc, Task, Wasi, acquire, insert, release, task_of

from guesthouse.interfaces.wasi import paths

cdef extern from "<sys/stat.h>" nogil:
    int mkdirat(int fd, const char* path, int mode)

cdef enum:
    BAD_DESCRIPTOR = 8      # WASI's number
    CREATE = 1              # WASI's flag of path_open
    SCHEME = 7              # bytes of "faasm:/"


cdef int copy_descriptor(Record* record, uint32_t fd, uint32_t* number) noexcept nogil:
    # Both share position and flags, since both are the same open file: 0 or WASI's error.
    cdef Task* task = task_of(record)
    cdef Desc* desc = acquire(task.wasi, fd)
    if desc == NULL:
        return BAD_DESCRIPTOR
    return insert(task.wasi, desc, 0, number)


cdef int dup(Record* record, val_t* args, void* env) noexcept nogil:
    # (descriptor) -> the new one, or -1
    cdef uint32_t number = 0
    args[0].u64 = 0xFFFFFFFF if copy_descriptor(record, args[0].u32, &number) else number
    return OK


cdef int fd_dup(Record* record, val_t* args, void* env) noexcept nogil:
    # (descriptor, where to put the new one) -> errno
    cdef uint32_t number = 0
    cdef uint8_t* result = span(record, args[1].u32, 4)
    if result == NULL:
        return trap(record, b"__wasi_fd_dup: the result is outside of the guest's memory")
    args[0].u64 = <uint32_t> copy_descriptor(record, args[0].u32, &number)
    if args[0].u64 == 0:
        memcpy(result, &number, 4)
    return OK


cdef void make_parents(Record* record, uint32_t fd, uint32_t text, uint32_t length) noexcept nogil:
    # The directories that a shared file lies in: an object store has none, so nobody makes them.
    cdef Desc* base
    cdef Path path
    cdef Place place
    cdef uint32_t i
    cdef Wasi* wasi = task_of(record).wasi
    cdef uint8_t* name = span(record, text, length)
    if name == NULL or length < SCHEME or memcmp(name, b"faasm:/", SCHEME) != 0:
        return
    base = acquire(wasi, fd)
    if base == NULL:
        return
    for i in range(SCHEME, length if not base.readonly else 0):
        if name[i] == c"/" and name[i - 1] != c"/" and read_path(record, text, i, &path) == 0:
            if find_place(base.fd, &path, &place) == 0:
                if claim_name(wasi) == 0 and mkdirat(place.fd, place.name, 0o777):
                    give_name(wasi)
                leave_place(&place)
    release(base)


cdef int path_open(Record* record, val_t* args, void* env) noexcept nogil:
    # WASI's, whose address is the row's word; creating a shared file creates the way to it
    if args[4].u32 & CREATE:
        make_parents(record, args[0].u32, args[2].u32, args[3].u32)
    return (<native_t> env)(record, args, NULL)


cdef uintptr_t address_of(native_t function):
    return <uintptr_t> function


#: Addresses of the native functions.
FUNCTIONS = {
    "dup": address_of(dup),
    "__wasi_fd_dup": address_of(fd_dup),
    "path_open": address_of(path_open),
}

#: Address of WASI's own function, which the one above wraps.
WASI_PATH_OPEN = paths.FUNCTIONS["path_open"]


def read_beneath(int root, bytes path not None, size_t most):
    """Return the bytes of a regular file beneath a directory, or ``None`` when it cannot be read.

    Args:
        root: descriptor of the directory, which is the guest's ``/``.
        path: as the guest wrote it; absolute or not, it begins at the root.
        most: bytes that the file may have.
    """
    cdef int error = 0
    cdef int fd
    relative = path.lstrip(b"/")
    if not relative or b"\0" in relative:
        return None
    fd = open_beneath(root, relative, os.O_RDONLY | os.O_NONBLOCK, 0, &error)
    if fd < 0:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > most:
            return None
        with open(fd, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(fd)
