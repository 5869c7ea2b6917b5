# cython: language_level=3
"""512-byte blocks to lease, and one persistent device per tenant (spec fabric.md 5 and 10).

Everything lies in one sparse file (or a real block device, or anonymous memory).  Extents are whole units
of 4 KiB, so a scrubbed one gives its space back to the file system, and direct I/O never touches a
neighbour's blocks.
"""

import fcntl
import os
import stat
import threading

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from guesthouse.resources.blocks.device cimport (
    BLOCK, SYNC_EACH, SYNC_INTERVAL, SYNC_NONE, UNIT, device_drop, device_init, lease_transfer,
    volume_freeze, volume_init, volume_thaw, volume_transfer,
)
from guesthouse.resources.leases.engine cimport LeaseEngine
from guesthouse.errors import ResourceError
from guesthouse.resources.leases.journal import Journal
from guesthouse.resources.leases.status import CAPACITY_EXCEEDED, LeaseError

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

SYNC_POLICIES = {"none": SYNC_NONE, "interval": SYNC_INTERVAL, "each": SYNC_EACH}
CHUNK = 1 << 20
FLUSH_SECONDS = 1.0


cdef class BlockPool:
    """Units of 4 KiB in a file, as a backing of the lease engine.

    Args:
        path: a file (made when missing), a block device, or ``None`` for anonymous memory.
        blocks: size in 512-byte blocks; a block device has its own.
        direct: bypass the page cache where the file system can.
        sync: ``none``, ``interval`` (once a second) or ``each`` (before a write returns).

    Raises:
        ResourceError: the path cannot be used, or another process uses it.
    """

    def __cinit__(self, path, blocks, *, direct=False, sync="none"):
        self.fd = self.plain = -1
        if sync not in SYNC_POLICIES:
            raise ResourceError(f"unknown sync policy {sync!r}; there are: none, interval, each", resource="blocks")
        try:
            if path is None:
                self.plain = os.memfd_create("guesthouse-blocks", os.MFD_CLOEXEC)
                direct = False
            else:
                self.plain = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self.plain, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_device = stat.S_ISBLK(os.fstat(self.plain).st_mode)
            length = os.lseek(self.plain, 0, os.SEEK_END)
            if not self.is_device:
                length = max(length, -(-blocks * BLOCK // UNIT) * UNIT)
                os.ftruncate(self.plain, length)
            self.fd = self._open_direct(path) if direct else os.dup(self.plain)
        except BlockingIOError:
            raise ResourceError(f"{path} is in use by another process", resource="blocks") from None
        except OSError as error:
            raise ResourceError(f"cannot use {path} for blocks: {error}", resource="blocks") from error
        self.size, self.grain = length // UNIT, UNIT // BLOCK
        device_init(&self.device, self.fd, self.is_direct, SYNC_POLICIES[sync], self.size)

    def __dealloc__(self):
        device_drop(&self.device)
        if self.fd >= 0:
            close(self.fd)
        if self.plain >= 0:
            close(self.plain)

    @property
    def is_direct(self):
        """Whether transfers bypass the page cache now."""
        return bool(fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_DIRECT)

    def _open_direct(self, path):
        try:
            return os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:                 # the file system has no direct I/O at all
            return os.dup(self.plain)

    def admit(self, start, units, generation):
        """Prove that an extent is zero, and let only this generation write it."""
        if not self.is_zero(start * UNIT, units * UNIT):
            self.scrub(start, units)
        self.device.generations[<uint64_t>start] = generation

    def claim(self, start, units, generation):
        """Let only this generation write an extent that the journal says is in use."""
        self.device.generations[<uint64_t>start] = generation

    def scrub(self, start, units):
        """Destroy contents: give the space back, verify that it reads as zeros, else write them."""
        cdef long long first = start * UNIT
        cdef long long length = units * UNIT
        cdef int failed
        self.device.generations[<uint64_t>start] = 0
        with nogil:
            failed = gh_punch(self.plain, first, length)
        if not failed and self.is_zero(first, length):
            return
        zeros = bytes(min(CHUNK, length))
        for at in range(first, first + length, CHUNK):
            os.pwrite(self.plain, zeros[: min(CHUNK, first + length - at)], at)
        if not self.is_zero(first, length):
            raise OSError(f"bytes {first}..{first + length} do not read as zeros after scrubbing")

    def is_zero(self, first, length):
        """Whether a byte range reads as zeros; holes of the file count without being read."""
        at, end = first, first + length
        while at < end:
            if not self.is_device:
                try:
                    at = os.lseek(self.plain, at, os.SEEK_DATA)
                except OSError:         # nothing but a hole up to the end of the file
                    return True
                if at >= end:
                    return True
            piece = os.pread(self.plain, min(CHUNK, end - at), at)
            if not piece or piece.count(0) != len(piece):
                return False
            at += len(piece)
        return True

    def copy(self, source, target, units):
        """Copy the contents of one extent into another, durably."""
        length, source, target = units * UNIT, source * UNIT, target * UNIT
        for at in range(0, length, CHUNK):
            piece = os.pread(self.plain, min(CHUNK, length - at), source + at)
            if piece.count(0) != len(piece):        # leave holes as holes
                os.pwrite(self.plain, piece, target + at)
        os.fdatasync(self.plain)

    def flush(self):
        """Make everything that was written durable, if there is anything."""
        if self.device.dirty:
            self.device.dirty = 0
            os.fdatasync(self.fd)

    def close(self):
        """Flush and close."""
        if self.fd >= 0:
            os.fdatasync(self.fd)
            os.close(self.fd)
        if self.plain >= 0:
            os.close(self.plain)
        self.fd = self.plain = -1
        self.device.fd = -1


cdef class Volume:
    """A tenant's device: persistent, shared by its instances."""

    def __cinit__(self):
        volume_init(&self.view)

    @property
    def blocks(self):
        """How many blocks it has."""
        return self.view.blocks


cdef class Blocks:
    """Leases on blocks, and the tenants' devices.

    Args:
        clock: the lease clock.
        path: file or block device of the pool; ``None`` keeps everything in memory.
        blocks: what one tenant's leases may hold together, and the size of its device.
        pool: blocks of the whole pool.
        direct, sync: see :class:`BlockPool`.
        journal: file of leases and devices; beside the pool file when not given.

    Raises:
        ResourceError: pool or journal cannot be used.
    """

    def __init__(self, clock, path=None, *, blocks=131_072, pool=1 << 23, direct=False, sync="none", journal=None):
        self.pool = BlockPool(path, pool, direct=direct, sync=sync)
        self.volumes, self.lock = {}, threading.Lock()
        if path is not None:
            journal = Journal(journal or os.fspath(path) + ".leases")
        self.leases = LeaseEngine("blocks", self.pool, clock, quota=blocks, default_amount=128, journal=journal)
        self.pool.device.table = self.leases.table
        self.flusher = threading.Event()
        if sync == "interval":
            threading.Thread(target=flush_until, args=(self.flusher, self.pool), name="block-flusher",
                             daemon=True).start()

    def volume(self, str tenant):
        """The tenant's device, as large as its quota; made when first asked for, grown when the quota grew.

        A smaller quota hides the blocks behind it and destroys nothing.
        """
        cdef Volume volume
        with self.lock:
            blocks = self.leases.tenant(tenant).quota
            key = "device:" + tenant
            if key not in self.leases.notes:
                self.leases.carve(key, blocks)
            volume = self.volumes.setdefault(tenant, Volume())
            if volume.view.blocks != blocks:
                with nogil:
                    volume_freeze(&volume.view)
                try:
                    self.resize(volume, key, blocks)
                finally:
                    volume_thaw(&volume.view)
            return volume

    cdef resize(self, Volume volume, str key, blocks):
        """Give a device, which nobody uses now, its size and where there is not enough room a larger extent.

        A crash leaves the old extent or the new one in the journal.
        """
        start, units, _ = self.leases.notes[key]
        if blocks > units * (UNIT // BLOCK):
            self.leases.carve(key, blocks, copy_from=(start, units))
            self.leases.put_back(start, units)
            start, _, _ = self.leases.notes[key]
        volume.view.start, volume.view.blocks = start * UNIT, blocks

    def truncate(self, str tenant, blocks):
        """Set the tenant's size: its device is cut off (and cleared behind) or extended by zeros."""
        self.volume(tenant)
        self.leases.set_quota(tenant, blocks)
        volume = self.volume(tenant)
        start, units, _ = self.leases.notes["device:" + tenant]
        begin, end = start * UNIT + blocks * BLOCK, (start + units) * UNIT
        if begin < end:
            os.pwrite(self.pool.plain, bytes(end - begin), begin)
        return volume

    def transfer(self, str tenant, id, lba, bytearray buffer, bint writing):
        """Move one block between a lease and a buffer of 512 bytes.

        Raises:
            LeaseError: the lease is not usable, the block beyond its end, or the device failed.
        """
        cdef uint32_t number = self.leases.tenant(tenant).number
        cdef uint64_t lease = id, block = lba
        cdef uint8_t* at = buffer
        cdef int status
        if len(buffer) != BLOCK:
            raise ValueError(f"a block has {BLOCK} bytes, not {len(buffer)}")
        with nogil:
            status = lease_transfer(&self.pool.device, NULL, number, lease, block, at, writing)
        if status:
            raise LeaseError(status, resource="blocks")

    def read(self, str tenant, id, lba):
        """One block of a lease."""
        buffer = bytearray(BLOCK)
        self.transfer(tenant, id, lba, buffer, False)
        return bytes(buffer)

    def write(self, str tenant, id, lba, data):
        """Write one block of a lease."""
        self.transfer(tenant, id, lba, bytearray(data), True)

    def read_device(self, str tenant, lba):
        """One block of the tenant's device."""
        buffer = bytearray(BLOCK)
        self.transfer_device(tenant, lba, buffer, False)
        return bytes(buffer)

    def write_device(self, str tenant, lba, data):
        """Write one block of the tenant's device."""
        self.transfer_device(tenant, lba, bytearray(data), True)

    def transfer_device(self, str tenant, lba, bytearray buffer, bint writing):
        """Move one block between the tenant's device and a buffer of 512 bytes."""
        cdef Volume volume = self.volume(tenant)
        cdef uint64_t block = lba
        cdef uint8_t* at = buffer
        cdef int status
        if len(buffer) != BLOCK:
            raise ValueError(f"a block has {BLOCK} bytes, not {len(buffer)}")
        with nogil:
            status = volume_transfer(&self.pool.device, &volume.view, block, at, writing)
        if status:
            raise LeaseError(status, resource="blocks")

    def close(self):
        """Flush, and close pool and journal; leases that are active go on with the next start."""
        self.flusher.set()
        self.leases.close()
        self.pool.close()


def flush_until(stop, pool):
    """Flush a pool once a second until `stop` is set."""
    while not stop.wait(FLUSH_SECONDS):
        pool.flush()
