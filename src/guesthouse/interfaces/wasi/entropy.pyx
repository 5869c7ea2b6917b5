# cython: language_level=3
"""Random bytes for guests, in small requests: from the kernel, drawn ahead.

A system call for 32 bytes costs more than the bytes.  So each thread draws 512 at a time and hands them out once:
what was handed out is overwritten, so that nobody can read it from there later, and a forked child begins with an
empty store, so that no two processes give out the same bytes.  A store belongs to a thread of the host and to no
guest; guests cannot read it, since it lies outside of their memories.
"""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <string.h>
    #include <sys/random.h>

    #define GH_STORE 512
    static unsigned gh_forks = 0;       /* forks between the first process and this one */
    static __thread struct { unsigned char bytes[GH_STORE]; unsigned left, forks; } gh_store;

    static void gh_forked(void) { __atomic_add_fetch(&gh_forks, 1, __ATOMIC_SEQ_CST); }

    static int gh_watch_forks(void) { return pthread_atfork(0, 0, gh_forked); }

    static int gh_fill_store(void) {
        size_t filled = 0;
        while (filled < GH_STORE) {
            ssize_t count = getrandom(gh_store.bytes + filled, GH_STORE - filled, 0);
            if (count < 0 && errno != EINTR) return errno;
            if (count > 0) filled += (size_t)count;
        }
        gh_store.left = GH_STORE;
        return 0;
    }

    static int gh_draw(unsigned char *into, size_t length) {
        unsigned forks = __atomic_load_n(&gh_forks, __ATOMIC_RELAXED);
        unsigned char *from;
        int error;
        if (gh_store.left < length || gh_store.forks != forks) {
            if ((error = gh_fill_store())) return error;
            gh_store.forks = forks;
        }
        gh_store.left -= (unsigned)length;
        from = gh_store.bytes + gh_store.left;
        memcpy(into, from, length);
        explicit_bzero(from, length);
        return 0;
    }
    """
    int gh_draw(unsigned char*, size_t) nogil
    int gh_watch_forks()


if gh_watch_forks():
    raise MemoryError("pthread_atfork")


cdef int draw_small(uint8_t* into, size_t length) noexcept nogil:
    return gh_draw(into, length)
