# cython: language_level=3
"""What can be asked of and done to an open descriptor, apart from reading and writing it."""

from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, memset

from guesthouse.engine.core cimport Record, span, val_t
from guesthouse.interfaces.wasi.budget cimport afford, charge, shrank
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.memory cimport answer, put64
from guesthouse.interfaces.wasi.positions cimport move
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *

cdef enum:
    KNOWN_FLAGS = 31

cdef int64_t LARGEST = 0x7fffffffffffffff


cdef int filetype_of_mode(uint32_t mode) noexcept nogil:
    cdef uint32_t kind = mode & S_IFMT
    if kind == S_IFREG:
        return TYPE_REGULAR
    if kind == S_IFDIR:
        return TYPE_DIRECTORY
    if kind == S_IFLNK:
        return TYPE_SYMLINK
    if kind == S_IFCHR:
        return TYPE_CHARACTER
    if kind == S_IFBLK:
        return TYPE_BLOCK
    if kind == S_IFSOCK or kind == S_IFIFO:
        return TYPE_STREAM          # wasi-libc has one number for sockets and FIFOs
    return TYPE_UNKNOWN


cdef int filetype_of(Desc* desc) noexcept nogil:
    cdef stat_t found
    cdef int kind = 0
    cdef unsigned length = sizeof(int)
    if desc.filetype == TYPE_LATER:
        desc.filetype = TYPE_UNKNOWN
        if fstat(desc.fd, &found) == 0:
            desc.filetype = <uint8_t>filetype_of_mode(found.st_mode)
            if found.st_mode & S_IFMT == S_IFSOCK and c_getsockopt(desc.fd, SOL_SOCKET, SO_TYPE, &kind, &length) == 0:
                desc.filetype = TYPE_DGRAM if kind == SOCK_DGRAM else TYPE_STREAM
            if desc.filetype == TYPE_REGULAR and desc.kind == KIND_STREAM:
                desc.kind = KIND_FILE       # a standard stream redirected to or from a file
                desc.rights = RIGHTS_FILE
    return desc.filetype


cdef void write_stat(uint8_t* at, const stat_t* found, int filetype, int unstable) noexcept nogil:
    memset(at, 0, 56 if unstable else 64)
    w64(at, found.st_dev)
    w64(at + 8, found.st_ino)
    at[16] = <uint8_t>filetype
    if unstable:
        w32(at + 20, <uint32_t>found.st_nlink)
        at += 24
    else:
        w64(at + 24, found.st_nlink)
        at += 32
    w64(at, <uint64_t>found.st_size)
    w64(at + 8, nanos(found.st_atim))
    w64(at + 16, nanos(found.st_mtim))
    w64(at + 24, nanos(found.st_ctim))


cdef int read_times(uint64_t accessed, uint64_t modified, uint16_t flags, timespec* times) noexcept nogil:
    if flags > 15 or flags & 3 == 3 or flags & 12 == 12:
        return EINVAL_W
    times[0] = spec_of(accessed) if flags & 1 else special_time(flags & 2)
    times[1] = spec_of(modified) if flags & 4 else special_time(flags & 8)
    return SUCCESS


cdef int fd_close(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, remove(task_of(record).wasi, args[0].u32))


cdef int fd_renumber(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, renumber(task_of(record).wasi, args[0].u32, args[1].u32))


