# cython: language_level=3
"""Descriptors of WASIX: duplicates, pipes, event counters, and those that a Python object stands behind."""

import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from guesthouse.engine.core cimport OK, TRAPPED, Record, interrupted, span, val_t
from guesthouse.engine.traps cimport park
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.files cimport filetype_of
from guesthouse.interfaces.wasi.memory cimport answer, put32
from guesthouse.interfaces.wasi.paths cimport path_open
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.resolve cimport open_beneath
from guesthouse.interfaces.wasi.state cimport Process
from guesthouse.interfaces.wasi.table cimport *

from guesthouse.interfaces.wasix.refusal import Refusal

cdef enum:
    RI_PEEK = 1
    RI_DONT_WAIT = 8
    SI_DONT_WAIT = 1


# --- native functions --------------------------------------------------------------------------------

cdef int _duplicate(Record* record, uint32_t fd, uint32_t minimum, uint32_t result) noexcept nogil:
    cdef uint32_t number = 0
    cdef int error = 0
    cdef Desc* desc
    if span(record, result, 4) == NULL:
        return EFAULT_W
    desc = demand(record, fd, 0, &error)
    if desc == NULL:
        return error
    error = insert(task_of(record).wasi, desc, minimum, &number)     # takes the reference over
    return error if error else put32(record, result, number)


cdef int fd_dup(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _duplicate(record, args[0].u32, 0, args[1].u32))


cdef int fd_dup2(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _duplicate(record, args[0].u32, args[1].u32, args[3].u32))


cdef int _add(Record* record, int kind, int host, uint64_t rights, uint32_t* number) noexcept nogil:
    cdef Desc* desc = create(kind, TYPE_STREAM, host, rights, 0)
    if desc == NULL:
        c_close(host)
        return ENOMEM_W
    return insert(task_of(record).wasi, desc, 0, number)


cdef int _pair(Record* record, uint32_t first, uint32_t second, int* hosts, int kind, uint64_t first_rights,
               uint64_t second_rights) noexcept nogil:
    # Two host descriptors become two of the guest, or none.
    cdef uint32_t one = 0, two = 0
    cdef int error = _add(record, kind, hosts[0], first_rights, &one)
    if error:
        c_close(hosts[1])
        return error
    error = _add(record, kind, hosts[1], second_rights, &two)
    if error:
        remove(task_of(record).wasi, one)
        return error
    put32(record, first, one)
    return put32(record, second, two)


cdef int fd_pipe(Record* record, val_t* args, void* env) noexcept nogil:
    cdef int[2] hosts
    cdef uint64_t common = RIGHTS_STREAM & ~(bit(RIGHT_READ) | bit(RIGHT_WRITE))
    if span(record, args[0].u32, 4) == NULL or span(record, args[1].u32, 4) == NULL:
        return answer(args, EFAULT_W)
    if c_pipe2(hosts, O_CLOEXEC | O_NONBLOCK) < 0:
        return answer(args, translate(host_errno()))
    return answer(args, _pair(record, args[0].u32, args[1].u32, hosts, KIND_STREAM, common | bit(RIGHT_READ),
                              common | bit(RIGHT_WRITE)))


cdef int fd_event(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint64_t rest = args[0].u64
    cdef uint32_t number = 0, result = args[2].u32
    cdef uint64_t now
    cdef int host, error
    if args[1].u32 > 1 or rest == 0xffffffffffffffffULL:
        return answer(args, EINVAL_W)
    if span(record, result, 4) == NULL:
        return answer(args, EFAULT_W)
    host = c_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (EFD_SEMAPHORE if args[1].u32 else 0))
    if host < 0:
        return answer(args, translate(host_errno()))
    if rest:
        c_write(host, &rest, 8)
    error = _add(record, KIND_STREAM, host, RIGHTS_STREAM, &number)
    return answer(args, error if error else put32(record, result, number))


cdef int fd_fdflags_get(Record* record, val_t* args, void* env) noexcept nogil:
    cdef int error = 0
    cdef uint8_t* at = span(record, args[1].u32, 2)
    cdef Desc* desc = demand(record, args[0].u32, 0, &error)
    if desc == NULL:
        return answer(args, error)
    if at == NULL:
        error = EFAULT_W
    else:
        w16(at, desc.extra_flags)
    release(desc)
    return answer(args, error)


cdef int fd_fdflags_set(Record* record, val_t* args, void* env) noexcept nogil:
    cdef int error = 0
    cdef Desc* desc = demand(record, args[0].u32, 0, &error)
    if desc == NULL:
        return answer(args, error)
    if args[1].u32 > 1:
        error = EINVAL_W
    else:
        desc.extra_flags = <uint8_t>args[1].u32
    release(desc)
    return answer(args, error)


