# cython: language_level=3
"""The descriptor table and what one WASI process keeps, as C structures that need no GIL.

A *process* is one running program; each of its threads has an instance of its own, and all of them share one
`Wasi`.  The `Task` of a thread is found in the slot of its instance record.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from guesthouse.engine.core cimport Record
from guesthouse.interfaces.wasi.posix cimport iovec, pthread_mutex_t

cdef enum:
    NAME_BYTES = 512        # what a file without contents counts as

cdef enum Kind:
    KIND_FILE = 1       # regular file of the host
    KIND_DIRECTORY = 2
    KIND_STREAM = 3     # host descriptor that may block: pipe, terminal, device
    KIND_SOCKET = 4     # host socket
    KIND_BYTES = 5      # fixed bytes
    KIND_CAPTURE = 6    # collects what is written, up to a limit
    KIND_CALLABLE = 7   # hands what is written to a Python callable
    KIND_NULL = 8       # nothing to read, takes everything
    KIND_CUSTOM = 9     # served by `ops`

# Collected output.
ctypedef struct Buffer:
    uint8_t* data
    uint64_t length
    uint64_t capacity
    uint64_t limit

# An open directory stream: entries the kernel gave and the guest has not seen.
ctypedef struct Listing:
    int fd
    uint64_t cookie     # of the next entry in `data`
    uint32_t start
    uint32_t end
    uint8_t data[32768]

cdef enum:
    KNOWN_NAMES = 64
    KNOWN_LENGTH = 128

# Names beneath a directory that were found to be files or directories; see `special`.
ctypedef struct Known:
    uint32_t moves      # of the process when they were
    char names[KNOWN_NAMES][KNOWN_LENGTH]

# What a custom descriptor does. All of it runs without the GIL and answers an errno or STOP.
ctypedef struct Ops:
    # `flags` are riflags; `cut` is set to 1 when a datagram was
    int (*receive)(Record* record, Desc* desc, iovec* parts, int n, uint32_t flags, uint64_t* done,
                   uint32_t* cut) noexcept nogil
    int (*send)(Record* record, Desc* desc, iovec* parts, int n, uint32_t flags, uint64_t* done) noexcept nogil
    int (*shutdown)(Record* record, Desc* desc, int how) noexcept nogil
    int (*ready)(Record* record, Desc* desc, int writing) noexcept nogil      # 1 ready, 0 not, STOP
    void (*drop)(Desc* desc) noexcept nogil

# An open descriptor, counted; several table entries may share one (fd_dup).
ctypedef struct Desc:
    int refs
    uint8_t kind
    uint8_t filetype
    uint8_t borrowed        # not ours to close: 1 it may block, 2 it never does
    uint8_t embedded        # part of a `Wasi`: not freed
    uint8_t readonly        # nothing beneath may be changed
    uint8_t extra_flags     # fdflagsext of the guest
    uint8_t alone           # its open file is this program's alone (see `positions`)
    uint8_t kept            # `position` holds, and not the kernel's
    uint16_t flags          # fdflags of the guest
    int fd
    uint64_t rights
    uint64_t inheriting
    const uint8_t* data     # KIND_BYTES
    uint64_t length
    uint64_t position       # of KIND_BYTES, and of a file where `kept`
    Buffer* buffer          # KIND_CAPTURE
    PyObject* object        # owned: the callable, the owner of `data`, the object behind `ops`
    const Ops* ops
    int64_t size            # of a file: the largest that the disk budget was charged for
    int64_t read_timeout    # ns, 0 for none; of sockets
    int64_t write_timeout
    Listing* listing
    Known* known            # of a directory, or NULL
    const char* preopen     # guest name of a preopened directory, borrowed from its Root
    uint32_t preopen_length

ctypedef struct Blob:
    const uint8_t* data     # NUL-terminated strings one after the other
    uint32_t size
    uint32_t count

# A thread that waits on a futex (WASIX).
ctypedef struct Waiter:
    Waiter* following
    uint32_t address
    int woken

ctypedef struct Wasi:
    pthread_mutex_t lock
    Desc** table
    uint32_t capacity
    uint32_t lowest         # no entry below is free
    uint32_t limit          # most descriptors open at a time
    uint32_t open
    Desc* first[8]
    Desc stdio[3]
    Buffer captured[2]
    Blob args
    Blob env
    int64_t realtime_shift
    int64_t disk_used       # bytes by which files have grown
    int64_t disk_limit      # below 0 without a bound
    int64_t names_used      # files and directories that were made
    int64_t names_limit
    int64_t* shared         # the same of all who share a tree of files, or NULL
    int64_t shared_limit
    uint32_t moves          # how often the program renamed or linked something
    int ended               # set when the whole process is to stop
    Waiter* waiters

# The WASI state of one thread of a process.
ctypedef struct Task:
    Wasi* wasi
    uint32_t tid
    PyObject* idle          # Python callable for idle slices and yields, or NULL; borrowed
    PyObject* context       # the Context this belongs to, borrowed

cdef int slot

# The state of the calling thread; never NULL: an instance that was given none has one without descriptors.
cdef Task* task_of(Record* record) noexcept nogil

# Looks a descriptor up and holds it; NULL when closed. To be given back with `release`.
cdef Desc* acquire(Wasi* wasi, uint32_t fd) noexcept nogil

# As `acquire`, demanding rights (a mask): the descriptor, or NULL with the errno in `error`.
cdef Desc* demand(Record* record, uint32_t fd, uint64_t rights, int* error) noexcept nogil
cdef void release(Desc* desc) noexcept nogil

# A new descriptor with one reference, or NULL.
cdef Desc* create(int kind, int filetype, int fd, uint64_t rights, uint64_t inheriting) noexcept nogil

# Puts a descriptor at the lowest free number >= minimum, taking over the caller's reference, also on error.
cdef int insert(Wasi* wasi, Desc* desc, uint32_t minimum, uint32_t* fd) noexcept nogil

# Puts a descriptor at exactly this number, closing what is there; takes over the reference.
cdef int place(Wasi* wasi, Desc* desc, uint32_t fd) noexcept nogil

# Closes a number / moves one onto another (both open).
cdef int remove(Wasi* wasi, uint32_t fd) noexcept nogil
cdef int renumber(Wasi* wasi, uint32_t source, uint32_t target) noexcept nogil

# Runs one idle slice: OK or TRAPPED. Yields the processor when there is no Python hook.
cdef int idle(Record* record) noexcept nogil

cdef int append(Wasi* wasi, Buffer* buffer, const uint8_t* data, uint64_t length) noexcept nogil
