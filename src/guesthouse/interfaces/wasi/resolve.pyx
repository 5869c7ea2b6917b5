# cython: language_level=3
"""Path resolution that cannot leave a directory.

The kernel does it where it has ``openat2`` (RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS); elsewhere the path is
walked one component at a time, each opened by descriptor without following links, so that a directory or link
that is swapped meanwhile changes what is found but never lets anything outside be reached.
"""

from libc.string cimport memchr, memcpy, memmove, strchr, strlen

from guesthouse.engine.core cimport span
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.errnos cimport translate

cdef enum:
    RESOLVE_BENEATH = 0x08
    RESOLVE_NO_MAGICLINKS = 0x02
    MOST_LINKS = 40
    MOST_DEPTH = 256

cdef int walking = 0        # the kernel lacks openat2, or a test wants the walk


def use_walk(bint on):
    """Resolve paths by walking them even where the kernel has openat2 (for tests)."""
    global walking
    walking = on


cdef int is_utf8(const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint32_t index = 0, need, point
    cdef uint8_t first
    while index < length:
        first = data[index]
        index += 1
        if first < 0x80:
            continue
        if first < 0xc2 or first > 0xf4:
            return 0
        need = 1 if first < 0xe0 else 2 if first < 0xf0 else 3
        if index + need > length:
            return 0
        point = first & (0x3f >> need)
        while need:
            if data[index] & 0xc0 != 0x80:
                return 0
            point = point << 6 | (data[index] & 0x3f)
            index += 1
            need -= 1
        if 0xd800 <= point <= 0xdfff or point > 0x10ffff or (first >= 0xf0 and point < 0x10000):
            return 0
        if 0xe0 <= first < 0xf0 and point < 0x800:
            return 0
    return 1


cdef int read_path(Record* record, uint32_t ptr, uint32_t length, Path* path) noexcept nogil:
    cdef uint8_t* at = span(record, ptr, length)
    cdef char* last
    if at == NULL:
        return EFAULT_W
    if length == 0:
        return ENOENT_W
    if length > 4095:
        return ENAMETOOLONG_W
    memcpy(path.text, at, length)
    path.text[length] = 0
    path.length = length
    if memchr(path.text, 0, length) != NULL or not is_utf8(<uint8_t*>path.text, length):
        return EINVAL_W
    if path.text[0] == c"/":
        return ENOTCAPABLE_W
    path.slash = path.text[length - 1] == c"/"
    last = strchr(path.text, c"/")
    path.single = last == NULL and not (
        path.text[0] == c"." and (length == 1 or (length == 2 and path.text[1] == c".")))
    return SUCCESS


cdef int open_beneath(int dirfd, const char* path, int flags, int mode, int* error) noexcept nogil:
    global walking
    cdef int fd = -1, code = 0, tries = 0
    if not walking:
        while tries < 64:
            fd = openat2(dirfd, path, flags | O_CLOEXEC, mode if flags & O_CREAT else 0,
                         RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
            if fd >= 0:
                return fd
            code = host_errno()
            if code != EAGAIN and code != EINTR:    # EAGAIN: something was renamed during the walk
                break
            tries += 1
        if code != ENOSYS:
            error[0] = ENOTCAPABLE_W if code == EXDEV else translate(code)
            return -1
        walking = 1
    fd = _walk(dirfd, path, flags | O_CLOEXEC, mode)
    if fd < 0:
        code = host_errno()
        error[0] = ENOTCAPABLE_W if code == EXDEV else translate(code)
    return fd


cdef int _open_itself(int fd, int flags, int* code) noexcept nogil:
    # The directory that a walk has come to, with the errors of the kernel.
    cdef int found = -1
    if flags & O_CREAT:
        code[0] = EEXIST if flags & O_EXCL else EISDIR
    else:
        found = c_openat(fd, b".", flags)
        code[0] = 0 if found >= 0 else host_errno()
    return found


cdef int _walk(int dirfd, const char* path, int flags, int mode) noexcept nogil:
    # Keeps one descriptor per level below `dirfd`, so that ".." means the level that was really passed.
    cdef int[MOST_DEPTH] levels
    cdef int depth = 0, links = 0, here, found = -1, code = 0, final
    cdef char[2 * PATH_SPACE] rest
    cdef char[PATH_SPACE] name
    cdef char[PATH_SPACE] target
    cdef char* slash
    cdef size_t length
    cdef ssize_t size
    cdef int trailing
    length = strlen(path)
    if length >= PATH_SPACE:
        set_host_errno(ENAMETOOLONG)
        return -1
    memcpy(rest, path, length + 1)
    while found < 0 and code == 0:
        if rest[0] == c"/":         # only a link can bring an absolute path in
            code = EXDEV
            break
        here = levels[depth - 1] if depth else dirfd
        slash = strchr(rest, c"/")
        length = <size_t>(slash - rest) if slash != NULL else strlen(rest)
        memcpy(name, rest, length)
        name[length] = 0
        trailing = slash != NULL
        if trailing:
            while slash[0] == c"/":
                slash += 1
            memmove(rest, slash, strlen(slash) + 1)
        else:
            rest[0] = 0
        final = rest[0] == 0
        if length == 0:
            code = ENOENT
        elif length == 2 and name[0] == c"." and name[1] == c".":
            if depth == 0:
                code = EXDEV
            else:
                depth -= 1
                c_close(levels[depth])
                if final:
                    here = levels[depth - 1] if depth else dirfd
                    found = _open_itself(here, flags, &code)
        elif final and not trailing and length == 1 and name[0] == c".":
            found = _open_itself(here, flags, &code)
        elif final and trailing and flags & O_CREAT:
            code = EISDIR
        elif length == 1 and name[0] == c".":
            if final:
                rest[0] = c"."
                rest[1] = 0
        else:
            size = readlinkat(here, name, target, PATH_SPACE - 1)
            if size >= 0 and final and flags & O_CREAT and flags & O_EXCL:
                code = EEXIST
            elif size >= 0 and final and not trailing and flags & O_NOFOLLOW:
                if flags & O_PATH and not flags & O_DIRECTORY:
                    found = c_openat(here, name, flags, mode)
                    code = 0 if found >= 0 else host_errno()
                else:
                    code = ENOTDIR if flags & O_DIRECTORY else ELOOP
            elif size >= 0:
                links += 1
                target[size] = 0
                length = strlen(rest)
                if links > MOST_LINKS:
                    code = ELOOP
                elif size == 0 or <size_t>size + length + 2 >= PATH_SPACE:
                    code = ENAMETOOLONG
                elif target[0] == c"/":
                    code = EXDEV
                else:
                    if final and not trailing:
                        memcpy(rest, target, size + 1)
                    else:
                        memmove(rest + size + 1, rest, length + 1)
                        memcpy(rest, target, size)
                        rest[size] = c"/"
            elif final and not trailing:
                found = c_openat(here, name, flags | O_NOFOLLOW, mode)
                code = 0 if found >= 0 else host_errno()
            else:
                if depth == MOST_DEPTH:
                    code = ENAMETOOLONG
                else:
                    levels[depth] = c_openat(here, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                    if levels[depth] < 0:
                        code = host_errno()
                    else:
                        depth += 1
                        if final:
                            rest[0] = c"."
                            rest[1] = 0
    while depth:
        depth -= 1
        c_close(levels[depth])
    if found < 0:
        set_host_errno(code)
    return found


cdef int find_place(int dirfd, Path* path, Place* place) noexcept nogil:
    # A path that ends in "." or ".." is the entry "." of the directory it names.
    cdef char* text = path.text
    cdef uint32_t end = path.length, start
    cdef int error = SUCCESS
    place.fd = dirfd
    place.owned = 0
    place.name = text
    if path.single:
        return SUCCESS
    while end > 0 and text[end - 1] == c"/":
        end -= 1
    start = end
    while start > 0 and text[start - 1] != c"/":
        start -= 1
    if text[start] == c"." and (end - start == 1 or (end - start == 2 and text[start + 1] == c".")):
        place.fd = open_beneath(dirfd, text, O_PATH | O_DIRECTORY, 0, &error)
        place.name = b"."
    elif start == 0:
        return SUCCESS          # one component with slashes behind it
    else:
        text[start - 1] = 0     # "a//b" leaves "a/": the kernel takes that as "a"
        place.fd = open_beneath(dirfd, text, O_PATH | O_DIRECTORY, 0, &error)
        place.name = text + start
    if place.fd < 0:
        return error
    place.owned = 1
    return SUCCESS


cdef void leave_place(Place* place) noexcept nogil:
    if place.owned:
        c_close(place.fd)
        place.owned = 0


cdef int status_beneath(int dirfd, Path* path, int follow, stat_t* found) noexcept nogil:
    cdef int fd, error = SUCCESS
    if path.single:
        if fstatat(dirfd, path.text, found, AT_SYMLINK_NOFOLLOW):
            return translate(host_errno())
        if not follow or found.st_mode & S_IFMT != S_IFLNK:
            return SUCCESS
    fd = open_beneath(dirfd, path.text, O_PATH if follow or path.slash else O_PATH | O_NOFOLLOW, 0, &error)
    if fd < 0:
        return error
    if fstat(fd, found):
        error = translate(host_errno())
    c_close(fd)
    return error
