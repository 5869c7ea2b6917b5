# cython: language_level=3
"""What a program must not even open: FIFOs, devices and sockets in a directory that it was given.

Opening one acts on others: a writer that waits at a FIFO goes on and loses what it writes, a device may start,
rewind or hang.  So a name is looked at before it is opened for the first time.  That costs as much
as opening it, so directories remember names that were found harmless.  Somebody may put a FIFO in the place of
such a name: what was opened is looked at again, and closed.
"""

from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy, memset

from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.resolve cimport status_beneath
from guesthouse.interfaces.wasi.table cimport *


cdef char* _place_of(Known* known, Path* path) noexcept nogil:
    # Where a name is remembered if it is: each has one place (FNV-1a), the last that came takes it.
    cdef uint32_t index, hashed = <uint32_t>2166136261
    for index in range(path.length):
        hashed = (hashed ^ <uint8_t>path.text[index]) * 16777619
    return known.names[(hashed ^ hashed >> 16) % KNOWN_NAMES]


cdef int _is_known(Wasi* wasi, Desc* base, Path* path) noexcept nogil:
    cdef int found = 0
    if path.length >= KNOWN_LENGTH:
        return 0
    pthread_mutex_lock(&wasi.lock)
    if base.known != NULL and base.known.moves == wasi.moves:
        found = memcmp(_place_of(base.known, path), path.text, path.length + 1) == 0
    pthread_mutex_unlock(&wasi.lock)
    return found


cdef void _remember(Wasi* wasi, Desc* base, Path* path, uint32_t moves) noexcept nogil:
    if path.length >= KNOWN_LENGTH:
        return
    pthread_mutex_lock(&wasi.lock)
    if base.known == NULL:
        base.known = <Known*>calloc(1, sizeof(Known))
    if base.known != NULL and moves == wasi.moves:
        if base.known.moves != moves:
            memset(base.known, 0, sizeof(Known))
            base.known.moves = moves
        memcpy(_place_of(base.known, path), path.text, path.length + 1)
    pthread_mutex_unlock(&wasi.lock)


cdef int refuse_special(Wasi* wasi, Desc* base, Path* path, int flags) noexcept nogil:
    cdef stat_t found
    cdef int kind
    cdef uint32_t moves = <uint32_t>atomic_load(<int*>&wasi.moves)
    if flags & O_DIRECTORY or path.slash or (flags & O_CREAT and flags & O_EXCL):
        return SUCCESS      # the kernel itself opens nothing else then
    if _is_known(wasi, base, path):
        return SUCCESS
    if status_beneath(base.fd, path, not flags & O_NOFOLLOW, &found):
        return SUCCESS      # it is absent, or cannot be opened either: opening tells
    kind = found.st_mode & S_IFMT
    if kind != S_IFREG and kind != S_IFDIR and kind != S_IFLNK:
        return ENOTCAPABLE_W
    _remember(wasi, base, path, moves)
    return SUCCESS


cdef void forget_names(Wasi* wasi) noexcept nogil:
    atomic_add(<int*>&wasi.moves, 1)
