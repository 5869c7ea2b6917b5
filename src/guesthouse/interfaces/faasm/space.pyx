# cython: language_level=3
"""The guest's address space as the host extends it; see ``space.pxd`` (faasm.md 2.6, 4.3).

The break of the reference is the end of memory.  Guests whose allocator grows memory itself move it,
too: whatever appeared since the host last looked belongs to the guest and is never handed out.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free

from guesthouse.engine.core cimport Instance, claim_slot
from guesthouse.engine.record cimport ENDING_MEMORY, NOT_ENDING, Record, end, memory_grow, memory_size, trap
from guesthouse.resources.state cimport arena as pages
from guesthouse.resources.state cimport values

from guesthouse.errors import MemoryLimit

cdef int SLOT = claim_slot("faasm.space")


cdef class SpaceKeeper(Attachment):
    """Owns the space of one instance and undoes its mappings in time."""

    def __cinit__(self):
        self.pointer = &self.space

    cdef void detach(self) noexcept:
        cdef Space* space = &self.space
        cdef Window* window
        while space.count:
            space.count -= 1
            window = &space.windows[space.count]
            # The pool would hand these very pages to the next instance in this slot.
            pages.unmap(space.record.base + window.address, window.mapped)
            values.release(window.value)
        free(space.windows)
        space.windows = NULL
        space.room = 0


def windows(Instance instance not None):
    """Return how many pointers into state values an instance holds."""
    cdef Space* space = <Space*> instance.alive().slots[SLOT]
    return space.count if space != NULL else 0


def reserve(Instance instance not None, length):
    """Add zero bytes to an instance's memory, rounded up to 64 KiB; return their address.

    Raises:
        MemoryLimit: there is no room for them.
    """
    cdef Record* record = instance.alive()
    cdef Space* space = space_of(record)
    cdef int64_t address = -1
    if space != NULL and 0 <= length <= 0xFFFFFFFF:
        address = extend(space, length)
    if address < 0:
        record.ending = NOT_ENDING
        raise MemoryLimit(record.size + length, record.memory_limit)
    return address


cdef void make_space(Record* record) noexcept with gil:
    cdef SpaceKeeper keeper
    try:
        keeper = SpaceKeeper()
        keeper.space.record = record
        keeper.space.floor = keeper.space.top = keeper.space.brk = memory_size(record)
        (<Instance> record.owner).attach(SLOT, keeper)
    except BaseException:
        trap(record, b"the host has no memory left for the guest's address space")


cdef Space* space_of(Record* record) noexcept nogil:
    if record.slots[SLOT] == NULL:
        make_space(record)
    return <Space*> record.slots[SLOT]


cdef void look(Space* space) noexcept nogil:
    cdef uint64_t size = memory_size(space.record)
    if size != space.top:
        space.top = space.brk = size


cdef uint64_t current(Space* space) noexcept nogil:
    look(space)
    return space.brk


cdef int64_t extend(Space* space, uint64_t length) noexcept nogil:
    cdef uint64_t address
    look(space)
    length = (length + WASM_PAGE - 1) & ~<uint64_t> (WASM_PAGE - 1)
    address = space.brk
    if length > space.top - address:
        if memory_grow(space.record, (length - (space.top - address)) // WASM_PAGE) < 0:
            end(space.record, ENDING_MEMORY)
            return -1
        space.top = memory_size(space.record)
    space.brk = address + length
    return <int64_t> address


cdef int shrink(Space* space, uint64_t address) noexcept nogil:
    cdef size_t i = 0
    cdef Window* window
    look(space)
    if address < space.floor or address > space.brk or address % WASM_PAGE:
        return -1
    if address == space.brk:
        return 0
    # Not filled with zeros: a value that is mapped there must not be touched.
    if pages.unmap(space.record.base + address, space.brk - address):
        return -1
    space.brk = address
    while i < space.count:
        window = &space.windows[i]
        if window.address >= address:
            values.release(window.value)
            space.count -= 1
            window[0] = space.windows[space.count]
            continue
        if window.address + window.mapped > address:
            window.torn = 1
        i += 1
    return 0
