# cython: language_level=3
"""What the state tier needs of the operating system."""

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    static inline int gh_memory_file(void) {
        return (int) syscall(SYS_memfd_create, "guesthouse-state", 1u /* close on exec */);
    }
    static inline int gh_punch_hole(int fd, int64_t offset, int64_t length) {
        return (int) syscall(SYS_fallocate, fd, 0x02 | 0x01 /* punch, keep the size */, offset, length);
    }
    /* Condition variables that count on the monotonic clock, as deadlines do. */
    static inline void gh_condition(pthread_cond_t* condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    static inline void gh_wait_a_while(pthread_cond_t* condition, pthread_mutex_t* mutex, int64_t nanoseconds) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += nanoseconds / 1000000000;
        until.tv_nsec += nanoseconds % 1000000000;
        if (until.tv_nsec >= 1000000000) { until.tv_sec += 1; until.tv_nsec -= 1000000000; }
        pthread_cond_timedwait(condition, mutex, &until);
    }
    #define gh_count(where, amount) __atomic_fetch_add((where), (amount), __ATOMIC_RELAXED)
    #define gh_share(where) __atomic_add_fetch((where), 1, __ATOMIC_RELAXED)
    #define gh_unshare(where) __atomic_sub_fetch((where), 1, __ATOMIC_ACQ_REL)
    #define gh_look(where) __atomic_load_n((where), __ATOMIC_ACQUIRE)
    """
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*) nogil
    int pthread_mutex_destroy(pthread_mutex_t*) nogil
    int pthread_mutex_lock(pthread_mutex_t*) nogil
    int pthread_mutex_unlock(pthread_mutex_t*) nogil
    int pthread_cond_destroy(pthread_cond_t*) nogil
    int pthread_cond_broadcast(pthread_cond_t*) nogil
    void init_condition "gh_condition"(pthread_cond_t*) nogil
    void wait_a_while "gh_wait_a_while"(pthread_cond_t*, pthread_mutex_t*, int64_t nanoseconds) nogil

    int memory_file "gh_memory_file"() nogil
    int punch_hole "gh_punch_hole"(int fd, int64_t offset, int64_t length) nogil
    int ftruncate(int fd, int64_t length) nogil
    int close(int fd) nogil
    void* mmap(void* where, size_t length, int prot, int flags, int fd, int64_t offset) nogil
    int munmap(void* where, size_t length) nogil
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE
    void* MAP_FAILED

    # Atomic: add to a counter; one reference more / less (the new count); read.
    uint64_t count "gh_count"(uint64_t* where, uint64_t amount) nogil
    long share "gh_share"(long* where) nogil
    long unshare "gh_unshare"(long* where) nogil
    int look "gh_look"(int* where) nogil
