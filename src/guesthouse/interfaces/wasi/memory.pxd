# cython: language_level=3
"""Inline access to guest memory: every range is checked before it is used."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from guesthouse.engine.core cimport OK, TRAPPED, Record, span, val_t
from guesthouse.interfaces.wasi.codes cimport EFAULT_W, EINVAL_W, STOP
from guesthouse.interfaces.wasi.posix cimport iovec, r32, w32, w64

cdef enum:
    MOST_PARTS = 1024           # the kernel's own limit on vectored I/O
    MOST_BYTES = 0x7ffff000     # and on the bytes of one call

# Puts the errno of a host function into its result cell.
cdef inline int answer(val_t* args, int error) noexcept nogil:
    if error == STOP:
        return TRAPPED
    args[0].u64 = 0
    args[0].i32 = error
    return OK

cdef inline int put32(Record* record, uint32_t ptr, uint32_t value) noexcept nogil:
    cdef uint8_t* at = span(record, ptr, 4)
    if at == NULL:
        return EFAULT_W
    w32(at, value)
    return 0

cdef inline int put64(Record* record, uint32_t ptr, uint64_t value) noexcept nogil:
    cdef uint8_t* at = span(record, ptr, 8)
    if at == NULL:
        return EFAULT_W
    w64(at, value)
    return 0

# Collects the guest's vectors into `parts` (MOST_PARTS of them): their number in `n`, or an errno.
# More vectors or bytes than one system call takes are left out: a short count is legal.
cdef inline int gather(Record* record, uint32_t vectors, uint32_t count, iovec* parts, int* n) noexcept nogil:
    cdef uint8_t* table = span(record, vectors, <uint64_t>count * 8)
    cdef uint8_t* at
    cdef uint32_t index, length
    cdef uint64_t total = 0
    cdef int found = 0
    n[0] = 0
    if table == NULL:
        return EFAULT_W
    for index in range(count):
        length = r32(table + index * 8 + 4)
        at = span(record, r32(table + index * 8), length)
        if at == NULL:
            return EFAULT_W
        if length == 0:
            continue
        if found == MOST_PARTS or total >= MOST_BYTES:
            break
        if total + length > MOST_BYTES:
            length = <uint32_t>(MOST_BYTES - total)
        parts[found].iov_base = at
        parts[found].iov_len = length
        total += length
        found += 1
    n[0] = found
    return 0
