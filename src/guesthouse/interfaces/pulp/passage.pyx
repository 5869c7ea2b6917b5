# cython: language_level=3
"""In and out of a cell in one go: allocate, write, enter, read, free (spec/pulp.md 2.3).

What `memory` does step by step happens here without returning to Python in between; the GIL is released
while the guest runs.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from guesthouse.engine.abi cimport api
from guesthouse.engine.core cimport Instance, Record, func_t, monotonic, span, val_t

from guesthouse.engine import Exit, OutOfBounds
from guesthouse.errors import Trap
from guesthouse.interfaces.pulp.errors import AllocationFailed, NotAProvider

cdef enum:
    SMALLEST_BLOCK = 33     # see memory.SMALLEST_BLOCK
    OUT_CELLS = 8           # where pulp_on_call leaves address and length

cdef inline bint failed(Way* way, func_t* function, val_t* values, size_t n) noexcept nogil:
    way.error = api.func_call(way.context, function, values, n, &way.trap)
    return way.error != NULL or way.trap != NULL


cdef Stage allocate(Way* way, uint64_t size) noexcept nogil:
    """Get a block from the guest; never a small one."""
    cdef val_t values[1]
    way.asked = <uint32_t>(size if size > SMALLEST_BLOCK else SMALLEST_BLOCK)
    values[0].u64 = way.asked
    if failed(way, way.alloc, values, 1):
        return IN_ALLOC
    way.block = values[0].u32
    return DONE if way.block else NULL_BLOCK


cdef Stage release(Way* way, uint32_t pointer, uint32_t size) noexcept nogil:
    cdef val_t values[2]
    if way.free == NULL:
        return DONE
    values[0].u64 = pointer
    values[1].u64 = size
    return IN_FREE if failed(way, way.free, values, 2) else DONE


cdef Stage provide(Way* way, Record* record, const uint8_t* name, uint32_t named,
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


cdef Stage hand_over(Way* way, Record* record, const uint8_t* data, uint32_t length) noexcept nogil:
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


cdef class Passage:
    """The entries of one instance, looked up once, and the ways through them.

    All of them raise `NotAProvider` when the guest has no ``pulp_alloc``, `AllocationFailed` when that trapped,
    returned null or a block outside the memory, and what `Instance.invoke` raises.

    Args:
        instance: the guest.
        cell: for messages.
    """

    def __init__(self, Instance instance not None, str cell not None):
        self.instance, self.cell = instance, cell

    cdef func_t* find(self, str name) except? NULL:
        return self.instance.lookup(name) if self.instance.exports(name) else NULL

    cdef int prepare(self, Way* way) except -1:
        """Look up what a passage needs; the instance is entered afterwards, once for all of it."""
        cdef Record* record = self.instance.alive()
        if self.alloc == NULL:
            self.alloc = self.find("pulp_alloc")
            self.init_entry, self.step_entry = self.find("pulp_init"), self.find("pulp_step")
            self.call_entry = self.find("pulp_on_call")
            if self.instance.signature("pulp_free") == ("ii", ""):
                self.free = self.find("pulp_free")
        if self.alloc == NULL:
            raise NotAProvider(self.cell, "pulp_alloc")
        memset(way, 0, sizeof(Way))
        way.context = record.context
        way.alloc, way.free = self.alloc, self.free
        return 0

    cdef int settle(self, Way* way, Stage stage, str entry) except -1:
        """Raise what went wrong; a fault of pulp_free alone is nobody's business."""
        if stage == DONE:
            return 0
        if stage == NULL_BLOCK:
            raise AllocationFailed("pulp_alloc returned null", guest=self.cell)
        if stage == BAD_BLOCK:
            raise AllocationFailed("pulp_alloc returned a block outside the memory", guest=self.cell)
        function = {IN_ALLOC: "pulp_alloc", IN_FREE: "pulp_free"}.get(stage, entry)
        error = self.instance.failure(way.error, way.trap, function)
        if stage == IN_FREE and isinstance(error, (Trap, Exit)):
            return 0
        if stage == IN_ALLOC and isinstance(error, Trap):
            raise AllocationFailed(f"pulp_alloc trap: {error.reason}", guest=self.cell) from error
        raise error

    def init(self, bytes data not None):
        """Run ``pulp_init`` on at least one byte in a block of its own, which is freed; returns the code."""
        cdef Way way
        self.prepare(&way)
        way.entry = self.init_entry
        return self.hand(&way, "pulp_init", data)

    def step(self, bytes data not None):
        """Run ``pulp_step`` on an envelope in a block of its own, which is freed; returns the code."""
        cdef Way way
        self.prepare(&way)
        way.entry = self.step_entry
        return self.hand(&way, "pulp_step", data)

    cdef int32_t hand(self, Way* way, str entry, bytes data) except? -1:
        cdef Stage stage
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(data)
        self.instance.enter()
        try:
            with nogil:
                stage = hand_over(way, self.instance.record, start, length)
            if stage != DONE:
                self.settle(way, stage, entry)
            return way.code
        finally:
            self.instance.exit()

    def idle(self, bytes envelope not None):
        """Run ``pulp_step`` on an envelope without payload, in the one block that all of these use.

        Returns:
            The code, signed.

        Raises:
            OutOfBounds: the block is not inside the memory.
        """
        if PyBytes_GET_SIZE(envelope) != HEADER:
            raise ValueError(f"an envelope without payload has {HEADER} bytes, not {len(envelope)}")
        if not self.kept:
            self.kept = self.room(HEADER)
        return self.tick(<const uint8_t*>PyBytes_AS_STRING(envelope), monotonic())

    cdef bint can_tick(self) noexcept:
        """Whether `tick` may be called: the guest lives, and `idle` has got the block."""
        return self.kept != 0 and self.instance.record != NULL and not self.instance.broken

    cdef int32_t tick(self, const uint8_t* envelope, int64_t now) except? -1:
        """`idle` for one who has just looked at the clock."""
        cdef Record* record = self.instance.record
        cdef uint8_t* place = span(record, self.kept, HEADER)
        cdef val_t values[2]
        cdef void* error
        cdef void* trap = NULL
        if place == NULL:
            raise OutOfBounds(self.kept, HEADER, record.size)
        memcpy(place, envelope, HEADER)
        values[0].u64, values[1].u64 = self.kept, HEADER
        self.instance.enter_at(now)
        try:
            with nogil:
                error = api.func_call(record.context, self.step_entry, values, 2, &trap)
            if error != NULL or trap != NULL:
                raise self.instance.failure(error, trap, "pulp_step")
            return values[0].i32
        finally:
            self.instance.exit()

    def call(self, bytes name not None, bytes args not None, uint64_t limit):
        """Run ``pulp_on_call``, copy the response and free it.

        Args:
            name: the function called.
            args: its arguments.
            limit: bytes that a response may have; a longer one is neither copied nor freed.

        Returns:
            Code (signed), response, and its length as the guest gave it.

        Raises:
            OutOfBounds: the response is not inside the memory.
        """
        cdef Way way
        cdef Stage stage
        cdef uint8_t* place
        cdef const uint8_t* named = <const uint8_t*>PyBytes_AS_STRING(name)
        cdef const uint8_t* given = <const uint8_t*>PyBytes_AS_STRING(args)
        cdef uint32_t named_len = <uint32_t>PyBytes_GET_SIZE(name)
        cdef uint32_t given_len = <uint32_t>PyBytes_GET_SIZE(args)
        cdef Instance instance = self.instance
        self.prepare(&way)
        way.entry = self.call_entry
        instance.enter()
        try:
            with nogil:
                stage = provide(&way, instance.record, named, named_len, given, given_len)
            self.settle(&way, stage, "pulp_on_call")
            if way.code != 0 or way.pointer == 0 or way.length == 0 or way.length > limit:
                return way.code, b"", way.length if way.pointer else 0
            place = span(instance.record, way.pointer, way.length)
            if place == NULL:
                raise OutOfBounds(way.pointer, way.length, instance.record.size)
            response = PyBytes_FromStringAndSize(<char*>place, way.length)
            with nogil:
                stage = release(&way, way.pointer, way.length)
            self.settle(&way, stage, "pulp_on_call")
            return 0, response, way.length
        finally:
            instance.exit()

    def give(self, bytes data not None, uint32_t pointer_out, uint32_t length_out):
        """Put the result of an import into a block that the guest owns, and say where; see `memory.deliver`.

        Returns:
            0, 7 (no block) or 8 (an address is outside the memory).

        Raises:
            Exit, CallError: the call is over; traps of ``pulp_alloc`` are code 7.
        """
        cdef uint8_t* place
        cdef Record* record = self.instance.alive()
        cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(data)
        cdef uint32_t block = 0
        if span(record, pointer_out, 4) == NULL or span(record, length_out, 4) == NULL:
            return 8
        if length:
            try:
                block = self.room(length)
            except (NotAProvider, AllocationFailed):
                return 7
            place = span(record, block, length)
            if place == NULL:
                return 8
            memcpy(place, PyBytes_AS_STRING(data), length)
        place = span(record, pointer_out, 4)
        memcpy(place, &block, 4)
        place = span(record, length_out, 4)
        memcpy(place, &length, 4)
        return 0

    cdef uint32_t room(self, uint32_t size) except? 0:
        """Get a block from the guest."""
        cdef Way way
        cdef Stage stage
        self.prepare(&way)
        self.instance.enter()
        try:
            with nogil:
                stage = allocate(&way, size)
            self.settle(&way, stage, "pulp_alloc")
            return way.block
        finally:
            self.instance.exit()
