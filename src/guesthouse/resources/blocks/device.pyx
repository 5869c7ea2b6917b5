# cython: language_level=3
"""Reading and writing single blocks without the GIL (spec fabric.md 5 and 10)."""

from libc.errno cimport EINTR, EINVAL, ENOSPC, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from guesthouse.resources.leases.table cimport (
    CAPACITY_EXCEEDED, INTERNAL, LEASE_REVOKED, acquire, lease_cache_t, lease_t, release,
)

cdef extern from "<pthread.h>" nogil:
    int pthread_rwlock_init(pthread_rwlock_t*, void*)
    int pthread_rwlock_rdlock(pthread_rwlock_t*)
    int pthread_rwlock_wrlock(pthread_rwlock_t*)
    int pthread_rwlock_unlock(pthread_rwlock_t*)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdlib.h>
    #include <unistd.h>
    static void gh_buffered(int fd) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0) fcntl(fd, F_SETFL, flags & ~O_DIRECT);
    }
    """
    void gh_buffered(int fd) nogil
    ssize_t pread(int fd, void* into, size_t length, long offset) nogil
    ssize_t pwrite(int fd, const void* data, size_t length, long offset) nogil
    int fdatasync(int fd) nogil
    int posix_memalign(void** out, size_t alignment, size_t size) nogil


cdef int device_init(device_t* device, int fd, bint direct, int sync, uint64_t units) except -1:
    device.fd, device.direct, device.sync, device.dirty = fd, direct, sync, 0
    device.generations = <uint64_t*>calloc(units, sizeof(uint64_t))
    if device.generations == NULL:
        raise MemoryError()
    for i in range(STRIPES):
        pthread_rwlock_init(&device.locks[i], NULL)
        if direct and posix_memalign(<void**>&device.bounce[i], UNIT, UNIT) != 0:
            raise MemoryError()
    return 0


cdef void device_drop(device_t* device) noexcept:
    free(device.generations)
    device.generations = NULL
    for i in range(STRIPES):
        free(device.bounce[i])
        device.bounce[i] = NULL


cdef int move(int fd, uint8_t* buffer, uint64_t length, uint64_t at, bint writing) noexcept nogil:
    """Transfer all of a range: 0, or the error number."""
    cdef ssize_t n
    cdef uint64_t done = 0
    while done < length:
        if writing:
            n = pwrite(fd, buffer + done, length - done, <long>(at + done))
        else:
            n = pread(fd, buffer + done, length - done, <long>(at + done))
        if n < 0:
            if errno == EINTR:
                continue
            return errno
        if n == 0:
            return -1           # the file ends here: somebody cut it
        done += <uint64_t>n
    return 0


cdef int move_direct(device_t* device, uint8_t* bounce, uint64_t position, uint8_t* buffer,
                     bint writing) noexcept nogil:
    """The same through an aligned buffer of the device's unit, which keeps no guest bytes afterwards."""
    cdef uint64_t unit = position & ~<uint64_t>(UNIT - 1)
    cdef int error = move(device.fd, bounce, UNIT, unit, False)
    if error == 0:
        if writing:
            memcpy(bounce + (position - unit), buffer, BLOCK)
            error = move(device.fd, bounce, UNIT, unit, True)
        else:
            memcpy(buffer, bounce + (position - unit), BLOCK)
    memset(bounce, 0, UNIT)
    return error


cdef int transfer(device_t* device, uint64_t position, uint8_t* buffer, bint writing) noexcept nogil:
    cdef int stripe = <int>((position // UNIT) & (STRIPES - 1))
    cdef int error
    if writing or device.direct:
        pthread_rwlock_wrlock(&device.locks[stripe])
    else:
        pthread_rwlock_rdlock(&device.locks[stripe])
    if device.direct:
        error = move_direct(device, device.bounce[stripe], position, buffer, writing)
        if error == EINVAL:     # this file system cannot; the page cache can
            gh_buffered(device.fd)
            device.direct = 0
            error = move(device.fd, buffer, BLOCK, position, writing)
    else:
        error = move(device.fd, buffer, BLOCK, position, writing)
    pthread_rwlock_unlock(&device.locks[stripe])
    if error == 0 and writing:
        if device.sync == SYNC_EACH:
            error = fdatasync(device.fd)
        else:
            device.dirty = 1
    if error == 0:
        return 0
    return CAPACITY_EXCEEDED if error == ENOSPC else INTERNAL


cdef int lease_transfer(device_t* device, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t lba,
                        uint8_t* buffer, bint writing) noexcept nogil:
    cdef lease_t* lease
    # Held for reading even by writers: it only keeps the lease from ending; the stripe orders the bytes.
    cdef int status = acquire(device.table, cache, tenant, id, False, &lease)
    if status != 0:
        return status
    if lba >= lease.capacity:
        status = CAPACITY_EXCEEDED
    elif writing and device.generations[lease.start] != lease.generation:
        status = LEASE_REVOKED
    else:
        status = transfer(device, lease.start * UNIT + lba * BLOCK, buffer, writing)
    release(lease)
    return status


cdef int volume_transfer(device_t* device, volume_t* volume, uint64_t lba, uint8_t* buffer,
                         bint writing) noexcept nogil:
    cdef int status = CAPACITY_EXCEEDED
    pthread_rwlock_rdlock(&volume.lock)
    if lba < volume.blocks:
        status = transfer(device, volume.start + lba * BLOCK, buffer, writing)
    pthread_rwlock_unlock(&volume.lock)
    return status


cdef void volume_init(volume_t* volume) noexcept nogil:
    pthread_rwlock_init(&volume.lock, NULL)


cdef void volume_freeze(volume_t* volume) noexcept nogil:
    pthread_rwlock_wrlock(&volume.lock)


cdef void volume_thaw(volume_t* volume) noexcept nogil:
    pthread_rwlock_unlock(&volume.lock)
