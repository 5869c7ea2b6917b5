# cython: language_level=3
"""The end of a journal, where records are appended without the GIL.

A record is a MessagePack array in a frame of length and CRC-32; :mod:`.journal` reads them again.
"""

import os

from libc.errno cimport EFBIG, EINTR, ENOSPC, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from guesthouse.resources.leases.table cimport ACTIVE, FENCED, chain_t, lease_t

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* at, size_t length)
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED

cdef extern from "<fcntl.h>" nogil:
    int posix_fallocate(int fd, long offset, long length)

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void* data, size_t length, long offset)
    int fdatasync(int fd)
    int ftruncate(int fd, long length)
    int close(int fd)

cdef enum:
    ROOM = 1 << 20              # what a mapped file grows by

cdef uint32_t crc_of[8][256]    # [n][b]: what a byte b does to the CRC n bytes later


cdef void make_crc_table() noexcept:
    cdef uint32_t value
    cdef int byte, n, bit
    for byte in range(256):
        value = byte
        for bit in range(8):
            value = (value >> 1) ^ (0xEDB88320u if value & 1 else 0)
        crc_of[0][byte] = value
    for n in range(1, 8):
        for byte in range(256):
            value = crc_of[n - 1][byte]
            crc_of[n][byte] = (value >> 8) ^ crc_of[0][value & 0xFF]


make_crc_table()


cdef uint32_t crc32(const uint8_t* data, uint64_t length) noexcept nogil:
    cdef uint32_t crc = 0xFFFFFFFFu
    cdef uint64_t at = 0
    while at + 8 <= length:
        crc ^= data[at] | data[at + 1] << 8 | data[at + 2] << 16 | <uint32_t>data[at + 3] << 24
        crc = (crc_of[7][crc & 0xFF] ^ crc_of[6][(crc >> 8) & 0xFF] ^ crc_of[5][(crc >> 16) & 0xFF]
               ^ crc_of[4][crc >> 24] ^ crc_of[3][data[at + 4]] ^ crc_of[2][data[at + 5]]
               ^ crc_of[1][data[at + 6]] ^ crc_of[0][data[at + 7]])
        at += 8
    while at < length:
        crc = (crc >> 8) ^ crc_of[0][(crc ^ data[at]) & 0xFF]
        at += 1
    return ~crc


# -- MessagePack ------------------------------------------------------------------------------------------

cdef inline uint8_t* put_number(uint8_t* at, uint64_t value) noexcept nogil:
    if value < 128:
        at[0] = <uint8_t>value
        return at + 1
    if value <= 0xFFFFFFFFu:
        return put_big_endian(at, 0xCE, value, 4)
    return put_big_endian(at, 0xCF, value, 8)


cdef inline uint8_t* put_moment(uint8_t* at, int64_t seconds) noexcept nogil:
    return put_big_endian(at, 0xD3, <uint64_t>seconds, 8) if seconds < 0 else put_number(at, <uint64_t>seconds)


cdef inline uint8_t* put_big_endian(uint8_t* at, uint8_t kind, uint64_t value, int width) noexcept nogil:
    cdef int i
    at[0] = kind
    for i in range(width):
        at[width - i] = <uint8_t>(value >> 8 * i)
    return at + 1 + width


cdef inline uint8_t* begin(log_t* log, const char* kind, uint8_t length, int fields) noexcept nogil:
    """Begin a record with its kind, of less than 32 letters; it has less than 16 fields."""
    cdef uint8_t* at = log.frame + FRAME
    at[0] = <uint8_t>(0x90 + fields)
    at[1] = <uint8_t>(0xA0 + length)
    memcpy(at + 2, kind, length)
    return at + 2 + length


# -- records ----------------------------------------------------------------------------------------------

cdef int log_grant(log_t* log, lease_t* lease) noexcept nogil:
    cdef uint8_t* at = put_number(begin(log, b"grant", 5, 8), lease.id)
    if lease.owner.name_length > LONGEST - 128:
        log.error = EFBIG
        return -1
    memcpy(at, lease.owner.name, lease.owner.name_length)
    at = put_number(at + lease.owner.name_length, lease.capacity)
    at = put_number(put_number(at, lease.start), lease.units)
    return append(log, put_number(put_moment(at, lease.expires), lease.generation), True)


cdef int log_renew(log_t* log, uint64_t id, int64_t expires) noexcept nogil:
    return append(log, put_moment(put_number(begin(log, b"renew", 5, 3), id), expires), True)


cdef int log_end(log_t* log, uint64_t id, int status, int64_t at) noexcept nogil:
    return append(log, put_moment(put_number(put_number(begin(log, b"end", 3, 4), id), status), at), True)


cdef int log_release(log_t* log, uint64_t id) noexcept nogil:
    # Not flushed: when it is lost, the next start scrubs once more.
    return append(log, put_number(begin(log, b"release", 7, 2), id), False)


cdef int log_fence(log_t* log, uint64_t id) noexcept nogil:
    return append(log, put_number(begin(log, b"fence", 5, 2), id), True)


cdef int log_generation(log_t* log, uint64_t generation) noexcept nogil:
    return append(log, put_number(begin(log, b"generation", 10, 2), generation), True)


