# cython: language_level=3
"""Everything that names a file by path: opening, links, directories, status and times."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t

from guesthouse.engine.core cimport Record, span, val_t
from guesthouse.interfaces.wasi.budget cimport claim_name, give_name, is_open, refund, shrank
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.files cimport filetype_of_mode, read_times, write_stat
from guesthouse.interfaces.wasi.memory cimport answer, put32
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.resolve cimport *
from guesthouse.interfaces.wasi.special cimport forget_names, refuse_special
from guesthouse.interfaces.wasi.table cimport *


cdef Desc* _directory(Record* record, uint32_t fd, int right, int changes, int* error) noexcept nogil:
    # The directory descriptor that a path starts from.
    cdef Desc* desc = demand(record, fd, 0, error)
    if desc == NULL:
        return NULL
    if desc.kind != KIND_DIRECTORY:
        error[0] = ENOTDIR_W
    elif not desc.rights & bit(right):
        error[0] = ENOTCAPABLE_W
    elif changes and desc.readonly:
        error[0] = EROFS_W
    else:
        return desc
    release(desc)
    return NULL


cdef inline int _result(int returned) noexcept nogil:
    return SUCCESS if returned >= 0 else translate(host_errno())


# --- opening -----------------------------------------------------------------------------------------

cdef int _host_flags(uint32_t oflags, uint32_t fdflags, uint64_t rights, int follow) noexcept nogil:
    cdef uint64_t reads = bit(RIGHT_READ) | bit(RIGHT_READDIR)
    cdef uint64_t writes = bit(RIGHT_WRITE) | bit(RIGHT_DATASYNC) | bit(RIGHT_ALLOCATE) | bit(RIGHT_SIZE)
    cdef int flags = O_NOCTTY | O_NONBLOCK
    if oflags & OPEN_DIRECTORY:
        flags |= O_DIRECTORY
        writes = bit(RIGHT_WRITE)       # to be answered with ISDIR; the others may be asked for in vain
    if rights & writes or oflags & OPEN_TRUNC:
        flags |= O_RDWR if rights & reads else O_WRONLY
    if oflags & OPEN_CREAT:
        flags |= O_CREAT
    if oflags & OPEN_EXCL:
        flags |= O_EXCL
    if oflags & OPEN_TRUNC:
        flags |= O_TRUNC
    if fdflags & FLAG_APPEND:
        flags |= O_APPEND
    if fdflags & FLAG_DSYNC:
        flags |= O_DSYNC
    if fdflags & (FLAG_SYNC | FLAG_RSYNC):
        flags |= O_SYNC
    return flags if follow else flags | O_NOFOLLOW


cdef int _adopt(Record* record, Desc* base, int fd, int cut, uint32_t fdflags, uint64_t rights,
                uint64_t inheriting, uint32_t* number) noexcept nogil:
    # Makes a descriptor of a freshly opened host one, cut to nothing where that was asked for: here, so that
    # the disk budget learns how long it was.
    cdef stat_t found
    cdef Desc* desc
    cdef int filetype, kind
    cdef int error
    if fstat(fd, &found) or (cut and found.st_mode & S_IFMT == S_IFREG and ftruncate(fd, 0)):
        error = translate(host_errno())
        c_close(fd)
        return error
    if cut and found.st_mode & S_IFMT == S_IFREG:
        shrank(task_of(record).wasi, fd, found.st_size, 0)
        found.st_size = 0
    filetype = filetype_of_mode(found.st_mode)
    if filetype == TYPE_DIRECTORY:
        kind = KIND_DIRECTORY
        rights &= RIGHTS_DIRECTORY
    elif filetype == TYPE_REGULAR:
        kind = KIND_FILE
        rights &= RIGHTS_FILE
        inheriting = 0
    else:
        c_close(fd)
        return ENOTCAPABLE_W
    desc = create(kind, filetype, fd, rights, inheriting)
    if desc == NULL:
        c_close(fd)
        return ENOMEM_W
    desc.flags = <uint16_t>fdflags
    desc.readonly = base.readonly
    desc.size = found.st_size
    desc.alone = kind == KIND_FILE
    return insert(task_of(record).wasi, desc, 0, number)


cdef int _open_or_create(Wasi* wasi, int base, Path* path, int flags, int* error) noexcept nogil:
    # As `open_beneath`; a file that is to be made is looked for first, and paid for if it is not there.
    cdef int fd
    if not flags & O_CREAT or wasi.disk_limit < 0:
        return open_beneath(base, path.text, flags, 0o666, error)
    if not flags & O_EXCL:
        fd = open_beneath(base, path.text, flags & ~O_CREAT, 0, error)
        if fd >= 0:
            return fd
        if error[0] != ENOENT_W:    # it is there, and making it fails in the kernel's own way
            return open_beneath(base, path.text, flags, 0o666, error)
        error[0] = SUCCESS
    error[0] = claim_name(wasi)
    if error[0]:
        return -1
    fd = open_beneath(base, path.text, flags, 0o666, error)
    if fd < 0:
        give_name(wasi)
    return fd


cdef int _open(Record* record, Desc* base, Path* path, int follow, uint32_t oflags, uint32_t fdflags, uint64_t rights,
               uint64_t inheriting, uint32_t* number) noexcept nogil:
    cdef uint64_t changes = bit(RIGHT_WRITE) | bit(RIGHT_ALLOCATE) | bit(RIGHT_SIZE) | bit(RIGHT_DATASYNC)
    cdef int fd, flags, error = SUCCESS, creating = oflags & OPEN_CREAT
    rights &= base.inheriting
    inheriting &= base.inheriting
    if oflags > 15 or fdflags > 31:
        return EINVAL_W
    if oflags & OPEN_CREAT and not base.rights & bit(RIGHT_CREATE_FILE):
        return ENOTCAPABLE_W
    if oflags & OPEN_TRUNC and not base.rights & bit(RIGHT_PATH_SIZE):
        return ENOTCAPABLE_W
    flags = _host_flags(oflags, fdflags, rights, follow)
    if base.readonly:
        if oflags & OPEN_TRUNC or (rights & bit(RIGHT_WRITE) and not oflags & OPEN_DIRECTORY):
            return EROFS_W
        # A program that asks for every right it can think of still reads; creating finds existing files only.
        rights &= ~(changes | bit(RIGHT_TIMES))
        if oflags & OPEN_CREAT:
            oflags &= ~<uint32_t>OPEN_CREAT
            if oflags & OPEN_EXCL:
                return EROFS_W
        flags = _host_flags(oflags, fdflags & ~<uint32_t>FLAG_APPEND, rights, follow)
    error = refuse_special(task_of(record).wasi, base, path, flags)
    if error:
        return error
    fd = _open_or_create(task_of(record).wasi, base.fd, path, flags & ~O_TRUNC, &error)
    if fd < 0 and error == EISDIR_W and flags & O_RDWR and not rights & bit(RIGHT_WRITE):
        # Rights of a file were asked for along with those of a directory, which cannot be opened for writing.
        flags &= ~(O_RDWR | O_WRONLY)
        if not flags & (O_CREAT | O_TRUNC):
            fd = open_beneath(base.fd, path.text, flags, 0, &error)
    if fd < 0:
        return EROFS_W if base.readonly and creating and error == ENOENT_W else error
    return _adopt(record, base, fd, flags & O_TRUNC, fdflags, rights, inheriting, number)


cdef int path_open(Record* record, val_t* args, void* env) noexcept nogil:
    cdef Path path
    cdef uint32_t number = 0, result = args[8].u32
    cdef int error = 0
    cdef Desc* base = _directory(record, args[0].u32, RIGHT_OPEN, 0, &error)
    if base == NULL:
        return answer(args, error)
    error = read_path(record, args[2].u32, args[3].u32, &path)
    if error == SUCCESS and span(record, result, 4) == NULL:
        error = EFAULT_W
    if error == SUCCESS:
        error = _open(record, base, &path, args[1].u32 & 1, args[4].u32, args[7].u32, args[5].u64, args[6].u64,
                      &number)
    release(base)
    if error == SUCCESS:
        error = put32(record, result, number)
    return answer(args, error)


# --- one path ----------------------------------------------------------------------------------------

cdef enum Deed:
    DEED_MKDIR
    DEED_RMDIR
    DEED_UNLINK


cdef int _unlink(Wasi* wasi, Place* place) noexcept nogil:
    # The bytes of a file go back to the disk budget with its last name, unless it lives on as a descriptor.
    cdef stat_t found
    cdef int error
    cdef int counts = wasi.disk_limit >= 0 and fstatat(place.fd, place.name, &found, AT_SYMLINK_NOFOLLOW) == 0
    error = _result(unlinkat(place.fd, place.name, 0))
    if error == SUCCESS:
        give_name(wasi)
    if error == SUCCESS and counts and found.st_mode & S_IFMT == S_IFREG and found.st_nlink == 1:
        if not is_open(wasi, found.st_dev, found.st_ino):
            refund(wasi, found.st_size)
    return error


cdef int _do(Record* record, val_t* args, int right, int deed) noexcept nogil:
    cdef Wasi* wasi
    cdef Path path
    cdef Place place
    cdef int error = 0
    cdef Desc* base = _directory(record, args[0].u32, right, 1, &error)
    if base == NULL:
        return error
    error = read_path(record, args[1].u32, args[2].u32, &path)
    if error == SUCCESS:
        error = find_place(base.fd, &path, &place)
    if error == SUCCESS:
        wasi = task_of(record).wasi
        if deed == DEED_MKDIR:
            error = claim_name(wasi)
            if error == SUCCESS:
                error = _result(mkdirat(place.fd, place.name, 0o777))
                if error:
                    give_name(wasi)
        elif deed == DEED_UNLINK:
            error = _unlink(wasi, &place)
        else:
            error = _result(unlinkat(place.fd, place.name, AT_REMOVEDIR))
            if error == SUCCESS:
                give_name(wasi)
        leave_place(&place)
    release(base)
    return error


cdef int path_create_directory(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _do(record, args, RIGHT_CREATE_DIRECTORY, DEED_MKDIR))


cdef int path_remove_directory(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _do(record, args, RIGHT_REMOVE_DIRECTORY, DEED_RMDIR))


cdef int path_unlink_file(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _do(record, args, RIGHT_UNLINK, DEED_UNLINK))


cdef int path_filestat_get(Record* record, val_t* args, void* env) noexcept nogil:
    cdef Path path
    cdef stat_t found
    cdef int error = 0, unstable = env != NULL
    cdef uint8_t* at
    cdef Desc* base = _directory(record, args[0].u32, RIGHT_PATH_STAT, 0, &error)
    if base == NULL:
        return answer(args, error)
    error = read_path(record, args[2].u32, args[3].u32, &path)
    if error == SUCCESS:
        error = status_beneath(base.fd, &path, args[1].u32 & 1, &found)
    release(base)
    if error == SUCCESS:
        at = span(record, args[4].u32, 56 if unstable else 64)
        if at == NULL:
            error = EFAULT_W
        else:
            write_stat(at, &found, filetype_of_mode(found.st_mode), unstable)
    return answer(args, error)


cdef int _stamp(int fd, timespec* times) noexcept nogil:
    # Sets the times of what an O_PATH descriptor stands for; kernels before 5.8 want the detour by /proc.
    cdef char[64] name
    if utimensat(fd, b"", times, AT_EMPTY_PATH) == 0:
        return SUCCESS
    if host_errno() != EINVAL and host_errno() != ENOENT:
        return translate(host_errno())
    snprintf(name, 64, b"/proc/self/fd/%d", fd)
    return _result(utimensat(-1, name, times, 0))


cdef int _set_times(Record* record, val_t* args) noexcept nogil:
    cdef Path path
    cdef Place place
    cdef timespec[2] times
    cdef int error = 0, fd, follow = args[1].u32 & 1
    cdef Desc* base = _directory(record, args[0].u32, RIGHT_PATH_TIMES, 1, &error)
    if base == NULL:
        return error
    error = read_path(record, args[2].u32, args[3].u32, &path)
    if error == SUCCESS:
        error = read_times(args[4].u64, args[5].u64, <uint16_t>args[6].u32, times) if args[6].u32 < 16 else EINVAL_W
    if error == SUCCESS:
        if follow or path.slash:
            fd = open_beneath(base.fd, path.text, O_PATH, 0, &error)
            if fd >= 0:
                error = _stamp(fd, times)
                c_close(fd)
        else:
            error = find_place(base.fd, &path, &place)
            if error == SUCCESS:
                error = _result(utimensat(place.fd, place.name, times, AT_SYMLINK_NOFOLLOW))
                leave_place(&place)
    release(base)
    return error


cdef int path_filestat_set_times(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _set_times(record, args))


cdef int _readlink(Record* record, val_t* args) noexcept nogil:
    cdef Path path
    cdef Place place
    cdef int error = 0
    cdef ssize_t length = 0
    cdef uint8_t* at = span(record, args[3].u32, args[4].u32)
    cdef stat_t found
    cdef Desc* base = _directory(record, args[0].u32, RIGHT_READLINK, 0, &error)
    if base == NULL:
        return error
    error = read_path(record, args[1].u32, args[2].u32, &path)
    if error == SUCCESS and (at == NULL or span(record, args[5].u32, 4) == NULL):
        error = EFAULT_W
    if error == SUCCESS and path.slash:
        error = status_beneath(base.fd, &path, 1, &found)     # such a name follows links: it is none itself
        if error == SUCCESS:
            error = EINVAL_W
    if error == SUCCESS:
        error = find_place(base.fd, &path, &place)
        if error == SUCCESS:
            if args[4].u32:
                length = readlinkat(place.fd, place.name, <char*>at, args[4].u32)
                error = _result(<int>length)
            leave_place(&place)
    release(base)
    return error if error else put32(record, args[5].u32, <uint32_t>length)


cdef int path_readlink(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _readlink(record, args))


cdef int _symlink(Record* record, val_t* args) noexcept nogil:
    cdef Path target, path
    cdef Place place
    cdef int error = 0
    cdef Desc* base = _directory(record, args[2].u32, RIGHT_SYMLINK, 1, &error)
    if base == NULL:
        return error
    error = read_path(record, args[0].u32, args[1].u32, &target)    # an absolute target is refused here
    if error == SUCCESS:
        error = read_path(record, args[3].u32, args[4].u32, &path)
    if error == SUCCESS:
        error = find_place(base.fd, &path, &place)
        if error == SUCCESS:
            error = claim_name(task_of(record).wasi)
            if error == SUCCESS:
                error = _result(symlinkat(target.text, place.fd, place.name))
                if error:
                    give_name(task_of(record).wasi)
            forget_names(task_of(record).wasi)
            leave_place(&place)
    release(base)
    return error


cdef int path_symlink(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _symlink(record, args))


# --- two paths ---------------------------------------------------------------------------------------

cdef int _refuse_link(Desc* base, Path* path) noexcept nogil:
    # Why a directory gets no second name, with what the kernel finds first.
    cdef Place place
    cdef stat_t found
    cdef int error = find_place(base.fd, path, &place)
    if error:
        return error
    if fstatat(place.fd, place.name, &found, AT_SYMLINK_NOFOLLOW) == 0:
        error = EEXIST_W
    else:
        error = ENOENT_W if path.slash else EPERM_W
    leave_place(&place)
    return error


cdef int _two(Record* record, uint32_t fd, uint32_t ptr, uint32_t length, uint32_t to_fd, uint32_t to_ptr,
              uint32_t to_length, int moving) noexcept nogil:
    cdef Path path, to_path
    cdef Place place, to_place
    cdef stat_t found
    cdef int error = 0
    cdef Desc* base = _directory(record, fd, RIGHT_RENAME_SOURCE if moving else RIGHT_LINK_SOURCE, 1, &error)
    cdef Desc* to_base
    if base == NULL:
        return error
    to_base = _directory(record, to_fd, RIGHT_RENAME_TARGET if moving else RIGHT_LINK_TARGET, 1, &error)
    if to_base == NULL:
        release(base)
        return error
    error = read_path(record, ptr, length, &path)
    if error == SUCCESS:
        error = read_path(record, to_ptr, to_length, &to_path)
    if error == SUCCESS and not moving and path.slash:
        error = status_beneath(base.fd, &path, 1, &found)
        if error == SUCCESS:
            error = _refuse_link(to_base, &to_path)
    if error == SUCCESS:
        error = find_place(base.fd, &path, &place)
        if error == SUCCESS:
            if not moving:
                error = _result(fstatat(place.fd, place.name, &found, AT_SYMLINK_NOFOLLOW))     # as the kernel
            if error == SUCCESS:
                error = find_place(to_base.fd, &to_path, &to_place)
            if error == SUCCESS:
                if moving:
                    error = _result(renameat(place.fd, place.name, to_place.fd, to_place.name))
                else:
                    error = claim_name(task_of(record).wasi)
                    if error == SUCCESS:
                        error = _result(linkat(place.fd, place.name, to_place.fd, to_place.name, 0))
                        if error:
                            give_name(task_of(record).wasi)
                forget_names(task_of(record).wasi)
                leave_place(&to_place)
            leave_place(&place)
    release(base)
    release(to_base)
    return error


cdef int path_rename(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _two(record, args[0].u32, args[1].u32, args[2].u32, args[3].u32, args[4].u32, args[5].u32, 1))


cdef int path_link(Record* record, val_t* args, void* env) noexcept nogil:
    if args[1].u32 & 1:
        return answer(args, EINVAL_W)       # a link is linked, never what it points to
    return answer(args, _two(record, args[0].u32, args[2].u32, args[3].u32, args[4].u32, args[5].u32, args[6].u32, 0))


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "path_open": <uintptr_t>&path_open,
    "path_create_directory": <uintptr_t>&path_create_directory,
    "path_remove_directory": <uintptr_t>&path_remove_directory,
    "path_unlink_file": <uintptr_t>&path_unlink_file,
    "path_filestat_get": <uintptr_t>&path_filestat_get,
    "path_filestat_set_times": <uintptr_t>&path_filestat_set_times,
    "path_readlink": <uintptr_t>&path_readlink,
    "path_symlink": <uintptr_t>&path_symlink,
    "path_rename": <uintptr_t>&path_rename,
    "path_link": <uintptr_t>&path_link,
}
