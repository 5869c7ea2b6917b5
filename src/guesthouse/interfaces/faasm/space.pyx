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
from guesthouse.resources.state.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

from guesthouse.errors import MemoryLimit

cdef int SLOT = claim_slot("faasm.space")


cdef class SpaceKeeper(Attachment):
    """Owns the space of one instance and undoes its mappings in time."""

    def __cinit__(self):
        self.pointer = &self.space
        pthread_mutex_init(&self.space.mutex, NULL)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.space.mutex)

    cdef void detach(self) noexcept:
        cdef Space* space = &self.space
        cdef Window* window
        while space.count:
            space.count -= 1
            window = &space.windows[space.count]
            # The pool would hand these very pages to the next instance in this slot. What is replaced is
            # whole pages of wasm, so that the kernel can join it with its neighbours again.
            pages.unmap_for_certain(
                self.record.base + window.address,
                (window.mapped + WASM_PAGE - 1) & ~<uint64_t> (WASM_PAGE - 1))
            values.release(window.value)
        free(space.windows)
        space.windows = NULL
        space.room = 0


cdef class SharedSpace(Attachment):
    """Keeps the space of the main thread's instance for another thread's."""


def share(Instance main not None, Instance thread not None):
    """Let a thread's instance have the space of the main one, over the shared memory of both."""
    cdef Space* space = space_of(main.alive())
    cdef SharedSpace part
    if space == NULL:
        raise MemoryError("no memory for the guest's address space")
    part = SharedSpace()
    part.pointer = space
    for attachment in main.attachments:
        if isinstance(attachment, SpaceKeeper):
            part.keeper = attachment
    thread.attach(SLOT, part)


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
        lock(space)
        address = extend(record, space, length)
        unlock(space)
    if address < 0:
        record.ending = NOT_ENDING
        raise MemoryLimit(record.size + length, record.memory_limit)
    return address


cdef void make_space(Record* record) noexcept with gil:
    cdef SpaceKeeper keeper
    try:
        keeper = SpaceKeeper()
        keeper.record = record
        keeper.space.floor = keeper.space.top = keeper.space.brk = memory_size(record)
        (<Instance> record.owner).attach(SLOT, keeper)
    except BaseException:
        trap(record, b"the host has no memory left for the guest's address space")


cdef Space* space_of(Record* record) noexcept nogil:
    if record.slots[SLOT] == NULL:
        make_space(record)
    return <Space*> record.slots[SLOT]


cdef void lock(Space* space) noexcept nogil:
    pthread_mutex_lock(&space.mutex)


cdef void unlock(Space* space) noexcept nogil:
    pthread_mutex_unlock(&space.mutex)


cdef void look(Record* record, Space* space) noexcept nogil:
    cdef uint64_t size = memory_size(record)
    if size != space.top:
        space.top = space.brk = size


cdef uint64_t current(Record* record, Space* space) noexcept nogil:
    look(record, space)
    return space.brk


cdef int64_t extend(Record* record, Space* space, uint64_t length) noexcept nogil:
    cdef uint64_t address, tail, more
    cdef int64_t grown
    length = (length + WASM_PAGE - 1) & ~<uint64_t> (WASM_PAGE - 1)
    look(record, space)
    while True:
        address, tail = space.brk, space.top - space.brk
        if length <= tail:
            space.brk = address + length
            return <int64_t> address
        more = length - tail
        grown = memory_grow(record, more // WASM_PAGE)
        if grown < 0:
            end(record, ENDING_MEMORY)
            return -1
        grown *= WASM_PAGE
        if tail == 0:
            address = <uint64_t> grown
        # Where a thread of the guest grew its memory at the same time, the tail is not next to ours.
        space.top = <uint64_t> grown + more
        if <uint64_t> grown == address + tail:
            space.brk = address + length
            return <int64_t> address
        space.brk = space.top


cdef int shrink(Record* record, Space* space, uint64_t address) noexcept nogil:
    cdef size_t i = 0
    cdef Window* window
    look(record, space)
    if address < space.floor or address > space.brk or address % WASM_PAGE:
        return -1
    if address == space.brk:
        return 0
    # Not filled with zeros: a value that is mapped there must not be touched.
    if pages.unmap(record.base + address, space.brk - address):
        return -1
    space.brk = address
    while i < space.count:
        window = &space.windows[i]
        if window.address >= address:
            pages.unmapped()
            values.release(window.value)
            space.count -= 1
            window[0] = space.windows[space.count]
            continue
        if window.address + window.mapped > address:
            window.torn = 1
        i += 1
    return 0