cdef int log_chain(log_t* log, chain_t* chain) noexcept nogil:
    cdef lease_t* lease = chain.first
    cdef int failed = 0
    while lease != NULL and not failed:
        failed = log_grant(log, lease)
        if lease.status != ACTIVE:
            failed |= log_end(log, lease.id, lease.status, lease.ended_at)
        if lease.status == FENCED:
            failed |= log_fence(log, lease.id)
        elif not lease.held:
            failed |= log_release(log, lease.id)
        lease = lease.after
    return failed


cdef int append(log_t* log, const uint8_t* end, bint flush) noexcept nogil:
    """Frame the record that was put into `log.frame`, and add it."""
    cdef uint8_t* record = log.frame + FRAME
    cdef uint32_t length = <uint32_t>(end - record)
    cdef uint32_t crc = crc32(record, length)
    cdef int failed
    memcpy(log.frame, &length, 4)
    memcpy(log.frame + 4, &crc, 4)
    failed = write_out(log, FRAME + length, flush) if log.durable else store(log, FRAME + length)
    if failed:
        log.error = failed
        return -1
    log.size += FRAME + length
    log.records += 1
    return 0


cdef int write_out(log_t* log, uint64_t length, bint flush) noexcept nogil:
    cdef uint64_t done = 0
    cdef int error
    cdef ssize_t n
    while done < length:
        n = pwrite(log.fd, log.frame + done, length - done, <long>(log.size + done))
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            break
        done += <uint64_t>n
    if done == length and not (flush and fdatasync(log.fd) != 0):
        return 0
    error = errno or ENOSPC
    ftruncate(log.fd, <long>log.size)   # leave no half frame for later ones to stand behind
    return error


cdef int store(log_t* log, uint64_t length) noexcept nogil:
    """Put a frame into the mapped file; what is in there outlives this process, however it ends."""
    cdef uint64_t room
    cdef void* map
    cdef int error
    if log.size + length > log.room:
        room = (log.size + length + ROOM - 1) // ROOM * ROOM
        # Space is taken now: a full disk must not show as a fault when the page is written back.
        error = posix_fallocate(log.fd, 0, <long>room)
        if error:
            return error
        map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, log.fd, 0)
        if map == MAP_FAILED:
            return errno
        unmap(log)
        log.map, log.room = <uint8_t*>map, room
    memcpy(log.map + log.size, log.frame, length)
    return 0


cdef void unmap(log_t* log) noexcept nogil:
    if log.map != NULL:
        munmap(log.map, log.room)
    log.map, log.room = NULL, 0


cdef class Log:
    """A file that records are appended to.

    Args:
        fd: the file, which is closed with this.
        durable: flush to the device before a record counts; otherwise it outlives the process only.
    """

    def __cinit__(self, *args, **options):
        self.log.fd = -1

    def __init__(self, int fd, *, bint durable):
        self.log.fd, self.log.durable = fd, durable
        self.log.size = os.fstat(fd).st_size
        self.log.frame = <uint8_t*>malloc(FRAME + LONGEST)
        if self.log.frame == NULL:
            raise MemoryError()

    def __dealloc__(self):
        unmap(&self.log)
        free(self.log.frame)
        if self.log.fd >= 0:
            close(self.log.fd)

    @property
    def size(self):
        """Bytes up to the end of the last record."""
        return self.log.size

    @property
    def records(self):
        """How many records were replayed and appended."""
        return self.log.records

    @records.setter
    def records(self, count):
        self.log.records = count

    @property
    def durable(self):
        """Whether records are flushed to the device."""
        return bool(self.log.durable)

    @durable.setter
    def durable(self, bint durable):
        self.cut(self.log.size)
        self.log.durable = durable

    def add(self, bytes record, bint flush):
        """Append an encoded record.

        Raises:
            OSError: it could not be written; everything is as before.
        """
        if len(record) > LONGEST:
            raise OSError(EFBIG, f"a record of {len(record)} bytes")
        cdef const uint8_t* data = record
        cdef uint64_t length = len(record)
        cdef int failed
        with nogil:
            memcpy(self.log.frame + FRAME, data, length)
            failed = append(&self.log, self.log.frame + FRAME + length, flush)
        if failed:
            raise OSError(self.log.error, os.strerror(self.log.error))

    def cut(self, uint64_t size):
        """Let the file end here."""
        unmap(&self.log)
        os.ftruncate(self.log.fd, size)
        self.log.size = size

    def flush(self):
        """Write everything to the device."""
        os.fdatasync(self.log.fd)

    def take_over(self, Log fresh):
        """Go on in the file of another log, which is given up."""
        unmap(&self.log)
        os.close(self.log.fd)
        self.log.fd, self.log.size, self.log.records = fresh.log.fd, fresh.log.size, fresh.log.records
        self.log.map, self.log.room = fresh.log.map, fresh.log.room
        fresh.log.fd, fresh.log.map, fresh.log.room = -1, NULL, 0

    def close(self):
        """Cut off the room behind the last record, flush, and close the file."""
        if self.log.fd >= 0:
            self.cut(self.log.size)
            os.fdatasync(self.log.fd)
            os.close(self.log.fd)
            self.log.fd = -1