cdef int path_open2(Record* record, val_t* args, void* env) noexcept nogil:
    args[8] = args[9]       # the result; the extended flags only matter to an exec, which closes all the same
    return path_open(record, args, env)


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "fd_dup": <uintptr_t>&fd_dup,
    "fd_dup2": <uintptr_t>&fd_dup2,
    "fd_pipe": <uintptr_t>&fd_pipe,
    "fd_event": <uintptr_t>&fd_event,
    "fd_fdflags_get": <uintptr_t>&fd_fdflags_get,
    "fd_fdflags_set": <uintptr_t>&fd_fdflags_set,
    "path_open2": <uintptr_t>&path_open2,
}


# --- descriptors that a Python object stands behind --------------------------------------------------
#
# The object has: receive(limit, peek) -> (bytes, cut) or None where it would block; send(data) -> int or None;
# shutdown(how); ready(writing) -> bool; wait(writing, seconds); close(); read_timeout and write_timeout in
# seconds or None. An exception with an integer `errno` is what the guest is told.

cdef int _errno_of(Record* record, object error) noexcept:
    code = getattr(error, "errno", None)
    if isinstance(error, Exception) and isinstance(code, int) and not isinstance(error, OSError):
        return code
    park(record, error)
    return STOP


cdef int _await(Record* record, object thing, int writing, int64_t until) except -2:
    # Waits a little, without blocking anybody else: SUCCESS to try again, STOP, or AGAIN when time is up.
    cdef int ended
    if until and clock_ns(1) >= until:
        return EAGAIN_W
    thing.wait(writing != 0, 0.005)
    with nogil:
        ended = interrupted(record) or task_of(record).wasi.ended or idle(record) != OK
    if ended:
        if not record.ending:
            interrupted(record)
        return STOP
    return SUCCESS


cdef int64_t _until(object seconds):
    return 0 if seconds is None else clock_ns(1) + <int64_t>(seconds * 1e9)


cdef int _receive(Record* record, Desc* desc, iovec* parts, int n, uint32_t flags, uint64_t* done,
                  uint32_t* cut) noexcept with gil:
    cdef uint64_t limit = 0, position = 0, length
    cdef int index, state
    cdef bytes data
    cdef const char* at
    done[0] = 0
    for index in range(n):
        limit += parts[index].iov_len
    try:
        thing = <object>desc.object
        until = _until(thing.read_timeout)
        while True:
            found = thing.receive(limit, (flags & RI_PEEK) != 0)
            if found is not None:
                break
            if desc.flags & FLAG_NONBLOCK or flags & RI_DONT_WAIT:
                return EAGAIN_W
            state = _await(record, thing, 0, until)
            if state:
                return state
        data, truncated = found
        cut[0] = 1 if truncated else 0
        at = data
        length = len(data)
        for index in range(n):
            if position == length:
                break
            limit = min(parts[index].iov_len, length - position)
            memcpy(parts[index].iov_base, at + position, limit)
            position += limit
        done[0] = position
    except BaseException as error:
        return _errno_of(record, error)
    return SUCCESS


cdef int _send(Record* record, Desc* desc, iovec* parts, int n, uint32_t flags, uint64_t* done) noexcept with gil:
    cdef int index, state
    done[0] = 0
    try:
        thing = <object>desc.object
        until = _until(thing.write_timeout)
        data = b"".join([PyBytes_FromStringAndSize(<char*>parts[index].iov_base, parts[index].iov_len)
                         for index in range(n)])
        while True:
            sent = thing.send(data)
            if sent is not None:
                break
            if desc.flags & FLAG_NONBLOCK or flags & SI_DONT_WAIT:
                return EAGAIN_W
            state = _await(record, thing, 1, until)
            if state:
                return state
        done[0] = min(<uint64_t>sent, <uint64_t>len(data))
    except BaseException as error:
        return _errno_of(record, error)
    return SUCCESS


cdef int _shutdown(Record* record, Desc* desc, int how) noexcept with gil:
    try:
        (<object>desc.object).shutdown(how)
    except BaseException as error:
        return _errno_of(record, error)
    return SUCCESS


cdef int _ready(Record* record, Desc* desc, int writing) noexcept with gil:
    try:
        return 1 if (<object>desc.object).ready(writing != 0) else 0
    except BaseException as error:
        return 1 if _errno_of(record, error) != STOP else STOP


cdef void _drop(Desc* desc) noexcept with gil:
    try:
        (<object>desc.object).close()
    except Exception:
        pass        # an embedder's object that cannot even be closed has nobody left to tell


cdef Ops PYTHON_OPS
PYTHON_OPS.receive = _receive
PYTHON_OPS.send = _send
PYTHON_OPS.shutdown = _shutdown
PYTHON_OPS.ready = _ready
PYTHON_OPS.drop = _drop


cdef Desc* _held(Process process, fd) except NULL:
    cdef Desc* desc = acquire(process.wasi, <uint32_t>(fd & 0xFFFFFFFF))
    if desc == NULL:
        raise Refusal(EBADF_W)
    return desc


