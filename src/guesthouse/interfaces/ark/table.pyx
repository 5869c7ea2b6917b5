# cython: language_level=3
"""The handles of one calling instance: what its guest's thread does with them, without the GIL.

A request is *running*, then *done*, then *retrieved* (gone): section 6 of the module-run specification.
The guest's thread looks requests up and retrieves them, while workers complete them.  The only words that
both sides write are a slot's ``state`` and ``holders`` and the table's ``retained``; they are accessed
atomically, and everything else of a request is written before ``state`` says DONE.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "sched.h":
    int sched_yield() nogil

# The codes of the Ark API that are answered here (codes.Code names them all).
cdef enum:
    SUCCESS = 0
    INVALID_ARGUMENTS = 5
    UNAVAILABLE = 7

# A guest that asks for a request in vain yields its core once in so many times, and has the scheduler told
# once in so many times.
cdef enum:
    POLLS_PER_YIELD = 64
    POLLS_PER_WORD = 4096

# Cells of an empty table; a power of two.
cdef enum:
    FEW = 16


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    # A bijection of 64-bit words (the finaliser of SplitMix64): distinct in, distinct out.
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef slot_t* find(table_t* table, uint64_t handle, int kind) noexcept nogil:
    cdef uint64_t at = handle & table.mask
    if table.cells == NULL:
        return NULL
    while table.cells[at] != NULL:
        if table.cells[at].handle == handle:
            return table.cells[at] if table.cells[at].kind == kind else NULL
        at = (at + 1) & table.mask
    return NULL


cdef void insert(table_t* table, slot_t* slot) noexcept nogil:
    cdef uint64_t at = slot.handle & table.mask
    while table.cells[at] != NULL:
        at = (at + 1) & table.mask
    table.cells[at] = slot
    table.used += 1


cdef bint widen(table_t* table) noexcept nogil:
    # Makes room for one more slot; false when there is no memory for that.
    cdef slot_t** before = table.cells
    cdef uint64_t cells = 0 if before == NULL else table.mask + 1
    cdef uint64_t wanted = FEW if before == NULL else 2 * cells
    cdef uint64_t at
    cdef slot_t** after
    if 2 * table.used < cells:
        return True
    after = <slot_t**>calloc(wanted, sizeof(slot_t*))
    if after == NULL:
        return False
    table.cells = after
    table.mask = wanted - 1
    table.used = 0
    for at in range(cells):
        if before[at] != NULL:
            insert(table, before[at])
    free(before)
    return True


cdef slot_t* issue(table_t* table, int kind) noexcept nogil:
    cdef slot_t* slot
    if not widen(table):
        return NULL
    slot = <slot_t*>calloc(1, sizeof(slot_t))
    if slot == NULL:
        return NULL
    while slot.handle == 0:
        table.issued += 1
        slot.handle = mix(table.issued ^ table.key)
    slot.table = table
    slot.kind = kind
    slot.holders = 2 if kind == REQUEST else 1
    insert(table, slot)
    if kind == REQUEST:
        table.requests += 1
    else:
        table.functions += 1
    return slot


cdef void drop(table_t* table, slot_t* slot) noexcept nogil:
    # No tombstones: entries behind the hole move up where their home allows it.
    cdef uint64_t hole = slot.handle & table.mask
    cdef uint64_t at, home
    while table.cells[hole] != slot:
        hole = (hole + 1) & table.mask
    at = (hole + 1) & table.mask
    while table.cells[at] != NULL:
        home = table.cells[at].handle & table.mask
        if ((at - home) & table.mask) >= ((at - hole) & table.mask):
            table.cells[hole] = table.cells[at]
            hole = at
        at = (at + 1) & table.mask
    table.cells[hole] = NULL
    table.used -= 1
    if slot.kind == REQUEST:
        table.requests -= 1
    else:
        table.functions -= 1
    if slot.output != NULL:
        with gil:
            Py_DECREF(<object>slot.output)
        slot.output = slot.data = NULL
    let_go(slot)


cdef void let_go(slot_t* slot) noexcept nogil:
    if add_int(&slot.holders, -1) == 0:
        free(slot.data)
        free(slot)


cdef bint accepts(table_t* table, int64_t memory) noexcept nogil:
    return (table.launches and table.requests < table.capacity
            and load_long(&table.retained) + memory <= table.budget)


cdef uint32_t look(table_t* table, uint64_t handle, uint32_t* ready, uint32_t* size) noexcept nogil:
    cdef slot_t* slot = find(table, handle, REQUEST)
    if slot == NULL:
        return INVALID_ARGUMENTS
    ready[0] = load_int(&slot.state) == DONE
    size[0] = 0
    if ready[0]:
        size[0] = slot.size
        return SUCCESS
    # A guest that spins takes a core from the very run that it waits for: step aside now and then, and
    # let the scheduler know, which may lend this thread's place to a run that has not begun (section 7).
    slot.polls += 1
    if slot.polls % POLLS_PER_YIELD == 0:
        sched_yield()
        if slot.polls % POLLS_PER_WORD == 0:
            with gil:
                (<object>table.owner).starve(handle)
    return SUCCESS


cdef uint32_t take(table_t* table, uint64_t handle, uint8_t* target, uint32_t capacity,
                   uint32_t* written) noexcept nogil:
    cdef slot_t* slot = find(table, handle, REQUEST)
    cdef uint32_t code
    written[0] = 0
    if slot == NULL:
        return INVALID_ARGUMENTS
    if load_int(&slot.state) != DONE:
        return UNAVAILABLE
    code = slot.code
    if code == SUCCESS:
        if capacity < slot.size:
            return INVALID_ARGUMENTS
        if slot.size:
            memcpy(target, slot.data, slot.size)
        written[0] = slot.size
    add_long(&table.retained, -<int64_t>slot.size)
    store_int(&slot.state, RETRIEVED)
    drop(table, slot)
    return code
