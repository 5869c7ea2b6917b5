# cython: language_level=3
"""Numbers of WASI preview 1 as the native functions use them (spec wasix 3.3 and 3.4)."""

from libc.stdint cimport uint64_t

cdef enum:
    STOP = -1               # not an errno: the call has ended, return TRAPPED
    SUCCESS = 0
    E2BIG = 1
    EACCES_W = 2
    EAGAIN_W = 6
    EBADF_W = 8
    EDQUOT_W = 19
    EEXIST_W = 20
    EFAULT_W = 21
    EFBIG_W = 22
    EILSEQ_W = 25
    EINTR_W = 27
    EINVAL_W = 28
    EIO_W = 29
    EISDIR_W = 31
    ELOOP_W = 32
    EMFILE_W = 33
    ENAMETOOLONG_W = 37
    ENOENT_W = 44
    ENOMEM_W = 48
    ENOSYS_W = 52
    ENOTCONN_W = 53
    ENOTDIR_W = 54
    ENOTSOCK_W = 57
    ENOTSUP_W = 58
    EOVERFLOW_W = 61
    EPERM_W = 63
    EPIPE_W = 64
    ERANGE_W = 68
    EROFS_W = 69
    ESPIPE_W = 70
    ENOTCAPABLE_W = 76

cdef enum:
    TYPE_UNKNOWN = 0
    TYPE_BLOCK = 1
    TYPE_CHARACTER = 2
    TYPE_DIRECTORY = 3
    TYPE_REGULAR = 4
    TYPE_DGRAM = 5
    TYPE_STREAM = 6
    TYPE_SYMLINK = 7
    TYPE_LATER = 255        # look when asked

cdef enum:
    FLAG_APPEND = 1
    FLAG_DSYNC = 2
    FLAG_NONBLOCK = 4
    FLAG_RSYNC = 8
    FLAG_SYNC = 16

cdef enum:
    OPEN_CREAT = 1
    OPEN_DIRECTORY = 2
    OPEN_EXCL = 4
    OPEN_TRUNC = 8

# Rights, one bit each.
cdef extern from *:
    """
    enum { GH_DATASYNC = 0, GH_READ, GH_SEEK, GH_SETFLAGS, GH_SYNC, GH_TELL, GH_WRITE, GH_ADVISE, GH_ALLOCATE };
    #define GH_BIT(n) (1ULL << (n))
    #define GH_RIGHTS_FILE (GH_BIT(0)|GH_BIT(1)|GH_BIT(2)|GH_BIT(3)|GH_BIT(4)|GH_BIT(5)|GH_BIT(6)|GH_BIT(7)\
        |GH_BIT(8)|GH_BIT(21)|GH_BIT(22)|GH_BIT(23)|GH_BIT(27))
    #define GH_RIGHTS_STREAM (GH_BIT(1)|GH_BIT(3)|GH_BIT(6)|GH_BIT(21)|GH_BIT(27))
    #define GH_RIGHTS_DIRECTORY (GH_BIT(0)|GH_BIT(3)|GH_BIT(4)|GH_BIT(7)|(0x7ffULL << 9)|GH_BIT(20)|GH_BIT(21)\
        |GH_BIT(23)|GH_BIT(24)|GH_BIT(25)|GH_BIT(26))
    #define GH_RIGHTS_SOCKET (GH_RIGHTS_STREAM|(0x7ffULL << 28))
    """
    uint64_t bit "GH_BIT"(int) nogil
    const uint64_t RIGHTS_FILE "GH_RIGHTS_FILE"
    const uint64_t RIGHTS_STREAM "GH_RIGHTS_STREAM"
    const uint64_t RIGHTS_DIRECTORY "GH_RIGHTS_DIRECTORY"
    const uint64_t RIGHTS_SOCKET "GH_RIGHTS_SOCKET"

cdef enum:
    RIGHT_DATASYNC = 0
    RIGHT_READ = 1
    RIGHT_SEEK = 2
    RIGHT_SET_FLAGS = 3
    RIGHT_SYNC = 4
    RIGHT_TELL = 5
    RIGHT_WRITE = 6
    RIGHT_ADVISE = 7
    RIGHT_ALLOCATE = 8
    RIGHT_CREATE_DIRECTORY = 9
    RIGHT_CREATE_FILE = 10
    RIGHT_LINK_SOURCE = 11
    RIGHT_LINK_TARGET = 12
    RIGHT_OPEN = 13
    RIGHT_READDIR = 14
    RIGHT_READLINK = 15
    RIGHT_RENAME_SOURCE = 16
    RIGHT_RENAME_TARGET = 17
    RIGHT_PATH_STAT = 18
    RIGHT_PATH_SIZE = 19
    RIGHT_PATH_TIMES = 20
    RIGHT_STAT = 21
    RIGHT_SIZE = 22
    RIGHT_TIMES = 23
    RIGHT_SYMLINK = 24
    RIGHT_REMOVE_DIRECTORY = 25
    RIGHT_UNLINK = 26
    RIGHT_POLL = 27
    RIGHT_SHUTDOWN = 28
    RIGHT_ACCEPT = 29
