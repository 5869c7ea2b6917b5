# cython: language_level=3
"""Block transfers as native code does them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from guesthouse.resources.leases.table cimport lease_cache_t, table_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlock_t:
        pass

cdef enum:
    BLOCK = 512
    UNIT = 4096         # unit of extents, of locking and of direct I/O
    STRIPES = 64

cdef enum SyncPolicy:
    SYNC_NONE = 0
    SYNC_INTERVAL = 1
    SYNC_EACH = 2

ctypedef struct device_t:
    table_t* table
    int fd
    int direct                          # fd bypasses the page cache, and wants aligned buffers
    int sync                            # SyncPolicy
    int dirty                           # written since the last flush
    uint64_t* generations               # per unit: who may write the extent that begins there
    pthread_rwlock_t locks[STRIPES]     # a block is read and written as a whole
    uint8_t* bounce[STRIPES]            # aligned buffers for direct I/O, used under the lock

# A tenant's persistent device: a run of blocks of the pool.
ctypedef struct volume_t:
    pthread_rwlock_t lock               # read: transfers; write: it moves, or changes its size
    uint64_t start                      # byte position in the pool
    uint64_t blocks

# 0 or a negative status. A whole block moves, or nothing does.
cdef int lease_transfer(device_t* device, lease_cache_t* cache, uint32_t tenant, uint64_t id, uint64_t lba,
                        uint8_t* buffer, bint writing) noexcept nogil
cdef int volume_transfer(device_t* device, volume_t* volume, uint64_t lba, uint8_t* buffer,
                         bint writing) noexcept nogil

cdef void volume_init(volume_t* volume) noexcept nogil
cdef void volume_freeze(volume_t* volume) noexcept nogil       # waits for transfers, and lets no other begin
cdef void volume_thaw(volume_t* volume) noexcept nogil

cdef int device_init(device_t* device, int fd, bint direct, int sync, uint64_t units) except -1
cdef void device_drop(device_t* device) noexcept
