# cython: language_level=3
"""Socket pairs, and sending a file through a socket, natively."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

from guesthouse.engine.core cimport TRAPPED, Record, interrupted, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.memory cimport answer, put32, put64
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *
from guesthouse.interfaces.wasi.streams cimport write_parts

cdef extern from "<sys/socket.h>" nogil:
    int c_socketpair "socketpair"(int, int, int, int*)
    int AF_UNIX

cdef enum:
    PIECE = 32768


cdef int _pair(Record* record, uint32_t kind, uint32_t first, uint32_t second) noexcept nogil:
    # Socket types as generation G3 counts them, which is the one that has this function.
    cdef int[2] hosts
    cdef uint32_t[2] numbers
    cdef Desc* desc
    cdef int index, error
    cdef int how = SOCK_STREAM if kind == 1 else SOCK_DGRAM
    if kind != 1 and kind != 2:
        return ENOTSUP_W
    if span(record, first, 4) == NULL or span(record, second, 4) == NULL:
        return EFAULT_W
    if c_socketpair(AF_UNIX, how | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, hosts) < 0:
        return translate(host_errno())
    for index in range(2):
        desc = create(KIND_SOCKET, TYPE_STREAM if kind == 1 else TYPE_DGRAM, hosts[index], RIGHTS_SOCKET, 0)
        error = ENOMEM_W if desc == NULL else insert(task_of(record).wasi, desc, 0, &numbers[index])
        if error:
            if desc == NULL:
                c_close(hosts[index])
            if index == 0:
                c_close(hosts[1])
            else:
                remove(task_of(record).wasi, numbers[0])
            return error
    put32(record, first, numbers[0])
    return put32(record, second, numbers[1])


cdef int sock_pair(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _pair(record, args[1].u32, args[3].u32, args[4].u32))


cdef int _send(Record* record, Desc* out, Desc* source, uint64_t offset, uint64_t count, uint64_t* sent) noexcept nogil:
    cdef uint8_t[PIECE] piece
    cdef iovec part
    cdef ssize_t length
    cdef uint64_t done
    cdef int error
    sent[0] = 0
    while count:
        if interrupted(record):
            return STOP
        part.iov_base = piece
        part.iov_len = count if count < PIECE else PIECE
        length = preadv(source.fd, &part, 1, <int64_t>(offset + sent[0]))
        if length < 0:
            return translate(host_errno())
        if length == 0:
            return SUCCESS
        part.iov_len = <size_t>length
        error = write_parts(record, out, &part, 1, &done)
        if error:
            return SUCCESS if sent[0] and error != STOP else error
        sent[0] += done
        count -= done
        if done < <uint64_t>length:
            return SUCCESS
    return SUCCESS


cdef int sock_send_file(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint64_t sent = 0
    cdef int error = 0
    cdef uint32_t result = args[4].u32
    cdef Desc* source
    cdef Desc* out = demand(record, args[0].u32, bit(RIGHT_WRITE), &error)
    if out == NULL:
        return answer(args, error)
    source = demand(record, args[1].u32, bit(RIGHT_READ), &error)
    if source == NULL:
        release(out)
        return answer(args, error)
    if span(record, result, 8) == NULL:
        error = EFAULT_W
    elif out.kind != KIND_SOCKET and out.kind != KIND_CUSTOM:
        error = ENOTSOCK_W
    elif source.kind != KIND_FILE or args[2].u64 > 0x7fffffffffffffffULL:
        error = EINVAL_W
    else:
        error = _send(record, out, source, args[2].u64, args[3].u64, &sent)
    release(out)
    release(source)
    return answer(args, error if error else put64(record, result, sent))


#: Addresses of the native functions, by name.
FUNCTIONS = {"sock_pair": <uintptr_t>&sock_pair, "sock_send_file": <uintptr_t>&sock_send_file}