cdef int _seek(Record* record, val_t* args, int whence, uint32_t result) noexcept nogil:
    # `whence`: of the host, negative for one that there is not.
    cdef int error = 0
    cdef int64_t offset = args[1].i64, position
    cdef int tells = offset == 0 and whence == SEEK_CUR
    cdef Desc* desc = demand(record, args[0].u32, 0, &error)
    if desc == NULL:
        return error
    filetype_of(desc)
    if desc.kind == KIND_DIRECTORY:
        error = EISDIR_W
    elif desc.kind == KIND_BYTES and desc.rights & bit(RIGHT_SEEK):
        position = offset
        if whence == SEEK_CUR:
            position += <int64_t>desc.position
        elif whence == SEEK_END:
            position += <int64_t>desc.length
        if position < 0 or whence < 0:
            error = EINVAL_W
        else:
            desc.position = <uint64_t>position
            error = put64(record, result, desc.position)
    elif desc.kind != KIND_FILE:
        error = ESPIPE_W
    elif not desc.rights & (bit(RIGHT_SEEK) | (bit(RIGHT_TELL) if tells else 0)):
        error = ENOTCAPABLE_W
    elif whence < 0:
        error = EINVAL_W
    elif span(record, result, 8) == NULL:
        error = EFAULT_W
    else:
        position = move(record, desc, offset, whence)
        error = translate(host_errno()) if position < 0 else put64(record, result, <uint64_t>position)
    release(desc)
    return error


cdef int fd_seek(Record* record, val_t* args, void* env) noexcept nogil:
    # Preview 1 counts SET, CUR, END; snapshot 0 CUR, END, SET.
    cdef uint32_t whence = args[2].u32
    cdef int host = -1
    if whence <= 2:
        if env != NULL:
            whence = (whence + 1) % 3
        host = SEEK_SET if whence == 0 else SEEK_CUR if whence == 1 else SEEK_END
    return answer(args, _seek(record, args, host, args[3].u32))


cdef int fd_tell(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint32_t result = args[1].u32
    args[1].i64 = 0
    return answer(args, _seek(record, args, SEEK_CUR, result))


cdef int _fdstat(Record* record, uint32_t fd, uint32_t result) noexcept nogil:
    cdef int error = 0
    cdef uint8_t* at = span(record, result, 24)
    cdef Desc* desc = demand(record, fd, 0, &error)
    if desc == NULL:
        return error
    if at == NULL:
        error = EFAULT_W
    else:
        memset(at, 0, 24)
        at[0] = <uint8_t>filetype_of(desc)
        w16(at + 2, desc.flags)
        w64(at + 8, desc.rights)
        w64(at + 16, desc.inheriting)
    release(desc)
    return error


cdef int fd_fdstat_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _fdstat(record, args[0].u32, args[1].u32))


cdef int _set_flags(Record* record, uint32_t fd, uint32_t flags) noexcept nogil:
    # The host's own flag is touched for append only: blocking is simulated (see streams), so that a
    # descriptor that the host shares with others never changes under them.
    cdef int error = 0
    cdef Desc* desc = demand(record, fd, bit(RIGHT_SET_FLAGS), &error)
    if desc == NULL:
        return error
    filetype_of(desc)
    if flags > KNOWN_FLAGS:
        error = EINVAL_W
    elif (flags ^ desc.flags) & (FLAG_DSYNC | FLAG_RSYNC | FLAG_SYNC) and desc.kind == KIND_FILE:
        error = ENOTSUP_W           # the kernel cannot change these on an open file
    elif (flags ^ desc.flags) & FLAG_APPEND and desc.kind == KIND_FILE and (
            desc.borrowed or c_fcntl(desc.fd, F_SETFL, (O_APPEND if flags & FLAG_APPEND else 0) | O_NONBLOCK) < 0):
        error = ENOTSUP_W if desc.borrowed else translate(host_errno())
    else:
        desc.flags = <uint16_t>flags
    release(desc)
    return error


cdef int fd_fdstat_set_flags(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _set_flags(record, args[0].u32, args[1].u32))


cdef int _set_rights(Record* record, uint32_t fd, uint64_t rights, uint64_t inheriting) noexcept nogil:
    cdef int error = 0
    cdef Desc* desc = demand(record, fd, 0, &error)
    if desc == NULL:
        return error
    if rights & ~desc.rights or inheriting & ~desc.inheriting:
        error = ENOTCAPABLE_W
    else:
        desc.rights = rights
        desc.inheriting = inheriting
    release(desc)
    return error