def open_object(Process process not None, thing, int filetype, int flags=0):
    """Open a descriptor that a Python object stands behind.

    Args:
        process: whose descriptor.
        thing: the object, see the comment above.
        filetype: WASI file type.
        flags: fdflags.

    Returns:
        The descriptor.

    Raises:
        Refusal: none is free; the object was closed.
    """
    cdef uint32_t number = 0
    cdef Desc* desc = create(KIND_CUSTOM, filetype, -1, RIGHTS_SOCKET, RIGHTS_SOCKET)
    if desc == NULL:
        raise MemoryError
    Py_INCREF(thing)
    desc.object = <PyObject*>thing
    desc.ops = &PYTHON_OPS
    desc.flags = <uint16_t>flags
    cdef int error = insert(process.wasi, desc, 0, &number)
    if error:
        raise Refusal(error)
    return number


def object_at(Process process not None, fd):
    """Return the object behind a descriptor; ``None`` when none is.

    Raises:
        Refusal: the descriptor is not open.
    """
    cdef Desc* desc = _held(process, fd)
    try:
        return <object>desc.object if desc.ops == &PYTHON_OPS else None
    finally:
        release(desc)


def serve_natively(Process process not None, fd, int host, int filetype):
    """Let a host descriptor move the data of a descriptor from now on; the object still owns it.

    Raises:
        Refusal: the descriptor is not open.
    """
    cdef Desc* desc = _held(process, fd)
    desc.fd = host
    desc.borrowed = 2       # not ours to close, yet never blocking
    desc.filetype = <uint8_t>filetype
    desc.kind = KIND_SOCKET
    release(desc)


def set_timeouts(Process process not None, fd, read, write):
    """Bound how long reading and writing may block, in seconds; ``None`` for not at all.

    Raises:
        Refusal: the descriptor is not open.
    """
    cdef Desc* desc = _held(process, fd)
    desc.read_timeout = max(1, int(read * 1e9)) if read is not None else 0
    desc.write_timeout = max(1, int(write * 1e9)) if write is not None else 0
    release(desc)


def flags_of(Process process not None, fd):
    """Return ``(fdflags, filetype, rights)`` of a descriptor.

    Raises:
        Refusal: the descriptor is not open.
    """
    cdef Desc* desc = _held(process, fd)
    result = desc.flags, filetype_of(desc), desc.rights
    release(desc)
    return result


def open_payload(Process process not None, bytes data not None):
    """Open a read-only descriptor that holds bytes, such as a payload of the bus.

    Raises:
        Refusal: none is free.
    """
    cdef uint32_t number = 0
    cdef Desc* desc = create(KIND_BYTES, TYPE_UNKNOWN, -1, RIGHTS_STREAM & ~bit(RIGHT_WRITE), 0)
    if desc == NULL:
        raise MemoryError
    Py_INCREF(data)
    desc.object = <PyObject*>data
    desc.data = <const uint8_t*>data
    desc.length = len(data)
    cdef int error = insert(process.wasi, desc, 0, &number)
    if error:
        raise Refusal(error)
    return number


def open_host(Process process not None, int host, *, bint socket=False):
    """Open a descriptor for a host one, which is taken over.

    Raises:
        Refusal: none is free; the host descriptor was closed.
    """
    cdef uint32_t number = 0
    cdef Desc* desc = create(KIND_SOCKET if socket else KIND_STREAM, TYPE_LATER, host,
                             RIGHTS_SOCKET if socket else RIGHTS_STREAM, 0)
    if desc == NULL:
        raise MemoryError
    os.set_blocking(host, False)
    cdef int error = insert(process.wasi, desc, 0, &number)
    if error:
        raise Refusal(error)
    return number


def host_descriptor(Process process not None, fd):
    """Return the host descriptor behind one, -1 where there is none that can be waited for.

    Raises:
        Refusal: the descriptor is not open.
    """
    cdef Desc* desc = _held(process, fd)
    host = desc.fd if desc.kind == KIND_STREAM or desc.kind == KIND_SOCKET else -1
    release(desc)
    return host


def close(Process process not None, fd):
    """Close a descriptor, if it is open."""
    remove(process.wasi, <uint32_t>(fd & 0xFFFFFFFF))


def is_directory(Process process not None, str path not None):
    """Say whether a guest path names a directory beneath those that the process was given.

    Args:
        process: whose directories.
        path: an absolute path without ``.`` and ``..``.

    Returns:
        0, or the errno: 44 there is none, 54 it is something else.
    """
    cdef uint32_t number
    cdef Desc* desc
    cdef int error = ENOENT_W, host = -1, longest = -1
    if path == "/":
        return SUCCESS
    for number in range(3, process.wasi.capacity):
        desc = acquire(process.wasi, number)
        if desc == NULL:
            continue
        if desc.preopen != NULL:
            name = desc.preopen[:desc.preopen_length].decode("utf-8", "surrogateescape").strip("/")
            name = "" if name == "." else name
            inner = path.strip("/")
            if (inner == name or not name or inner.startswith(name + "/")) and len(name) > longest:
                longest = len(name)
                rest = os.fsencode(inner[len(name):].strip("/") or ".")
                error = SUCCESS
                host = open_beneath(desc.fd, rest, O_PATH | O_DIRECTORY, 0, &error)
                if host >= 0:
                    c_close(host)
        release(desc)
    return error
