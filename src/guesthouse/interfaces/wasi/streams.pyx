# cython: language_level=3
"""Reading and writing: fd_read, fd_write, fd_pread, fd_pwrite on everything that can be a descriptor."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy

from guesthouse.engine.core cimport ENDING_CANCELLED, ENDING_OUTPUT, end, interrupted, monotonic, slice, span, val_t
from guesthouse.engine.traps cimport park
from guesthouse.interfaces.wasi.budget cimport charge, within_budget
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.memory cimport MOST_PARTS, answer, gather, put32
from guesthouse.interfaces.wasi.positions cimport settle, tell
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *


cdef int await_host(Record* record, int fd, short events, int64_t timeout) noexcept nogil:
    cdef pollfd wanted
    cdef int64_t until = monotonic() + timeout if timeout >= 0 else -1
    cdef int64_t left = -1
    cdef Task* task = task_of(record)
    cdef int count
    while True:
        if interrupted(record):
            return STOP
        if task.wasi.ended:
            end(record, ENDING_CANCELLED)   # another thread is ending the program: this one ends quietly
            return STOP
        if until >= 0:
            left = until - monotonic()
            if left <= 0:
                return EAGAIN_W
        wanted.fd = fd
        wanted.events = events
        wanted.revents = 0
        count = poll_ns(&wanted, 1, slice(record, left))
        if count > 0:
            return SUCCESS
        if count < 0 and host_errno() != EINTR:
            return translate(host_errno())


cdef int _read_host(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil:
    cdef ssize_t count
    cdef int error
    if desc.borrowed == 1 and not desc.flags & FLAG_NONBLOCK:
        error = await_host(record, desc.fd, POLLIN, -1)     # a shared descriptor may be a blocking one
        if error:
            return error
    while True:
        count = c_read(desc.fd, parts[0].iov_base, parts[0].iov_len) if n == 1 else readv(desc.fd, parts, n)
        if count >= 0:
            done[0] = <uint64_t>count
            return SUCCESS
        error = host_errno()
        if error == EINTR:
            continue
        if error != EAGAIN or desc.flags & FLAG_NONBLOCK:
            return translate(error)
        error = await_host(record, desc.fd, POLLIN, desc.read_timeout if desc.read_timeout else -1)
        if error:
            return error


cdef int _write_host(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil:
    # A blocking stream takes everything; what was written before an error counts.
    cdef ssize_t count
    cdef size_t length
    cdef int error, index = 0
    cdef uint8_t* at
    done[0] = 0
    while index < n:
        if desc.borrowed == 1 and not desc.flags & FLAG_NONBLOCK:
            error = await_host(record, desc.fd, POLLOUT, -1)
            if error:
                return error
        length = parts[index].iov_len
        if desc.borrowed == 1 and length > 4096:
            length = 4096           # what a pipe that polls writable takes without blocking
        if length == parts[index].iov_len and n - index > 1 and desc.borrowed != 1:
            count = writev(desc.fd, parts + index, n - index)
        else:
            count = c_write(desc.fd, parts[index].iov_base, length)
        if count < 0:
            error = host_errno()
            if error == EINTR:
                continue
            if error == EAGAIN and not desc.flags & FLAG_NONBLOCK:
                error = await_host(record, desc.fd, POLLOUT, desc.write_timeout if desc.write_timeout else -1)
                if error == SUCCESS:
                    continue
                return SUCCESS if done[0] and error != STOP else error
            return SUCCESS if done[0] else translate(error)
        done[0] += <uint64_t>count
        while index < n and <size_t>count >= parts[index].iov_len:
            count -= parts[index].iov_len
            index += 1
        if index < n and count > 0:
            at = <uint8_t*>parts[index].iov_base + count
            parts[index].iov_base = at
            parts[index].iov_len -= count
    return SUCCESS


cdef int _read_bytes(Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil:
    cdef uint64_t position = desc.position, room
    cdef int index
    done[0] = 0
    for index in range(n):
        if position >= desc.length:
            break
        room = desc.length - position
        if room > parts[index].iov_len:
            room = parts[index].iov_len
        memcpy(parts[index].iov_base, desc.data + position, room)
        position += room
        done[0] += room
    desc.position = position
    return SUCCESS


cdef int _call_python(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept with gil:
    cdef int index
    done[0] = 0
    try:
        for index in range(n):
            (<object>desc.object)(PyBytes_FromStringAndSize(<char*>parts[index].iov_base, parts[index].iov_len))
            done[0] += parts[index].iov_len
    except BaseException as error:
        park(record, error)
        return STOP
    return SUCCESS


cdef ssize_t _move_at(int fd, iovec* parts, int n, int64_t offset, int writing) noexcept nogil:
    if n > 1:
        return (pwritev if writing else preadv)(fd, parts, n, offset)
    if writing:     # one vector is the rule, and quicker as a plain call
        return c_pwrite(fd, parts[0].iov_base, parts[0].iov_len, offset)
    return c_pread(fd, parts[0].iov_base, parts[0].iov_len, offset)


cdef int _move_on(Desc* desc, iovec* parts, int n, int writing, uint64_t* done) noexcept nogil:
    # At the position that is kept here; a short count is legal.
    cdef ssize_t count = _move_at(desc.fd, parts, n, <int64_t>desc.position, writing)
    while count < 0 and host_errno() == EINTR:
        count = _move_at(desc.fd, parts, n, <int64_t>desc.position, writing)
    if count < 0:
        return translate(host_errno())
    desc.position += <uint64_t>count
    done[0] = <uint64_t>count
    return SUCCESS


cdef int read_parts(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil:
    cdef int kind = desc.kind
    cdef uint32_t cut = 0
    done[0] = 0
    if kind == KIND_CUSTOM:
        return desc.ops.receive(record, desc, parts, n, 0, done, &cut)
    if kind == KIND_DIRECTORY:
        return EISDIR_W
    if n == 0 or kind == KIND_NULL:
        return SUCCESS
    if kind == KIND_BYTES:
        return _read_bytes(desc, parts, n, done)
    if desc.kept:
        return _move_on(desc, parts, n, 0, done)
    if kind == KIND_FILE or kind == KIND_STREAM or kind == KIND_SOCKET:
        return _read_host(record, desc, parts, n, done)
    return EBADF_W


cdef int write_parts(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil:
    cdef int kind = desc.kind, index
    done[0] = 0
    if kind == KIND_CUSTOM:
        return desc.ops.send(record, desc, parts, n, 0, done)
    if kind == KIND_DIRECTORY:
        return EISDIR_W
    if kind == KIND_BYTES:
        return EBADF_W
    if n == 0:
        return SUCCESS
    if kind == KIND_CALLABLE:
        return _call_python(record, desc, parts, n, done)
    if kind == KIND_CAPTURE:
        for index in range(n):
            if append(task_of(record).wasi, desc.buffer, <uint8_t*>parts[index].iov_base, parts[index].iov_len):
                end(record, ENDING_OUTPUT)
                return STOP
            done[0] += parts[index].iov_len
        return SUCCESS
    if kind == KIND_NULL:
        for index in range(n):
            done[0] += parts[index].iov_len
        return SUCCESS
    if desc.flags & FLAG_APPEND:
        settle(desc)        # the kernel knows where the end is
    if desc.kept:
        return _move_on(desc, parts, n, 1, done)
    return _write_host(record, desc, parts, n, done)


cdef int _transfer(Record* record, val_t* args, int writing) noexcept nogil:
    cdef iovec parts[MOST_PARTS]
    cdef int n = 0, error = 0
    cdef uint64_t done = 0
    cdef int64_t claimed = 0
    cdef uint32_t result = args[3].u32
    cdef Desc* desc = demand(record, args[0].u32, bit(RIGHT_WRITE if writing else RIGHT_READ), &error)
    if desc == NULL:
        return error
    if span(record, result, 4) == NULL:
        error = EFAULT_W
    else:
        error = gather(record, args[1].u32, args[2].u32, parts, &n)
    if error == SUCCESS and writing and desc.kind == KIND_FILE:
        error = within_budget(task_of(record).wasi, desc, parts, &n, -1, &claimed)
    if error == SUCCESS:
        error = (write_parts if writing else read_parts)(record, desc, parts, n, &done)
    if claimed:
        charge(task_of(record).wasi, desc, tell(desc) if done else 0, claimed)
    release(desc)
    if error == SUCCESS:
        error = put32(record, result, <uint32_t>done)
        if writing:
            record.bytes_in += done
        else:
            record.bytes_out += done
    return error


cdef int _transfer_at(Record* record, val_t* args, int writing) noexcept nogil:
    cdef iovec parts[MOST_PARTS]
    cdef int n = 0, error = 0
    cdef ssize_t done = 0
    cdef int64_t claimed = 0
    cdef uint64_t offset = args[3].u64
    cdef uint32_t result = args[4].u32
    cdef uint64_t rights = bit(RIGHT_WRITE if writing else RIGHT_READ) | bit(RIGHT_SEEK)
    cdef Desc* desc = demand(record, args[0].u32, bit(RIGHT_WRITE if writing else RIGHT_READ), &error)
    if desc == NULL:
        return error
    if span(record, result, 4) == NULL:
        error = EFAULT_W
    else:
        error = gather(record, args[1].u32, args[2].u32, parts, &n)
    if error == SUCCESS:
        if desc.kind == KIND_DIRECTORY:
            error = EISDIR_W
        elif desc.kind != KIND_FILE:
            error = ESPIPE_W
        elif desc.rights & rights != rights:
            error = ENOTCAPABLE_W
        elif offset > 0x7fffffffffffffffULL:
            error = EINVAL_W
        elif writing:
            error = within_budget(task_of(record).wasi, desc, parts, &n, <int64_t>offset, &claimed)
        if error == SUCCESS and n > 0:
            done = _move_at(desc.fd, parts, n, <int64_t>offset, writing)
            while done < 0 and host_errno() == EINTR:
                done = _move_at(desc.fd, parts, n, <int64_t>offset, writing)
            if done < 0:
                error = translate(host_errno())
            if claimed:
                offset = <uint64_t>desc.size if desc.flags & FLAG_APPEND else offset
                charge(task_of(record).wasi, desc, <int64_t>offset + done if done > 0 else 0, claimed)
    release(desc)
    if error == SUCCESS:
        error = put32(record, result, <uint32_t>done)
        if writing:
            record.bytes_in += <uint64_t>done
        else:
            record.bytes_out += <uint64_t>done
    return error


cdef int fd_read(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _transfer(record, args, 0))


cdef int fd_write(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _transfer(record, args, 1))


cdef int fd_pread(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _transfer_at(record, args, 0))


cdef int fd_pwrite(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _transfer_at(record, args, 1))


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "fd_read": <uintptr_t>&fd_read,
    "fd_write": <uintptr_t>&fd_write,
    "fd_pread": <uintptr_t>&fd_pread,
    "fd_pwrite": <uintptr_t>&fd_pwrite,
}