cdef int fd_fdstat_set_rights(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _set_rights(record, args[0].u32, args[1].u64, args[2].u64))


cdef int _filestat(Record* record, uint32_t fd, uint32_t result, int unstable) noexcept nogil:
    cdef int error = 0, filetype
    cdef stat_t found
    cdef uint8_t* at = span(record, result, 56 if unstable else 64)
    cdef Desc* desc = demand(record, fd, bit(RIGHT_STAT), &error)
    if desc == NULL:
        return error
    filetype = filetype_of(desc)
    if at == NULL:
        error = EFAULT_W
    else:
        memset(&found, 0, sizeof(found))
        if desc.fd >= 0 and fstat(desc.fd, &found):
            error = translate(host_errno())
        else:
            if desc.kind == KIND_BYTES:
                found.st_size = <int64_t>desc.length
            write_stat(at, &found, filetype, unstable)
    release(desc)
    return error


cdef int fd_filestat_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _filestat(record, args[0].u32, args[1].u32, env != NULL))


# What `_change` does to a file.
cdef enum Change:
    CHANGE_SIZE
    CHANGE_ALLOCATE
    CHANGE_TIMES
    CHANGE_ADVISE
    CHANGE_SYNC
    CHANGE_DATASYNC


cdef int _apply(Desc* desc, int change, val_t* args) noexcept nogil:
    # 0, or a host errno.
    cdef timespec[2] times
    cdef int result
    if change == CHANGE_SIZE:
        result = ftruncate(desc.fd, args[1].i64)
    elif change == CHANGE_ALLOCATE:
        return posix_fallocate(desc.fd, args[1].i64, args[2].i64)
    elif change == CHANGE_TIMES:
        read_times(args[1].u64, args[2].u64, <uint16_t>args[3].u32, times)
        result = futimens(desc.fd, times)
    elif change == CHANGE_ADVISE:
        return posix_fadvise(desc.fd, args[1].i64, args[2].i64, args[3].i32)
    elif change == CHANGE_DATASYNC:
        result = fdatasync(desc.fd)
    else:
        result = fsync(desc.fd)
    return 0 if result == 0 else host_errno()


cdef int _check(Desc* desc, int change, val_t* args) noexcept nogil:
    # An errno for what must not even be tried.
    cdef timespec[2] times
    if desc.kind == KIND_DIRECTORY and change != CHANGE_TIMES and change != CHANGE_SYNC and change != CHANGE_DATASYNC:
        return EISDIR_W if change == CHANGE_SIZE or change == CHANGE_ALLOCATE else EBADF_W
    if desc.fd < 0 or (desc.kind != KIND_FILE and desc.kind != KIND_DIRECTORY):
        return ESPIPE_W if change == CHANGE_ADVISE or change == CHANGE_ALLOCATE else EINVAL_W
    if desc.readonly and change <= CHANGE_TIMES:
        return EROFS_W
    if change == CHANGE_SIZE and args[1].i64 < 0:
        return EINVAL_W
    if change == CHANGE_ALLOCATE and (args[1].i64 < 0 or args[2].i64 <= 0):
        return EINVAL_W
    if change == CHANGE_ADVISE and (args[3].u32 > 5 or args[1].i64 < 0 or args[2].i64 < 0):
        return EINVAL_W
    if change == CHANGE_TIMES:
        return read_times(args[1].u64, args[2].u64, <uint16_t>args[3].u32, times) if args[3].u32 < 16 else EINVAL_W
    return SUCCESS


