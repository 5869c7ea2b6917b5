# cython: language_level=3
"""System calls and small inline helpers that the native WASI functions share."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <pthread.h>
    #include <sched.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <linux/futex.h>
    #include <sys/eventfd.h>
    #include <sys/ioctl.h>
    #include <sys/random.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    #ifndef SYS_openat2
    #define SYS_openat2 437
    #endif

    static inline int gh_errno(void) { return errno; }
    static inline void gh_set_errno(int e) { errno = e; }
    static inline int gh_add(int* p, int n) { return __atomic_add_fetch(p, n, __ATOMIC_ACQ_REL); }
    static inline int gh_load(int* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void gh_store(int* p, int v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

    static inline uint32_t gh_r32(const void* p) { uint32_t v; memcpy(&v, p, 4); return v; }
    static inline uint64_t gh_r64(const void* p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline uint16_t gh_r16(const void* p) { uint16_t v; memcpy(&v, p, 2); return v; }
    static inline void gh_w16(void* p, uint16_t v) { memcpy(p, &v, 2); }
    static inline void gh_w32(void* p, uint32_t v) { memcpy(p, &v, 4); }
    static inline void gh_w64(void* p, uint64_t v) { memcpy(p, &v, 8); }

    /* openat2(2); `resolve` takes the RESOLVE_ bits of linux/openat2.h. */
    static inline int gh_openat2(int dir, const char* path, int flags, int mode, uint64_t resolve) {
        struct { uint64_t flags, mode, resolve; } how = { (uint32_t)flags, (uint32_t)mode, resolve };
        return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    }
    static inline long gh_getdents(int fd, void* buffer, size_t length) {
        return syscall(SYS_getdents64, fd, buffer, length);
    }
    static inline int gh_poll(struct pollfd* fds, unsigned long n, int64_t ns) {
        struct timespec t = { ns / 1000000000, ns % 1000000000 };
        return ppoll(fds, n, ns < 0 ? NULL : &t, NULL);
    }
    static inline long gh_futex_wait(int* word, int value, int64_t ns) {
        struct timespec t = { ns / 1000000000, ns % 1000000000 };
        return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &t, NULL, 0);
    }
    static inline long gh_futex_wake(int* word) {
        return syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    static inline uint32_t gh_load32(const void* p) { return __atomic_load_n((const uint32_t*)p, __ATOMIC_SEQ_CST); }
    static inline int64_t gh_clock(int id) {
        struct timespec t;
        if (clock_gettime(id, &t)) return -1;
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline int64_t gh_clock_res(int id) {
        struct timespec t;
        if (clock_getres(id, &t)) return -1;
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline uint64_t gh_nanos(struct timespec t) {
        return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
    }
    static inline struct timespec gh_spec(uint64_t ns) {
        struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };
        return t;
    }
    static inline struct timespec gh_special(int now) {
        struct timespec t = { 0, now ? UTIME_NOW : UTIME_OMIT };
        return t;
    }
    """
    int host_errno "gh_errno"() nogil
    void set_host_errno "gh_set_errno"(int) nogil
    int atomic_add "gh_add"(int*, int) nogil
    int atomic_load "gh_load"(int*) nogil
    void atomic_store "gh_store"(int*, int) nogil
    uint16_t r16 "gh_r16"(const void*) nogil
    uint32_t r32 "gh_r32"(const void*) nogil
    uint64_t r64 "gh_r64"(const void*) nogil
    void w16 "gh_w16"(void*, uint16_t) nogil
    void w32 "gh_w32"(void*, uint32_t) nogil
    void w64 "gh_w64"(void*, uint64_t) nogil
    int openat2 "gh_openat2"(int, const char*, int, int, uint64_t) nogil
    long getdents "gh_getdents"(int, void*, size_t) nogil

    ctypedef struct pollfd "struct pollfd":
        int fd
        short events
        short revents
    int poll_ns "gh_poll"(pollfd*, unsigned long, int64_t) nogil
    long futex_wait_word "gh_futex_wait"(int*, int, int64_t) nogil
    long futex_wake_word "gh_futex_wake"(int*) nogil
    uint32_t load32 "gh_load32"(const void*) nogil
    int c_pipe2 "pipe2"(int*, int) nogil
    int c_eventfd "eventfd"(unsigned, int) nogil
    int EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC
    int64_t clock_ns "gh_clock"(int) nogil
    int64_t clock_res_ns "gh_clock_res"(int) nogil
    int POLLIN, POLLOUT, POLLHUP, POLLERR, POLLNVAL

    ctypedef struct timespec "struct timespec":
        long tv_sec
        long tv_nsec
    uint64_t nanos "gh_nanos"(timespec) nogil
    timespec spec_of "gh_spec"(uint64_t) nogil
    timespec special_time "gh_special"(int) nogil

    ctypedef struct stat_t "struct stat":
        uint64_t st_dev
        uint64_t st_ino
        uint32_t st_mode
        uint64_t st_nlink
        int64_t st_size
        timespec st_atim
        timespec st_mtim
        timespec st_ctim
    int fstat(int, stat_t*) nogil
    int fstatat(int, const char*, stat_t*, int) nogil
    int S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK

    ctypedef struct iovec "struct iovec":
        void* iov_base
        size_t iov_len
    ssize_t c_read "read"(int, void*, size_t) nogil
    ssize_t c_write "write"(int, const void*, size_t) nogil
    ssize_t readv(int, const iovec*, int) nogil
    ssize_t writev(int, const iovec*, int) nogil
    ssize_t c_pread "pread"(int, void*, size_t, int64_t) nogil
    ssize_t c_pwrite "pwrite"(int, const void*, size_t, int64_t) nogil
    ssize_t preadv(int, const iovec*, int, int64_t) nogil
    ssize_t pwritev(int, const iovec*, int, int64_t) nogil
    int64_t lseek(int, int64_t, int) nogil
    int ftruncate(int, int64_t) nogil
    int posix_fallocate(int, int64_t, int64_t) nogil
    int posix_fadvise(int, int64_t, int64_t, int) nogil
    int fsync(int) nogil
    int fdatasync(int) nogil
    int futimens(int, const timespec*) nogil
    int utimensat(int, const char*, const timespec*, int) nogil
    int c_close "close"(int) nogil
    int c_openat "openat"(int, const char*, int, ...) nogil
    int c_fcntl "fcntl"(int, int, ...) nogil
    int c_ioctl "ioctl"(int, unsigned long, ...) nogil
    int mkdirat(int, const char*, int) nogil
    int unlinkat(int, const char*, int) nogil
    int renameat(int, const char*, int, const char*) nogil
    int linkat(int, const char*, int, const char*, int) nogil
    int symlinkat(const char*, int, const char*) nogil
    ssize_t readlinkat(int, const char*, char*, size_t) nogil
    ssize_t getrandom(void*, size_t, unsigned) nogil
    int c_yield "sched_yield"() nogil
    int c_isatty "isatty"(int) nogil
    int snprintf(char*, size_t, const char*, ...) nogil

    int O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK, O_DSYNC, O_SYNC
    int O_RSYNC, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_PATH, O_NOCTTY
    int AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_REMOVEDIR
    int F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, SEEK_SET, SEEK_CUR, SEEK_END
    int EAGAIN, EINTR, ENOSYS, EPERM, EXDEV, EBADF, ENOTDIR, ELOOP, ENAMETOOLONG, ENOENT, EINVAL
    int ENOMEM, EMFILE, EISDIR, EINPROGRESS, EEXIST
    unsigned long FIONREAD

    ctypedef struct msghdr "struct msghdr":
        void* msg_name
        unsigned msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        int msg_flags
    ssize_t recvmsg(int, msghdr*, int) nogil
    ssize_t sendmsg(int, const msghdr*, int) nogil
    int c_accept4 "accept4"(int, void*, unsigned*, int) nogil
    int c_shutdown "shutdown"(int, int) nogil
    int c_getsockopt "getsockopt"(int, int, int, void*, unsigned*) nogil
    int MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC
    int SHUT_RD, SHUT_WR, SHUT_RDWR, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_TYPE

    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_lock(pthread_mutex_t*) nogil
    int pthread_mutex_unlock(pthread_mutex_t*) nogil
