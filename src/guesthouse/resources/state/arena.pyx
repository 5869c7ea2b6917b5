# cython: language_level=3
"""Shared memory for state values: one sparse memory file, extents of whole pages, and page mappings.

One file for all values keeps the number of descriptors at one however many keys there are, and makes
a new value as cheap as taking an extent.  Two values never share a page, so a page that a guest maps
shows bytes of one value only (DESIGN section 3 item 5).
"""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport fputs, stderr
from libc.stdlib cimport abort, calloc, free, realloc
from libc.string cimport memmove

from guesthouse.resources.state.posix cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    close,
    count,
    ftruncate,
    memory_file,
    mmap,
    munmap,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    punch_hole,
)


cdef Arena* create(uint64_t capacity) noexcept nogil:
    cdef Arena* arena = <Arena*> calloc(1, sizeof(Arena))
    if arena == NULL:
        return NULL
    arena.fd = memory_file()
    arena.capacity = capacity
    arena.gaps = <Extent*> calloc(16, sizeof(Extent))
    if arena.fd < 0 or arena.gaps == NULL or ftruncate(arena.fd, capacity) != 0:
        if arena.fd >= 0:
            close(arena.fd)
        free(arena.gaps)
        free(arena)
        return NULL
    arena.base = <uint8_t*> mmap(
        NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena.fd, 0
    )
    if <void*> arena.base == MAP_FAILED:
        close(arena.fd)
        free(arena.gaps)
        free(arena)
        return NULL
    pthread_mutex_init(&arena.mutex, NULL)
    arena.room = 16
    arena.count = 1
    arena.gaps[0].offset = 0
    arena.gaps[0].length = capacity
    return arena


cdef void destroy(Arena* arena) noexcept nogil:
    munmap(arena.base, arena.capacity)
    close(arena.fd)
    pthread_mutex_destroy(&arena.mutex)
    free(arena.gaps)
    free(arena)


cdef int64_t take(Arena* arena, uint64_t length) noexcept nogil:
    cdef int64_t offset = -1
    cdef size_t i
    pthread_mutex_lock(&arena.mutex)
    for i in range(arena.count):
        if arena.gaps[i].length >= length:
            offset = <int64_t> arena.gaps[i].offset
            arena.gaps[i].offset += length
            arena.gaps[i].length -= length
            if arena.gaps[i].length == 0:
                arena.count -= 1
                memmove(arena.gaps + i, arena.gaps + i + 1, (arena.count - i) * sizeof(Extent))
            arena.in_use += length
            break
    pthread_mutex_unlock(&arena.mutex)
    return offset


cdef void give(Arena* arena, uint64_t offset, uint64_t length) noexcept nogil:
    cdef Extent* gaps
    cdef size_t i = 0
    punch_hole(arena.fd, <long long> offset, <long long> length)
    pthread_mutex_lock(&arena.mutex)
    arena.in_use -= length
    while i < arena.count and arena.gaps[i].offset < offset:
        i += 1
    if i > 0 and arena.gaps[i - 1].offset + arena.gaps[i - 1].length == offset:
        arena.gaps[i - 1].length += length
        if i < arena.count and arena.gaps[i].offset == offset + length:
            arena.gaps[i - 1].length += arena.gaps[i].length
            arena.count -= 1
            memmove(arena.gaps + i, arena.gaps + i + 1, (arena.count - i) * sizeof(Extent))
    elif i < arena.count and arena.gaps[i].offset == offset + length:
        arena.gaps[i].offset = offset
        arena.gaps[i].length += length
    else:
        if arena.count == arena.room:
            gaps = <Extent*> realloc(arena.gaps, arena.room * 2 * sizeof(Extent))
            if gaps == NULL:        # address space of this extent is lost; its pages are not
                pthread_mutex_unlock(&arena.mutex)
                return
            arena.gaps = gaps
            arena.room *= 2
        memmove(arena.gaps + i + 1, arena.gaps + i, (arena.count - i) * sizeof(Extent))
        arena.gaps[i].offset = offset
        arena.gaps[i].length = length
        arena.count += 1
    pthread_mutex_unlock(&arena.mutex)


cdef uint64_t mappings = 0


cdef int map_over(Arena* arena, uint64_t offset, void* where, uint64_t length) noexcept nogil:
    cdef void* got
    cdef int reason
    if count(&mappings, 1) >= MOST_MAPPINGS:
        count(&mappings, -1)
        return ENOMEM
    got = mmap(
        where, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, arena.fd, <long long> offset
    )
    if got == MAP_FAILED:
        reason = errno
        unmap_for_certain(where, length)    # the kernel may have taken the old pages away before it failed
        return reason
    return 0


cdef void unmapped() noexcept nogil:
    count(&mappings, -1)


cdef int unmap(void* where, uint64_t length) noexcept nogil:
    cdef void* got = mmap(
        where, length, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0,
    )
    return errno if got == MAP_FAILED else 0


cdef void unmap_for_certain(void* where, uint64_t length) noexcept nogil:
    cdef int tries
    for tries in range(100):
        if unmap(where, length) == 0:
            unmapped()
            return
    # One tenant's bytes would become another one's memory.
    fputs(b"guesthouse: the kernel does not let go of shared pages\n", stderr)
    abort()
