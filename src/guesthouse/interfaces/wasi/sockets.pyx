# cython: language_level=3
"""The four socket functions of preview 1, on host sockets and on whatever else can be sent and received with."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from guesthouse.engine.core cimport Record, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.files cimport filetype_of
from guesthouse.interfaces.wasi.memory cimport MOST_PARTS, answer, gather, put32
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *
from guesthouse.interfaces.wasi.streams cimport await_host


cdef Desc* _socket(Record* record, uint32_t fd, int* error) noexcept nogil:
    cdef Desc* desc = demand(record, fd, 0, error)
    if desc != NULL and desc.kind != KIND_SOCKET and desc.kind != KIND_CUSTOM:
        release(desc)
        error[0] = ENOTSOCK_W
        return NULL
    return desc


cdef int _accept(Record* record, uint32_t fd, uint32_t flags, uint32_t* number) noexcept nogil:
    cdef int error = 0, taken = -1
    cdef Desc* made
    cdef Desc* desc = _socket(record, fd, &error)
    if desc == NULL:
        return error
    if flags & ~<uint32_t>FLAG_NONBLOCK:
        error = EINVAL_W
    elif desc.kind != KIND_SOCKET:
        error = ENOTSUP_W
    elif not desc.rights & bit(RIGHT_ACCEPT):
        error = ENOTCAPABLE_W
    while error == SUCCESS:
        taken = c_accept4(desc.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if taken >= 0:
            break
        error = host_errno()
        if error == EINTR:
            error = SUCCESS
        elif error != EAGAIN or desc.flags & FLAG_NONBLOCK:
            error = translate(error)
        else:
            error = await_host(record, desc.fd, POLLIN, -1)
    release(desc)
    if error:
        return error
    made = create(KIND_SOCKET, TYPE_STREAM, taken, RIGHTS_SOCKET, 0)
    if made == NULL:
        c_close(taken)
        return ENOMEM_W
    made.flags = <uint16_t>flags
    return insert(task_of(record).wasi, made, 0, number)


cdef int sock_accept(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint32_t number = 0, result = args[2].u32
    cdef int error = EFAULT_W
    if span(record, result, 4) != NULL:
        error = _accept(record, args[0].u32, args[1].u32, &number)
    if error == SUCCESS:
        error = put32(record, result, number)
    return answer(args, error)


cdef int _receive(Record* record, Desc* desc, iovec* parts, int n, uint32_t flags, uint64_t* done,
                  uint32_t* cut) noexcept nogil:
    cdef msghdr message
    cdef ssize_t count
    cdef int error, waits = not (desc.flags & FLAG_NONBLOCK or flags & 8)
    cdef int how = MSG_DONTWAIT | (MSG_PEEK if flags & 1 else 0)
    cdef uint64_t wanted = 0
    cdef int index
    memset(&message, 0, sizeof(message))
    message.msg_iov = parts
    message.msg_iovlen = n
    for index in range(n):
        wanted += parts[index].iov_len
    while True:
        message.msg_flags = 0
        count = recvmsg(desc.fd, &message, how)
        if count < 0:
            error = host_errno()
            if error == EINTR:
                continue
            if error != EAGAIN or not waits:
                return translate(error)
            error = await_host(record, desc.fd, POLLIN, desc.read_timeout if desc.read_timeout else -1)
            if error:
                return error
            continue
        done[0] = <uint64_t>count
        cut[0] = 1 if message.msg_flags & MSG_TRUNC else 0
        if flags & 2 and not flags & 1 and count > 0 and done[0] < wanted and filetype_of(desc) == TYPE_STREAM:
            return _receive_rest(record, desc, parts, n, wanted, done)
        return SUCCESS


cdef int _receive_rest(Record* record, Desc* desc, iovec* parts, int n, uint64_t wanted,
                       uint64_t* done) noexcept nogil:
    # WAITALL: until the buffers are full, the stream ends or something goes wrong.
    cdef int index = 0, error
    cdef ssize_t count
    cdef uint64_t skip = done[0]
    while index < n:
        if skip >= parts[index].iov_len:
            skip -= parts[index].iov_len
            index += 1
            continue
        count = c_read(desc.fd, <char*>parts[index].iov_base + skip, parts[index].iov_len - skip)
        if count == 0:
            return SUCCESS
        if count < 0:
            error = host_errno()
            if error == EINTR:
                continue
            if error != EAGAIN:
                return SUCCESS
            error = await_host(record, desc.fd, POLLIN, -1)
            if error:
                return error
            continue
        skip += <uint64_t>count
        done[0] += <uint64_t>count
    return SUCCESS


cdef int _sock_recv(Record* record, val_t* args) noexcept nogil:
    cdef iovec parts[MOST_PARTS]
    cdef int n = 0, error = 0
    cdef uint64_t done = 0
    cdef uint32_t cut = 0
    cdef uint8_t* flags = span(record, args[5].u32, 2)
    cdef Desc* desc = _socket(record, args[0].u32, &error)
    if desc == NULL:
        return error
    if not desc.rights & bit(RIGHT_READ):
        error = ENOTCAPABLE_W
    elif args[3].u32 > 15:
        error = EINVAL_W
    elif flags == NULL or span(record, args[4].u32, 4) == NULL:
        error = EFAULT_W
    else:
        error = gather(record, args[1].u32, args[2].u32, parts, &n)
    if error == SUCCESS and desc.kind == KIND_CUSTOM:
        error = desc.ops.receive(record, desc, parts, n, args[3].u32, &done, &cut)
    elif error == SUCCESS:
        error = _receive(record, desc, parts, n, args[3].u32, &done, &cut)
    release(desc)
    if error == SUCCESS:
        w16(flags, <uint16_t>cut)
        error = put32(record, args[4].u32, <uint32_t>done)
    return error


cdef int sock_recv(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _sock_recv(record, args))


cdef int _sock_send(Record* record, val_t* args) noexcept nogil:
    cdef iovec parts[MOST_PARTS]
    cdef msghdr message
    cdef int n = 0, error = 0
    cdef uint64_t done = 0
    cdef ssize_t count = 0
    cdef Desc* desc = _socket(record, args[0].u32, &error)
    if desc == NULL:
        return error
    if not desc.rights & bit(RIGHT_WRITE):
        error = ENOTCAPABLE_W
    elif args[3].u32 > 1:
        error = EINVAL_W
    elif span(record, args[4].u32, 4) == NULL:
        error = EFAULT_W
    else:
        error = gather(record, args[1].u32, args[2].u32, parts, &n)
    memset(&message, 0, sizeof(message))
    message.msg_iov = parts
    message.msg_iovlen = n
    if error == SUCCESS and desc.kind == KIND_CUSTOM:
        error = desc.ops.send(record, desc, parts, n, args[3].u32, &done)
        count = <ssize_t>done
        release(desc)
        return error if error else put32(record, args[4].u32, <uint32_t>count)
    while error == SUCCESS:
        count = sendmsg(desc.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if count >= 0:
            break
        error = host_errno()
        if error == EINTR:
            error = SUCCESS
        elif error != EAGAIN or desc.flags & FLAG_NONBLOCK or args[3].u32 & 1:
            error = translate(error)
        else:
            error = await_host(record, desc.fd, POLLOUT, desc.write_timeout if desc.write_timeout else -1)
    release(desc)
    return error if error else put32(record, args[4].u32, <uint32_t>count)


cdef int sock_send(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _sock_send(record, args))


cdef int _shutdown(Record* record, uint32_t fd, uint32_t how) noexcept nogil:
    cdef int error = 0
    cdef Desc* desc = _socket(record, fd, &error)
    if desc == NULL:
        return error
    if how < 1 or how > 3:
        error = EINVAL_W
    elif not desc.rights & bit(RIGHT_SHUTDOWN):
        error = ENOTCAPABLE_W
    elif desc.kind == KIND_CUSTOM:
        error = desc.ops.shutdown(record, desc, <int>how)
    elif desc.object != NULL and filetype_of(desc) == TYPE_DGRAM:
        error = ENOTSUP_W
    elif c_shutdown(desc.fd, SHUT_RD if how == 1 else SHUT_WR if how == 2 else SHUT_RDWR) < 0:
        error = translate(host_errno())
    release(desc)
    return error


cdef int sock_shutdown(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _shutdown(record, args[0].u32, args[1].u32))


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "sock_accept": <uintptr_t>&sock_accept,
    "sock_recv": <uintptr_t>&sock_recv,
    "sock_send": <uintptr_t>&sock_send,
    "sock_shutdown": <uintptr_t>&sock_shutdown,
}
