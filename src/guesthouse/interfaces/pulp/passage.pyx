# cython: language_level=3
"""In and out of a cell in one go: allocate, write, enter, read, free (spec/pulp.md 2.3).

What `memory` does step by step for host functions happens here without returning to Python in between;
the GIL is released while the guest runs.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from guesthouse.engine.abi cimport api
from guesthouse.engine.core cimport Instance, Record, func_t, span, val_t

from guesthouse.engine import Exit, OutOfBounds
from guesthouse.errors import Trap
from guesthouse.interfaces.pulp.errors import AllocationFailed, NotAProvider

cdef enum:
    SMALLEST_BLOCK = 33     # see memory.SMALLEST_BLOCK
    OUT_CELLS = 8           # where pulp_on_call leaves address and length

cdef enum Stage:
    DONE = 0
    IN_ALLOC = 1
    NULL_BLOCK = 2
    BAD_BLOCK = 3
    IN_ENTRY = 4
    IN_FREE = 5

# One way through the guest: what it needs, and what came of it.
ctypedef struct Passage:
    void* context
    func_t* alloc
    func_t* entry
    func_t* free
    void* error
    void* trap
    uint32_t block
    uint32_t asked
    uint32_t pointer        # what pulp_on_call left in the out cells
    uint32_t length
    int32_t code


cdef inline bint failed(Passage* way, func_t* function, val_t* values, size_t n) noexcept nogil:
    way.error = api.func_call(way.context, function, values, n, &way.trap)
    return way.error != NULL or way.trap != NULL


cdef Stage allocate(Passage* way, uint64_t size) noexcept nogil:
    """Get a block from the guest; never a small one."""
    cdef val_t values[1]
    way.asked = <uint32_t>(size if size > SMALLEST_BLOCK else SMALLEST_BLOCK)
    values[0].u64 = way.asked
    if failed(way, way.alloc, values, 1):
        return IN_ALLOC
    way.block = values[0].u32
    return DONE if way.block else NULL_BLOCK


cdef Stage release(Passage* way, uint32_t pointer, uint32_t size) noexcept nogil:
    cdef val_t values[2]
    if way.free == NULL:
        return DONE
    values[0].u64 = pointer
    values[1].u64 = size
    return IN_FREE if failed(way, way.free, values, 2) else DONE


cdef Stage provide(Passage* way, Record* record, const uint8_t* name, uint32_t named,
                   const uint8_t* args, uint32_t given) noexcept nogil:
    """pulp_on_call: one block holds the cleared out cells, the name and the arguments."""
    cdef val_t values[6]
    cdef uint8_t* place
    cdef Stage stage = allocate(way, <uint64_t>OUT_CELLS + named + given)
    if stage != DONE:
        return stage
    place = span(record, way.block, <uint64_t>OUT_CELLS + named + given)
    if place == NULL:
        return BAD_BLOCK
    memset(place, 0, OUT_CELLS)
    memcpy(place + OUT_CELLS, name, named)
    memcpy(place + OUT_CELLS + named, args, given)
    values[0].u64 = way.block + OUT_CELLS if named else 0
    values[1].u64 = named
    values[2].u64 = way.block + OUT_CELLS + named if given else 0
    values[3].u64 = given
    values[4].u64 = way.block
    values[5].u64 = way.block + 4
    if failed(way, way.entry, values, 6):
        return IN_ENTRY
    way.code = values[0].i32
    place = span(record, way.block, OUT_CELLS)
    memcpy(&way.pointer, place, 4)
    memcpy(&way.length, place + 4, 4)
    return release(way, way.block, way.asked)


cdef Stage hand_over(Passage* way, Record* record, const uint8_t* data, uint32_t length) noexcept nogil:
    """An entry of type (pointer, length) -> code with a block of its own."""
    cdef val_t values[2]
    cdef uint8_t* place
    cdef Stage stage = allocate(way, length)
    if stage != DONE:
        return stage
    place = span(record, way.block, length)
    if place == NULL:
        return BAD_BLOCK
    memcpy(place, data, length)
    values[0].u64 = way.block
    values[1].u64 = length
    if failed(way, way.entry, values, 2):
        return IN_ENTRY
    way.code = values[0].i32
    return release(way, way.block, way.asked)


cdef int prepare(Instance instance, Passage* way, str entry, str cell) except -1:
    """Look up what the passage needs; the instance is entered afterwards, once for all of it."""
    cdef Record* record = instance.alive()
    memset(way, 0, sizeof(Passage))
    way.context = record.context
    if not instance.exports("pulp_alloc"):
        raise NotAProvider(cell, "pulp_alloc")
    way.alloc = instance.lookup("pulp_alloc")
    way.entry = instance.lookup(entry)
    if instance.signature("pulp_free") == ("ii", ""):
        way.free = instance.lookup("pulp_free")
    return 0


cdef int settle(Instance instance, Passage* way, Stage stage, str entry, str cell) except -1:
    """Raise what went wrong; a fault of pulp_free alone is nobody's business."""
    if stage == DONE:
        return 0
    if stage == NULL_BLOCK:
        raise AllocationFailed("pulp_alloc returned null", guest=cell)
    if stage == BAD_BLOCK:
        raise AllocationFailed("pulp_alloc returned a block outside the memory", guest=cell)
    function = {IN_ALLOC: "pulp_alloc", IN_FREE: "pulp_free"}.get(stage, entry)
    error = instance.failure(way.error, way.trap, function)
    if stage == IN_FREE and isinstance(error, (Trap, Exit)):
        return 0
    if stage == IN_ALLOC and isinstance(error, Trap):
        raise AllocationFailed(f"pulp_alloc trap: {error.reason}", guest=cell) from error
    raise error


