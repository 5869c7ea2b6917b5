# cython: language_level=3
"""Byte-addressed memory to lease, and private windows (spec fabric.md 4 and 10).

All leases of a pool lie in one anonymous shared mapping.  Its pages come from the kernel as zeros when
they are first touched, and go back to it when a large lease ends.
"""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from guesthouse.resources.leases.engine cimport LeaseEngine
from guesthouse.resources.leases.table cimport (
    CAPACITY_EXCEEDED, LEASE_REVOKED, acquire, lease_cache_t, lease_t, release,
)
from guesthouse.errors import ResourceError
from guesthouse.resources.leases.status import LeaseError

cdef extern from *:
    bint __atomic_compare_exchange_n(uint64_t*, uint64_t*, uint64_t, bint, int, int) nogil
    uint64_t __atomic_load_n(uint64_t*, int) nogil
    int __ATOMIC_ACQUIRE, __ATOMIC_ACQ_REL

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* at, size_t length)
    int madvise(void* at, size_t length, int advice)
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
    int MADV_REMOVE, MADV_DONTNEED
    void* MAP_FAILED

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <linux/falloc.h>
    #include <unistd.h>
    static int gh_punch(int fd, long long start, long long length) {
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length);
    }
    """
    int gh_punch(int fd, long long start, long long length) nogil
    int close(int fd) nogil

cdef enum:
    PAGE = 4096
    #: Up to this size writing zeros is cheaper than giving pages back and faulting them in again.
    WRITE_ZEROS = 65536


cdef int arena_read(arena_t* arena, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t offset,
                    uint8_t* into, uint64_t length) noexcept nogil:
    cdef lease_t* lease
    cdef int status = acquire(arena.table, cache, tenant, id, False, &lease)
    if status != 0:
        return status
    if offset > lease.capacity or length > lease.capacity - offset:
        status = CAPACITY_EXCEEDED
    else:
        memcpy(into, arena.base + lease.start * PAGE + offset, length)
    release(lease)
    return status


cdef int arena_write(arena_t* arena, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t offset,
                     const uint8_t* data, uint64_t length) noexcept nogil:
    cdef lease_t* lease
    cdef int status = acquire(arena.table, cache, tenant, id, True, &lease)
    if status != 0:
        return status
    if offset > lease.capacity or length > lease.capacity - offset:
        status = CAPACITY_EXCEEDED
    elif arena.generations[lease.start] != lease.generation:
        status = LEASE_REVOKED
    else:
        memcpy(arena.base + lease.start * PAGE + offset, data, length)
    release(lease)
    return status


cdef int admit(void* self, uint64_t start, uint64_t units, uint64_t generation) noexcept nogil:
    """Make an extent read as zeros, and let only this generation write it."""
    cdef pages_t* pages = <pages_t*>self
    cdef uint64_t touched = __atomic_load_n(&pages.touched, __ATOMIC_ACQUIRE)
    if start < touched:             # above, nobody has written since the kernel made the pages
        scrub(self, start, units)
    while touched < start + units and not __atomic_compare_exchange_n(
        &pages.touched, &touched, start + units, False, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE
    ):
        pass
    pages.generations[start] = generation
    return 0


cdef int scrub(void* self, uint64_t start, uint64_t units) noexcept nogil:
    """Destroy the contents of an extent."""
    cdef pages_t* pages = <pages_t*>self
    cdef uint8_t* first = pages.base + start * PAGE
    cdef uint64_t length = units * PAGE
    pages.generations[start] = 0
    if length <= WRITE_ZEROS:
        memset(first, 0, length)
    elif gh_punch(pages.fd, start * PAGE, length) != 0 and madvise(first, length, MADV_REMOVE) != 0:
        memset(first, 0, length)
    return 0


cdef class MemoryPool(NativeBacking):
    """Pages to lease, as a backing of the lease engine. Units are pages of 4 KiB.

    Args:
        size: bytes; only what is touched takes memory.
    """

    def __cinit__(self, size):
        cdef pages_t* pages = &self.pages
        self.native.self, self.native.admit, self.native.scrub = <void*>pages, admit, scrub
        self.native.size, self.native.grain = -(-size // PAGE), PAGE
        pages.length = self.native.size * PAGE
        pages.fd = os.memfd_create("guesthouse-memory", os.MFD_CLOEXEC)
        os.ftruncate(pages.fd, pages.length)
        pages.base = <uint8_t*>mmap(NULL, pages.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                                    pages.fd, 0)
        pages.generations = <uint64_t*>calloc(self.native.size, sizeof(uint64_t))
        if pages.base == MAP_FAILED or pages.generations == NULL:
            raise ResourceError(f"cannot map a pool of {size} bytes; make it smaller", resource="memory")

    def __dealloc__(self):
        if self.pages.base != NULL and self.pages.base != MAP_FAILED:
            munmap(self.pages.base, self.pages.length)
            close(self.pages.fd)
        free(self.pages.generations)

    @property
    def fd(self):
        """The memory file."""
        return self.pages.fd


cdef class Window:
    """Memory of one instance: zeros at first, gone with it.

    Args:
        size: bytes.
    """

    def __cinit__(self, size):
        self.resize(size)

    def __dealloc__(self):
        self.close()

    @property
    def size(self):
        """Bytes that can be addressed."""
        return self.view.size

    def resize(self, size):
        """Cut the window off, or extend it by zeros."""
        cdef void* fresh
        if size > self.view.mapped:
            fresh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if fresh == MAP_FAILED:
                raise MemoryError(f"cannot map a window of {size} bytes")
            if self.view.base != NULL:
                memcpy(fresh, self.view.base, self.view.size)
                munmap(self.view.base, self.view.mapped)
            self.view.base, self.view.mapped = <uint8_t*>fresh, size
        elif size < self.view.size:
            memset(self.view.base + <uint64_t>size, 0, self.view.size - <uint64_t>size)
        self.view.size = size

    def close(self):
        """Give the memory back; nothing can be addressed any more."""
        if self.view.base != NULL:
            munmap(self.view.base, self.view.mapped)
        self.view.base, self.view.size, self.view.mapped = NULL, 0, 0


cdef class Memory:
    """Leases on memory.

    Args:
        clock: the lease clock.
        arena: bytes that one tenant's leases may hold together, and the size of a window.
        pool: bytes that all tenants' leases share.
        journal: where lease ids are recorded, so that after a restart they answer as revoked.
    """

    def __init__(self, clock, *, arena=1 << 26, pool=1 << 30, journal=None):
        self.pool = MemoryPool(pool)
        self.leases = LeaseEngine("memory", self.pool, clock, quota=arena, default_amount=65_536,
                                  journal=journal, survives=False)
        self.arena.table = self.leases.table
        self.arena.base = self.pool.pages.base
        self.arena.generations = self.pool.pages.generations

    def window_size(self, str tenant):
        """Bytes of a window of this tenant."""
        return self.leases.tenant(tenant).quota

    def read(self, str tenant, id, offset, length):
        """Bytes of a lease.

        Raises:
            LeaseError: the lease is not usable, or the range leaves it.
        """
        cdef bytearray into
        cdef uint32_t number = self.leases.tenant(tenant).number
        cdef uint64_t lease = id, begin = offset, wanted = length
        self.leases.usable(tenant, id)
        if wanted > self.pool.pages.length:
            raise LeaseError(CAPACITY_EXCEEDED, resource="memory")
        into = bytearray(wanted)
        cdef uint8_t* at = into
        cdef int status
        with nogil:
            status = arena_read(&self.arena, NULL, number, lease, begin, at, wanted)
        if status:
            raise LeaseError(status, resource="memory")
        return bytes(into)

    def write(self, str tenant, id, offset, data):
        """Put bytes into a lease; all of them or, with an error, none."""
        cdef const uint8_t[::1] view = memoryview(data).cast("B") if len(data) else memoryview(b"\0")
        cdef uint32_t number = self.leases.tenant(tenant).number
        cdef uint64_t lease = id, begin = offset, length = len(data)
        cdef int status
        with nogil:
            status = arena_write(&self.arena, NULL, number, lease, begin, &view[0], length)
        if status:
            raise LeaseError(status, resource="memory")

    def close(self):
        """Close the lease journal."""
        self.leases.close()
