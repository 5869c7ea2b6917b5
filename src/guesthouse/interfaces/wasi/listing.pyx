# cython: language_level=3
"""fd_readdir: directory streams whose cookies stay good.

A cookie is the kernel's own position plus 3, so that it survives everything that the file system lets it
survive and nothing has to be remembered; 0 is the start, 1 and 2 follow the made-up "." and "..".
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset, strlen

from guesthouse.engine.core cimport Record, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.memory cimport answer, put32
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *

cdef enum:
    ENTRY = 24              # size of a dirent before its name
    FIRST_REAL = 2          # cookie of the first entry that the kernel gave


cdef int _begin(Desc* desc) noexcept nogil:
    cdef Listing* listing
    if desc.listing != NULL:
        return SUCCESS
    listing = <Listing*>malloc(sizeof(Listing))
    if listing == NULL:
        return ENOMEM_W
    listing.start = listing.end = 0
    listing.cookie = FIRST_REAL
    # An own descriptor: the one of a preopened directory is shared and cannot be read.
    listing.fd = c_openat(desc.fd, b".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    desc.listing = listing
    if listing.fd < 0:
        return translate(host_errno())
    return SUCCESS


cdef int _fill(Listing* listing) noexcept nogil:
    # More entries from the kernel; none left leaves the listing empty.
    cdef long count
    if listing.start < listing.end:
        return SUCCESS
    count = getdents(listing.fd, listing.data, sizeof(listing.data))
    if count < 0:
        return translate(host_errno())
    listing.start = 0
    listing.end = <uint32_t>count
    return SUCCESS


cdef int _seek(Listing* listing, uint64_t cookie) noexcept nogil:
    if cookie == listing.cookie and cookie != FIRST_REAL:
        return SUCCESS
    if lseek(listing.fd, <int64_t>(cookie - 3) if cookie > FIRST_REAL else 0, SEEK_SET) < 0:
        return translate(host_errno())
    listing.start = listing.end = 0
    listing.cookie = cookie
    return SUCCESS


cdef uint32_t _put(uint8_t* at, uint32_t room, uint64_t next_cookie, uint64_t ino, int filetype, const char* name,
                   uint32_t length) noexcept nogil:
    # Writes what fits of one entry; the number of bytes used.
    cdef uint8_t[ENTRY] head
    memset(head, 0, ENTRY)
    w64(head, next_cookie)
    w64(head + 8, ino)
    w32(head + 16, length)
    head[20] = <uint8_t>filetype
    memcpy(at, head, ENTRY if room >= ENTRY else room)
    if room <= ENTRY:
        return room
    room -= ENTRY
    memcpy(at + ENTRY, name, length if room >= length else room)
    return ENTRY + (length if room >= length else room)


cdef int _filetype(uint8_t kind) noexcept nogil:
    # DT_ numbers of the kernel.
    if kind == 8:
        return TYPE_REGULAR
    if kind == 4:
        return TYPE_DIRECTORY
    if kind == 10:
        return TYPE_SYMLINK
    if kind == 2:
        return TYPE_CHARACTER
    if kind == 6:
        return TYPE_BLOCK
    if kind == 1 or kind == 12:
        return TYPE_STREAM
    return TYPE_UNKNOWN


cdef int _list(Desc* desc, uint8_t* at, uint32_t room, uint64_t cookie, uint32_t* used) noexcept nogil:
    cdef Listing* listing
    cdef stat_t own
    cdef uint8_t* entry
    cdef const char* name
    cdef uint32_t length
    cdef uint64_t following
    cdef int error
    used[0] = 0
    if cookie < FIRST_REAL:
        if fstat(desc.fd, &own):
            return translate(host_errno())
        while cookie < FIRST_REAL and used[0] < room:
            used[0] += _put(at + used[0], room - used[0], cookie + 1, own.st_ino, TYPE_DIRECTORY, b"..",
                            1 if cookie == 0 else 2)
            cookie += 1
        if used[0] == room:
            return SUCCESS
    error = _begin(desc)
    if error == SUCCESS:
        error = _seek(desc.listing, cookie)
    listing = desc.listing
    while error == SUCCESS and used[0] < room:
        error = _fill(listing)
        if error or listing.start == listing.end:
            break
        # struct linux_dirent64: ino, off (the next position), reclen, type, name
        entry = listing.data + listing.start
        name = <const char*>entry + 19
        length = <uint32_t>strlen(name)
        following = r64(entry + 8) + 3
        if not (name[0] == c"." and (length == 1 or (length == 2 and name[1] == c"."))):
            if ENTRY + length > room - used[0]:
                # Cut off: the guest comes back with the cookie of this very entry.
                used[0] += _put(at + used[0], room - used[0], following, r64(entry), _filetype(entry[18]), name,
                                length)
                break
            used[0] += _put(at + used[0], room - used[0], following, r64(entry), _filetype(entry[18]), name, length)
        listing.start += r16(entry + 16)
        listing.cookie = following
    return error


cdef int _readdir(Record* record, val_t* args) noexcept nogil:
    cdef int error = 0
    cdef uint32_t used = 0, room = args[2].u32, result = args[4].u32
    cdef uint8_t* at = span(record, args[1].u32, room)
    cdef Wasi* wasi
    cdef Desc* desc = demand(record, args[0].u32, 0, &error)
    if desc == NULL:
        return error
    if desc.kind != KIND_DIRECTORY:
        error = ENOTDIR_W
    elif not desc.rights & bit(RIGHT_READDIR):
        error = ENOTCAPABLE_W
    elif at == NULL or span(record, result, 4) == NULL:
        error = EFAULT_W
    else:
        wasi = task_of(record).wasi
        pthread_mutex_lock(&wasi.lock)      # the buffered entries belong to the descriptor, not to the thread
        error = _list(desc, at, room, args[3].u64, &used)
        pthread_mutex_unlock(&wasi.lock)
    release(desc)
    return error if error else put32(record, result, used)


cdef int fd_readdir(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _readdir(record, args))


#: Addresses of the native functions, by name.
FUNCTIONS = {"fd_readdir": <uintptr_t>&fd_readdir}