def hand(Instance instance not None, str entry not None, bytes data not None, str cell):
    """Run an entry of type (pointer, length) -> code on bytes in a block of their own; frees the block.

    Args:
        instance: the guest.
        entry: ``pulp_init`` or ``pulp_step``.
        data: at least one byte.
        cell: for messages.

    Returns:
        The code, signed.

    Raises:
        NotAProvider: the guest has no ``pulp_alloc``.
        AllocationFailed: it trapped, returned null or a block outside the memory.
        Exit, CallError: as `Instance.invoke`.
    """
    cdef Passage way
    cdef Stage stage
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(data)
    prepare(instance, &way, entry, cell)
    instance.enter()
    try:
        with nogil:
            stage = hand_over(&way, instance.record, start, length)
        settle(instance, &way, stage, entry, cell)
        return way.code
    finally:
        instance.exit()


def again(Instance instance not None, str entry not None, uint32_t block, bytes data not None):
    """Run an entry of type (pointer, length) -> code on bytes in a block that is kept.

    Args:
        instance: the guest.
        entry: ``pulp_step``.
        block: address of a block of at least that size.
        data: what to write there.

    Returns:
        The code, signed.

    Raises:
        OutOfBounds: the block is not inside the memory.
        Exit, CallError: as `Instance.invoke`.
    """
    cdef val_t values[2]
    cdef Passage way
    cdef bint wrong
    cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(data)
    cdef Record* record = instance.alive()
    cdef uint8_t* place = span(record, block, length)
    if place == NULL:
        raise OutOfBounds(block, length, record.size)
    memcpy(place, PyBytes_AS_STRING(data), length)
    memset(&way, 0, sizeof(Passage))
    way.context = record.context
    way.entry = instance.lookup(entry)
    values[0].u64 = block
    values[1].u64 = length
    instance.enter()
    try:
        with nogil:
            wrong = failed(&way, way.entry, values, 2)
        if wrong:
            raise instance.failure(way.error, way.trap, entry)
        return values[0].i32
    finally:
        instance.exit()


def call(Instance instance not None, bytes name not None, bytes args not None, uint64_t limit, str cell):
    """Run ``pulp_on_call``, copy the response and free it.

    Args:
        instance: the guest.
        name: the function called.
        args: its arguments.
        limit: bytes that a response may have; a longer one is neither copied nor freed.
        cell: for messages.

    Returns:
        Code (signed), response, and its length as the guest gave it.

    Raises:
        NotAProvider: the guest has no ``pulp_alloc``.
        AllocationFailed: it trapped, returned null or a block outside the memory.
        OutOfBounds: the response is not inside the memory.
        Exit, CallError: as `Instance.invoke`.
    """
    cdef Passage way
    cdef Stage stage
    cdef uint8_t* place
    cdef const uint8_t* named = <const uint8_t*>PyBytes_AS_STRING(name)
    cdef const uint8_t* given = <const uint8_t*>PyBytes_AS_STRING(args)
    cdef uint32_t named_len = <uint32_t>PyBytes_GET_SIZE(name)
    cdef uint32_t given_len = <uint32_t>PyBytes_GET_SIZE(args)
    cdef Record* record
    prepare(instance, &way, "pulp_on_call", cell)
    instance.enter()
    record = instance.record
    try:
        with nogil:
            stage = provide(&way, record, named, named_len, given, given_len)
        settle(instance, &way, stage, "pulp_on_call", cell)
        if way.code != 0 or way.pointer == 0 or way.length == 0 or way.length > limit:
            return way.code, b"", way.length if way.pointer else 0
        place = span(record, way.pointer, way.length)
        if place == NULL:
            raise OutOfBounds(way.pointer, way.length, record.size)
        response = PyBytes_FromStringAndSize(<char*>place, way.length)
        with nogil:
            stage = release(&way, way.pointer, way.length)
        settle(instance, &way, stage, "pulp_on_call", cell)
        return 0, response, way.length
    finally:
        instance.exit()


def give(Instance instance not None, bytes data not None, uint32_t pointer_out, uint32_t length_out, str cell):
    """Put the result of an import into a block that the guest owns, and tell it where; see `memory.deliver`.

    Returns:
        0, 7 (no block) or 8 (an address is outside the memory).

    Raises:
        Exit, CallError: the call is over; traps of ``pulp_alloc`` are code 7.
    """
    cdef Passage way
    cdef Stage stage
    cdef uint8_t* place
    cdef Record* record = instance.alive()
    cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(data)
    cdef uint32_t block = 0
    if span(record, pointer_out, 4) == NULL or span(record, length_out, 4) == NULL:
        return 8
    if length:
        if not instance.exports("pulp_alloc"):
            return 7
        memset(&way, 0, sizeof(Passage))
        way.context = record.context
        way.alloc = instance.lookup("pulp_alloc")
        instance.enter()
        try:
            with nogil:
                stage = allocate(&way, length)
            try:
                settle(instance, &way, stage, "pulp_alloc", cell)
            except AllocationFailed:
                return 7
        finally:
            instance.exit()
        block = way.block
        place = span(record, block, length)
        if place == NULL:
            return 8
        memcpy(place, PyBytes_AS_STRING(data), length)
    place = span(record, pointer_out, 4)
    memcpy(place, &block, 4)
    place = span(record, length_out, 4)
    memcpy(place, &length, 4)
    return 0
