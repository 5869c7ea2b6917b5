# cython: language_level=3
"""The disk budget: what a program writes is charged by growth, and given back when it is cut or deleted.

Room is claimed before a write and settled after it, so that threads, and processes that share an account, cannot
spend the same bytes twice.  Two descriptors of one file are charged each for itself, so the budget errs on the
strict side; files that were there before can be deleted, but never bring more than the process was given.
"""

from libc.stdint cimport uint32_t

from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.positions cimport tell
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *

cdef extern from *:
    """
    #include <stdint.h>

    /* Takes what can be had of `wanted` from an account of which at most `most` may be used: how much. */
    static int64_t gh_take(int64_t *used, int64_t most, int64_t wanted) {
        int64_t now = __atomic_load_n(used, __ATOMIC_RELAXED), part;
        do {
            part = most - now < wanted ? most - now : wanted;
            if (part <= 0) return 0;
        } while (!__atomic_compare_exchange_n(used, &now, now + part, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
        return part;
    }
    /* Gives bytes back, never more than were used. */
    static void gh_give(int64_t *used, int64_t count) {
        int64_t now = __atomic_load_n(used, __ATOMIC_RELAXED), left;
        do {
            left = now > count ? now - count : 0;
        } while (!__atomic_compare_exchange_n(used, &now, left, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    }
    """
    int64_t gh_take(int64_t* used, int64_t most, int64_t wanted) noexcept nogil
    void gh_give(int64_t* used, int64_t count) noexcept nogil


cdef int64_t claim(Wasi* wasi, int64_t wanted) noexcept nogil:
    cdef int64_t own = gh_take(&wasi.disk_used, wasi.disk_limit, wanted), common
    if wasi.shared == NULL:
        return own
    common = gh_take(wasi.shared, wasi.shared_limit, own)
    if common < own:
        gh_give(&wasi.disk_used, own - common)
    return common


cdef void refund(Wasi* wasi, int64_t count) noexcept nogil:
    if wasi.disk_limit < 0 or count <= 0:
        return
    gh_give(&wasi.disk_used, count)
    if wasi.shared != NULL:
        gh_give(wasi.shared, count)


cdef int claim_name(Wasi* wasi) noexcept nogil:
    if wasi.disk_limit < 0:
        return SUCCESS
    if gh_take(&wasi.names_used, wasi.names_limit, 1) == 0:
        return EDQUOT_W
    if wasi.shared == NULL or gh_take(wasi.shared, wasi.shared_limit, NAME_BYTES) == NAME_BYTES:
        return SUCCESS
    gh_give(&wasi.names_used, 1)
    return EDQUOT_W


cdef void give_name(Wasi* wasi) noexcept nogil:
    if wasi.disk_limit < 0:
        return
    gh_give(&wasi.names_used, 1)
    if wasi.shared != NULL:
        gh_give(wasi.shared, NAME_BYTES)


cdef int afford(Wasi* wasi, Desc* desc, int64_t end, int64_t* claimed) noexcept nogil:
    cdef int64_t wanted = end - desc.size
    claimed[0] = 0
    if wasi.disk_limit < 0 or desc.borrowed or wanted <= 0:
        return SUCCESS
    claimed[0] = claim(wasi, wanted)
    if claimed[0] == wanted:
        return SUCCESS
    refund(wasi, claimed[0])
    claimed[0] = 0
    return EDQUOT_W


cdef void charge(Wasi* wasi, Desc* desc, int64_t end, int64_t claimed) noexcept nogil:
    cdef int64_t grown = 0
    if wasi.disk_limit < 0 or desc.borrowed:
        return
    if end > desc.size:
        pthread_mutex_lock(&wasi.lock)
        if end > desc.size:
            grown = end - desc.size
            desc.size = end
        pthread_mutex_unlock(&wasi.lock)
    if grown > claimed:         # somebody cut it short meanwhile: it has grown, whatever is left
        claim(wasi, grown - claimed)
    else:
        refund(wasi, claimed - grown)


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


cdef int within_budget(Wasi* wasi, Desc* desc, iovec* parts, int* n, int64_t offset, int64_t* claimed) noexcept nogil:
    cdef int64_t room, at, end
    cdef int index
    claimed[0] = 0
    if wasi.disk_limit < 0 or desc.borrowed or n[0] == 0:
        return SUCCESS
    if desc.flags & FLAG_APPEND:
        at = desc.size
    else:
        at = tell(desc) if offset < 0 else offset
    end = at
    for index in range(n[0]):
        end += <int64_t>parts[index].iov_len
    if end < at:
        return EFBIG_W
    if end <= desc.size:
        return SUCCESS
    claimed[0] = claim(wasi, end - desc.size)
    room = desc.size + claimed[0] - at
    if room <= 0:
        refund(wasi, claimed[0])
        claimed[0] = 0
        return EDQUOT_W
    for index in range(n[0]):
        if <int64_t>parts[index].iov_len >= room:
            parts[index].iov_len = <size_t>room
            n[0] = index + 1
            break
        room -= <int64_t>parts[index].iov_len
    return SUCCESS