cdef int _resize(Wasi* wasi, Desc* desc, int change, val_t* args) noexcept nogil:
    # Cutting or extending a file, within the disk budget: an errno.
    cdef int64_t end = args[1].i64, claimed = 0
    cdef int error
    if change == CHANGE_ALLOCATE:
        if args[2].i64 > LARGEST - end:
            return EFBIG_W
        end += args[2].i64
    error = afford(wasi, desc, end, &claimed)
    if error:
        return error
    error = _apply(desc, change, args)
    while error == EINTR:
        error = _apply(desc, change, args)
    if not error and change == CHANGE_SIZE and end < desc.size:
        shrank(wasi, desc.fd, desc.size, end)
    else:
        charge(wasi, desc, 0 if error else end, claimed)
    if error:
        return translate(error)
    return SUCCESS


cdef int _change(Record* record, val_t* args, int right, int change) noexcept nogil:
    cdef int error = 0
    cdef Desc* desc = demand(record, args[0].u32, 0, &error)
    if desc == NULL:
        return error
    filetype_of(desc)
    error = _check(desc, change, args)
    if error == SUCCESS and not desc.rights & bit(right):
        error = ENOTCAPABLE_W
    if error == SUCCESS and (change == CHANGE_SIZE or change == CHANGE_ALLOCATE):
        error = _resize(task_of(record).wasi, desc, change, args)
    elif error == SUCCESS:
        error = _apply(desc, change, args)
        while error == EINTR:
            error = _apply(desc, change, args)
        if error:
            error = translate(error)
    release(desc)
    return error


cdef int fd_filestat_set_size(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_SIZE, CHANGE_SIZE))


cdef int fd_allocate(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_ALLOCATE, CHANGE_ALLOCATE))


cdef int fd_filestat_set_times(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_TIMES, CHANGE_TIMES))


cdef int fd_advise(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_ADVISE, CHANGE_ADVISE))


cdef int fd_sync(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_SYNC, CHANGE_SYNC))


cdef int fd_datasync(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _change(record, args, RIGHT_DATASYNC, CHANGE_DATASYNC))


cdef int _prestat(Record* record, uint32_t fd, uint32_t result, uint32_t length, int name) noexcept nogil:
    cdef int error = 0
    cdef uint8_t* at
    cdef Desc* desc = demand(record, fd, 0, &error)
    if desc == NULL:
        return error
    if desc.preopen == NULL:
        error = EBADF_W
    elif name:
        at = span(record, result, desc.preopen_length)
        if length < desc.preopen_length:
            error = ENAMETOOLONG_W
        elif at == NULL:
            error = EFAULT_W
        else:
            memcpy(at, desc.preopen, desc.preopen_length)
    else:
        at = span(record, result, 8)
        if at == NULL:
            error = EFAULT_W
        else:
            w32(at, 0)
            w32(at + 4, desc.preopen_length)
    release(desc)
    return error


cdef int fd_prestat_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _prestat(record, args[0].u32, args[1].u32, 0, 0))


cdef int fd_prestat_dir_name(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _prestat(record, args[0].u32, args[1].u32, args[2].u32, 1))


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "fd_close": <uintptr_t>&fd_close,
    "fd_renumber": <uintptr_t>&fd_renumber,
    "fd_seek": <uintptr_t>&fd_seek,
    "fd_tell": <uintptr_t>&fd_tell,
    "fd_fdstat_get": <uintptr_t>&fd_fdstat_get,
    "fd_fdstat_set_flags": <uintptr_t>&fd_fdstat_set_flags,
    "fd_fdstat_set_rights": <uintptr_t>&fd_fdstat_set_rights,
    "fd_filestat_get": <uintptr_t>&fd_filestat_get,
    "fd_filestat_set_size": <uintptr_t>&fd_filestat_set_size,
    "fd_allocate": <uintptr_t>&fd_allocate,
    "fd_filestat_set_times": <uintptr_t>&fd_filestat_set_times,
    "fd_advise": <uintptr_t>&fd_advise,
    "fd_sync": <uintptr_t>&fd_sync,
    "fd_datasync": <uintptr_t>&fd_datasync,
    "fd_prestat_get": <uintptr_t>&fd_prestat_get,
    "fd_prestat_dir_name": <uintptr_t>&fd_prestat_dir_name,
}
