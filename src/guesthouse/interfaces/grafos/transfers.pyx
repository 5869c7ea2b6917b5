# cython: language_level=3
"""Data transfers, clock and sizes: host functions that run without the GIL (spec fabric.md 4 and 5).

Order of checks: guest range (-7), hello (-1), lease (-8, -3, -6, -2), bounds (-4); a failing call changes
neither guest memory nor the resource (spec fabric.md 3.5).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

from guesthouse.engine.core cimport OK, Record, memory_size, span, val_t
from guesthouse.interfaces.grafos.side cimport side, side_t
from guesthouse.resources.blocks.device cimport BLOCK, lease_transfer, volume_transfer
from guesthouse.resources.leases.clock cimport clock_ns
from guesthouse.resources.leases.table cimport (
    CAPACITY_EXCEEDED, DISCONNECTED, INVALID_ARGUMENT, UNSUPPORTED,
)
from guesthouse.resources.memory.arena cimport arena_read, arena_write

cdef enum:
    MOST_RANGES = 4

# Where a host function's pointers are, to check them when the function itself will not run.
ctypedef struct ranges_t:
    int count
    int pointer[MOST_RANGES]        # argument that holds the address
    int length[MOST_RANGES]         # argument that holds the length, -1 for none
    uint64_t size[MOST_RANGES]      # bytes, per unit of length where there is one


cdef inline int answer(val_t* args, int64_t status) noexcept nogil:
    args[0].u64 = <uint32_t>status
    return OK


# -- memory: window (offset i64, ptr i32, len i32) and leases (lease i64, offset i64, ptr i32, len i32) ---

cdef inline int window_access(Record* record, val_t* args, bint writing) noexcept nogil:
    cdef side_t* own = side(record)
    cdef uint64_t offset = args[0].u64
    cdef uint64_t length = args[2].u32
    cdef uint8_t* guest = span(record, args[1].u32, length)
    if guest == NULL and (length != 0 or args[1].u32 > memory_size(record)):
        return answer(args, INVALID_ARGUMENT)
    if own.window == NULL:
        return answer(args, DISCONNECTED)
    if offset > own.window.size or length > own.window.size - offset:
        return answer(args, CAPACITY_EXCEEDED)
    if writing:
        memcpy(own.window.base + offset, guest, length)
        record.bytes_in += length
    else:
        memcpy(guest, own.window.base + offset, length)
        record.bytes_out += length
    return answer(args, 0)


cdef int fbmu_read(Record* record, val_t* args, void* env) noexcept nogil:
    return window_access(record, args, False)


cdef int fbmu_write(Record* record, val_t* args, void* env) noexcept nogil:
    return window_access(record, args, True)


cdef int fbmu_read_lease(Record* record, val_t* args, void* env) noexcept nogil:
    cdef side_t* own = side(record)
    cdef uint64_t length = args[3].u32
    cdef uint8_t* guest = span(record, args[2].u32, length)
    if guest == NULL and (length != 0 or args[2].u32 > memory_size(record)):
        return answer(args, INVALID_ARGUMENT)
    record.bytes_out += length
    return answer(args, arena_read(own.arena, &own.memory.cache, own.memory.account.number, args[0].u64, args[1].u64,
                                   guest, length))


cdef int fbmu_write_lease(Record* record, val_t* args, void* env) noexcept nogil:
    cdef side_t* own = side(record)
    cdef uint64_t length = args[3].u32
    cdef uint8_t* guest = span(record, args[2].u32, length)
    if guest == NULL and (length != 0 or args[2].u32 > memory_size(record)):
        return answer(args, INVALID_ARGUMENT)
    record.bytes_in += length
    return answer(args, arena_write(own.arena, &own.memory.cache, own.memory.account.number, args[0].u64, args[1].u64,
                                    guest, length))


cdef int fbmu_get_arena_size(Record* record, val_t* args, void* env) noexcept nogil:
    cdef side_t* own = side(record)
    args[0].i64 = DISCONNECTED if own.window == NULL else <int64_t>own.window.size
    return OK


# -- blocks: device (lba i64, ptr i32) and leases (lease i64, lba i64, ptr i32) ---------------------------

cdef inline int volume_access(Record* record, val_t* args, bint writing) noexcept nogil:
    cdef side_t* own = side(record)
    cdef uint8_t* guest = span(record, args[1].u32, BLOCK)
    if guest == NULL:
        return answer(args, INVALID_ARGUMENT)
    if own.volume == NULL:
        return answer(args, DISCONNECTED)
    return answer(args, volume_transfer(own.device, own.volume, args[0].u64, guest, writing))


cdef int fbbu_read_block(Record* record, val_t* args, void* env) noexcept nogil:
    record.bytes_out += BLOCK
    return volume_access(record, args, False)


cdef int fbbu_write_block(Record* record, val_t* args, void* env) noexcept nogil:
    record.bytes_in += BLOCK
    return volume_access(record, args, True)


cdef inline int block_lease_access(Record* record, val_t* args, bint writing) noexcept nogil:
    cdef side_t* own = side(record)
    cdef uint8_t* guest = span(record, args[2].u32, BLOCK)
    if guest == NULL:
        return answer(args, INVALID_ARGUMENT)
    return answer(args, lease_transfer(own.device, &own.blocks.cache, own.blocks.account.number, args[0].u64, args[1].u64,
                                       guest, writing))


cdef int fbbu_read_block_lease(Record* record, val_t* args, void* env) noexcept nogil:
    record.bytes_out += BLOCK
    return block_lease_access(record, args, False)


cdef int fbbu_write_block_lease(Record* record, val_t* args, void* env) noexcept nogil:
    record.bytes_in += BLOCK
    return block_lease_access(record, args, True)


cdef int fbbu_get_num_blocks(Record* record, val_t* args, void* env) noexcept nogil:
    cdef side_t* own = side(record)
    args[0].i64 = DISCONNECTED if own.volume == NULL else <int64_t>own.volume.blocks
    return OK


# -- clock, and the refusal ---------------------------------------------------------------------------

cdef int unix_time_secs(Record* record, val_t* args, void* env) noexcept nogil:
    args[0].i64 = clock_ns(side(record).clock) // 1000000000
    return OK


cdef int refuse(Record* record, val_t* args, void* env) noexcept nogil:
    """What answers where the capability is not granted: ranges first, then -5 (spec fabric.md 3.5)."""
    cdef ranges_t* ranges = <ranges_t*>env
    cdef uint64_t length
    cdef int i
    for i in range(ranges.count):
        length = ranges.size[i]
        if ranges.length[i] >= 0:
            length *= args[ranges.length[i]].u32
        # A guest without any memory has no range to check: what it lacks is the grant.
        if memory_size(record) and args[ranges.pointer[i]].u32 + length > memory_size(record):
            args[0].i64 = INVALID_ARGUMENT
            return OK
    args[0].i64 = UNSUPPORTED
    return OK


def describe(ranges):
    """Lay out where a function's pointers are; returns the address, which stays valid for good.

    Args:
        ranges: ``(pointer, length, size)`` triples of argument positions; length is -1 for a fixed size.
    """
    cdef ranges_t* made = <ranges_t*>calloc(1, sizeof(ranges_t))
    if made == NULL:
        raise MemoryError()
    for pointer, length, size in ranges:
        made.pointer[made.count], made.length[made.count], made.size[made.count] = pointer, length, size
        made.count += 1
    return <uintptr_t>made


REFUSE = <uintptr_t>&refuse
FUNCTIONS = {
    "fbmu_read": <uintptr_t>&fbmu_read,
    "fbmu_write": <uintptr_t>&fbmu_write,
    "fbmu_read_lease": <uintptr_t>&fbmu_read_lease,
    "fbmu_write_lease": <uintptr_t>&fbmu_write_lease,
    "fbmu_get_arena_size": <uintptr_t>&fbmu_get_arena_size,
    "fbbu_read_block": <uintptr_t>&fbbu_read_block,
    "fbbu_write_block": <uintptr_t>&fbbu_write_block,
    "fbbu_read_block_lease": <uintptr_t>&fbbu_read_block_lease,
    "fbbu_write_block_lease": <uintptr_t>&fbbu_write_block_lease,
    "fbbu_get_num_blocks": <uintptr_t>&fbbu_get_num_blocks,
    "unix_time_secs": <uintptr_t>&unix_time_secs,
}
