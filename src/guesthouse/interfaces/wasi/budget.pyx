# cython: language_level=3
"""The disk budget: what a program writes is charged by growth, and given back when it is cut or deleted.

Two descriptors of one file are charged each for itself, so the budget errs on the strict side; files that were
there before can be deleted, but never bring more than the process was given.
"""

from libc.stdint cimport uint32_t

from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.positions cimport tell
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *


cdef int afford(Wasi* wasi, Desc* desc, int64_t end) noexcept nogil:
    if wasi.disk_limit < 0 or desc.borrowed or end - desc.size <= wasi.disk:
        return SUCCESS
    return EDQUOT_W


cdef void charge(Wasi* wasi, Desc* desc, int64_t end) noexcept nogil:
    if wasi.disk_limit < 0 or desc.borrowed:
        return
    pthread_mutex_lock(&wasi.lock)
    if end > desc.size:
        wasi.disk -= end - desc.size
        desc.size = end
    pthread_mutex_unlock(&wasi.lock)


cdef void refund(Wasi* wasi, int64_t count) noexcept nogil:
    # Never more than the process was given: what it deletes may have been there before it.
    if wasi.disk_limit < 0:
        return
    pthread_mutex_lock(&wasi.lock)
    wasi.disk += count
    if wasi.disk > wasi.disk_limit:
        wasi.disk = wasi.disk_limit
    pthread_mutex_unlock(&wasi.lock)


cdef void shrank(Wasi* wasi, int fd, int64_t before, int64_t end) noexcept nogil:
    # What was freed may be written again, and is charged again, whichever descriptor it goes through.
    cdef uint32_t number
    cdef stat_t cut, status
    cdef Desc* desc
    if wasi.disk_limit < 0 or before <= end or fstat(fd, &cut):
        return
    pthread_mutex_lock(&wasi.lock)
    for number in range(wasi.capacity):
        desc = wasi.table[number]
        if desc != NULL and desc.kind == KIND_FILE and desc.size > end and fstat(desc.fd, &status) == 0:
            if status.st_dev == cut.st_dev and status.st_ino == cut.st_ino:
                desc.size = end
    pthread_mutex_unlock(&wasi.lock)
    refund(wasi, before - end)


cdef int is_open(Wasi* wasi, uint64_t dev, uint64_t ino) noexcept nogil:
    cdef uint32_t number
    cdef int found = 0
    cdef stat_t status
    cdef Desc* desc
    pthread_mutex_lock(&wasi.lock)
    for number in range(wasi.capacity):
        desc = wasi.table[number]
        if desc != NULL and desc.kind == KIND_FILE and fstat(desc.fd, &status) == 0:
            if status.st_dev == dev and status.st_ino == ino:
                found = 1
                break
    pthread_mutex_unlock(&wasi.lock)
    return found


cdef int within_budget(Wasi* wasi, Desc* desc, iovec* parts, int* n, int64_t offset) noexcept nogil:
    cdef int64_t room, at
    cdef int index
    if wasi.disk_limit < 0 or desc.borrowed or n[0] == 0:
        return SUCCESS
    if desc.flags & FLAG_APPEND:
        at = desc.size
    else:
        at = tell(desc) if offset < 0 else offset
    room = desc.size + (wasi.disk if wasi.disk > 0 else 0) - at
    if room <= 0:
        return EDQUOT_W
    for index in range(n[0]):
        if <int64_t>parts[index].iov_len >= room:
            parts[index].iov_len = <size_t>room
            n[0] = index + 1
            break
        room -= <int64_t>parts[index].iov_len
    return SUCCESS
