# cython: language_level=3
"""The requests of one calling instance, and the host functions that touch them without the GIL.

A request is *running*, then *done*, then *retrieved* (gone): section 6 of the module-run specification.
The guest's thread looks requests up and retrieves them without the GIL, while workers complete them with
it.  The only words that both sides write are a request's ``state`` and the table's ``retained``; both are
accessed atomically, and everything else of a request is written before ``state`` says DONE.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from guesthouse.engine.core cimport OK, Attachment, Record, claim_slot, set_output, span, val_t

cdef extern from "sched.h":
    int sched_yield() nogil

cdef extern from *:
    """
    #define gh_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define gh_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define gh_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    """
    int load_int "gh_load"(int* word) nogil
    void store_int "gh_store"(int* word, int value) nogil
    int64_t load_long "gh_load"(int64_t* word) nogil
    int64_t add_long "gh_add"(int64_t* word, int64_t value) nogil

# The codes of the Ark API that are answered here (codes.Code names them all).
cdef enum:
    SUCCESS = 0
    INVALID_ARGUMENTS = 5
    UNAVAILABLE = 7

# States of a request.
cdef enum:
    RUNNING = 0
    DONE = 1
    RETRIEVED = 2
    ABANDONED = 3

# Outputs from this size on are freed as soon as they are retrieved, smaller ones at the next launch:
# waiting for the GIL is not worth a few bytes.
cdef enum:
    LARGE = 65536

# A guest that asks for a request in vain yields its core once in so many times, and has the scheduler told
# once in so many times.
cdef enum:
    POLLS_PER_YIELD = 64
    POLLS_PER_WORD = 4096

# Cells of an empty table; a power of two.
cdef enum:
    FEW = 16

# The part of a request that is used without the GIL.
ctypedef struct slot_t:
    uint64_t handle
    int state
    uint32_t code               # what retrieve answers
    uint32_t size
    uint32_t polls              # how often it was asked for before it was done
    const uint8_t* data         # inside Request.output
    void* request               # Request, which holds this slot

# Open addressing with linear probing; a NULL cell ends a probe.
ctypedef struct table_t:
    slot_t** cells
    uint64_t mask
    uint64_t count              # cells in use
    uint64_t retrieved          # slots that are RETRIEVED but still have their Request
    int64_t retained            # bytes of output that wait to be retrieved
    void* owner                 # Requests, which owns this table


# --- the table, without the GIL -----------------------------------------------------------------------

cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    # A bijection of 64-bit words (the finaliser of SplitMix64): distinct in, distinct out.
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef slot_t* find(table_t* table, uint64_t handle) noexcept nogil:
    cdef uint64_t at = handle & table.mask
    while table.cells[at] != NULL:
        if table.cells[at].handle == handle:
            return table.cells[at]
        at = (at + 1) & table.mask
    return NULL


cdef void insert(table_t* table, slot_t* slot) noexcept nogil:
    cdef uint64_t at = slot.handle & table.mask
    while table.cells[at] != NULL:
        at = (at + 1) & table.mask
    table.cells[at] = slot
    table.count += 1


cdef int widen(table_t* table) noexcept nogil:
    # Doubles the table; 0 when there is no memory for that.
    cdef slot_t** before = table.cells
    cdef uint64_t cells = table.mask + 1
    cdef uint64_t at
    cdef slot_t** after = <slot_t**>calloc(2 * cells, sizeof(slot_t*))
    if after == NULL:
        return 0
    table.cells = after
    table.mask = 2 * cells - 1
    table.count = 0
    for at in range(cells):
        if before[at] != NULL:
            insert(table, before[at])
    free(before)
    return 1


cdef void remove(table_t* table, slot_t* slot) noexcept nogil:
    # No tombstones: entries behind the hole move up where their home allows it.
    cdef uint64_t hole = slot.handle & table.mask
    cdef uint64_t at, home
    while table.cells[hole] != slot:
        if table.cells[hole] == NULL:
            return
        hole = (hole + 1) & table.mask
    at = (hole + 1) & table.mask
    while table.cells[at] != NULL:
        home = table.cells[at].handle & table.mask
        if ((at - home) & table.mask) >= ((at - hole) & table.mask):
            table.cells[hole] = table.cells[at]
            hole = at
        at = (at + 1) & table.mask
    table.cells[hole] = NULL
    table.count -= 1


cdef uint32_t look(table_t* table, uint64_t handle, uint32_t* ready, uint32_t* size) noexcept nogil:
    # Section 5, is_ready.
    cdef slot_t* slot = find(table, handle)
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
                (<Requests>table.owner).starving(<Request>slot.request)
    return SUCCESS


cdef uint32_t take(table_t* table, uint64_t handle, uint8_t* target, uint32_t capacity,
                   uint32_t* written) noexcept nogil:
    # Section 5, retrieve: copies the output and forgets the request, or says why not.
    cdef slot_t* slot = find(table, handle)
    written[0] = 0
    if slot == NULL:
        return INVALID_ARGUMENTS
    if load_int(&slot.state) != DONE:
        return UNAVAILABLE
    if slot.code == SUCCESS:
        if capacity < slot.size:
            return INVALID_ARGUMENTS
        if slot.size:
            memcpy(target, slot.data, slot.size)
        written[0] = slot.size
    add_long(&table.retained, -<int64_t>slot.size)
    remove(table, slot)
    table.retrieved += 1
    store_int(&slot.state, RETRIEVED)
    return slot.code


# --- the Python side ----------------------------------------------------------------------------------

cdef class Request:
    """One run of a function, as its caller knows it.

    Attributes:
        handle: what the guest calls it.
        call: the scheduler's call that runs it; for cancelling and inspection.
    """

    cdef slot_t slot
    cdef Requests owner
    cdef object output              # bytes, or a subclass
    cdef public object call

    @property
    def handle(self) -> int:
        """What the guest calls it: 64 bits, never 0."""
        return self.slot.handle

    @property
    def state(self) -> str:
        """``running``, ``ready``, ``failed``, ``retrieved`` or ``abandoned``."""
        cdef int state = load_int(&self.slot.state)
        if state == DONE:
            return "ready" if self.slot.code == SUCCESS else "failed"
        return {RUNNING: "running", RETRIEVED: "retrieved"}.get(state, "abandoned")

    def complete(self, uint32_t code, object output) -> bool:
        """Store how the run ended; any thread may call it, once.

        Args:
            code: what ``retrieve`` is to answer; 0 for success.
            output: the bytes of a successful run.

        Returns:
            False when the caller has ended meanwhile and nobody will ask: the output is dropped.
        """
        if load_int(&self.slot.state) != RUNNING:
            return False
        if code == SUCCESS:
            if not isinstance(output, bytes):
                raise TypeError(f"output must be bytes, not {type(output).__name__}")
            self.output = output
            self.slot.data = <const uint8_t*>PyBytes_AS_STRING(output)
            self.slot.size = <uint32_t>PyBytes_GET_SIZE(output)
            add_long(&self.owner.table.retained, self.slot.size)
        self.slot.code = code
        store_int(&self.slot.state, DONE)
        return True


cdef class Requests(Attachment):
    """All unretrieved requests of one calling instance.

    Args:
        capacity: most unretrieved requests at a time.
        budget: bytes that the caller's memory and its unretrieved outputs may take together.

    Attributes:
        on_starving: called with a request that the guest keeps asking for in vain; must not raise.
    """

    cdef table_t table
    cdef uint64_t key
    cdef uint64_t issued
    cdef readonly uint32_t capacity
    cdef readonly int64_t budget
    cdef public object on_starving
    cdef dict live

    def __cinit__(self, uint32_t capacity, int64_t budget):
        self.table.cells = <slot_t**>calloc(FEW, sizeof(slot_t*))
        if self.table.cells == NULL:
            raise MemoryError
        self.table.mask = FEW - 1
        self.capacity = capacity
        self.budget = budget
        self.live = {}
        self.table.owner = <void*>self
        self.pointer = <void*>&self.table

    def __dealloc__(self):
        free(self.table.cells)

    def __len__(self) -> int:
        return self.table.count

    def accepts(self, int64_t memory) -> bool:
        """Whether one more request may be launched (sections 5 and 6.3).

        Args:
            memory: bytes that the caller's own memory takes now.
        """
        return self.table.count < self.capacity and load_long(&self.table.retained) + memory <= self.budget

    @property
    def retained(self) -> int:
        """Bytes of output that wait to be retrieved."""
        return load_long(&self.table.retained)

    def issue(self) -> int:
        """Return a fresh handle: never 0, never given twice, looking random (section 6.1)."""
        cdef uint64_t handle = 0
        if self.issued == 0:
            self.key = int.from_bytes(os.urandom(8), "little")
        while handle == 0:
            self.issued += 1
            handle = mix(self.issued ^ self.key)
        return handle

    def open(self) -> Request:
        """Register a new running request; `accepts` said that there is room."""
        cdef Request request = Request.__new__(Request)
        if self.table.retrieved:
            self.sweep()
        if 2 * self.table.count > self.table.mask and not widen(&self.table):
            raise MemoryError
        request.slot.handle = self.issue()
        request.slot.request = <void*>request
        request.owner = self
        self.live[request.slot.handle] = request
        insert(&self.table, &request.slot)
        return request

    def withdraw(self, Request request) -> None:
        """Take back a request that could not be launched after all."""
        remove(&self.table, &request.slot)
        store_int(&request.slot.state, ABANDONED)
        self.live.pop(request.slot.handle, None)

    def close(self) -> list:
        """Abandon every request and free the outputs; return those that were still running."""
        cdef Request request
        running = []
        for request in self.live.values():
            if load_int(&request.slot.state) == RUNNING:
                running.append(request)
            store_int(&request.slot.state, ABANDONED)
            request.output = None
            request.owner = None
        self.live = {}
        memset(self.table.cells, 0, (self.table.mask + 1) * sizeof(slot_t*))
        self.table.count = self.table.retrieved = 0
        self.table.retained = 0
        return running

    def is_ready(self, uint64_t handle) -> tuple:
        """What the host function of that name answers: ``(code, ready, size)``."""
        cdef uint32_t ready = 0
        cdef uint32_t size = 0
        cdef uint32_t code = look(&self.table, handle, &ready, &size)
        return code, bool(ready), size

    def retrieve(self, uint64_t handle, uint32_t capacity) -> tuple:
        """What the host function of that name answers, and the bytes that it writes: ``(code, bytes)``."""
        cdef bytes buffer = PyBytes_FromStringAndSize(NULL, capacity)
        cdef uint32_t written = 0
        cdef uint32_t code = take(&self.table, handle, <uint8_t*>PyBytes_AS_STRING(buffer), capacity, &written)
        return code, buffer[:written]

    cdef void starving(self, Request request):
        if self.on_starving is not None:
            self.on_starving(request)

    cdef void sweep(self):
        # Drops the requests that were retrieved without the GIL.
        cdef Request request
        for handle, request in tuple(self.live.items()):
            if load_int(&request.slot.state) == RETRIEVED:
                request.output = None
                request.owner = None
                del self.live[handle]
        self.table.retrieved = 0


# --- host functions -----------------------------------------------------------------------------------

SLOT = claim_slot("ark.requests")
cdef int slot_index = SLOT


cdef int host_is_ready(Record* record, val_t* args, void* env) noexcept nogil:
    cdef table_t* table = <table_t*>record.slots[slot_index]
    cdef uint32_t answer[2]
    cdef uint8_t* target = span(record, args[1].u32, 8)
    if target == NULL or table == NULL:
        args[0].u32 = INVALID_ARGUMENTS
        return OK
    args[0].u32 = look(table, args[0].u64, &answer[0], &answer[1])
    if args[0].u32 == SUCCESS:
        memcpy(target, answer, 8)
    return OK


cdef int host_retrieve(Record* record, val_t* args, void* env) noexcept nogil:
    cdef table_t* table = <table_t*>record.slots[slot_index]
    cdef uint32_t written
    cdef uint8_t* target = span(record, args[1].u32, args[2].u32)
    if target == NULL or table == NULL:
        args[0].u32 = INVALID_ARGUMENTS
        return OK
    args[0].u32 = take(table, args[0].u64, target, args[2].u32, &written)
    record.bytes_out += written
    if written >= LARGE:
        with gil:
            (<Requests>table.owner).sweep()
    return OK


cdef int host_return_slice(Record* record, val_t* args, void* env) noexcept nogil:
    # (pointer, elements, bytes): the output is copied now; a later call replaces it (section 4.4).
    cdef uint8_t* data = span(record, args[0].u32, args[2].u32)
    cdef uint32_t size = args[2].u32
    if data == NULL:
        args[0].u32 = INVALID_ARGUMENTS
        return OK
    args[0].u32 = SUCCESS
    return set_output(record, data, size)


cdef int host_get_input_slice(Record* record, val_t* args, void* env) noexcept nogil:
    # (pointer, bytes, offset) -> bytes copied; 0 also where the range is bad, since any other number
    # would read as a count.
    cdef uint64_t offset = args[2].u32
    cdef uint64_t size = args[1].u32
    cdef uint8_t* target = span(record, args[0].u32, size)
    args[0].u32 = 0
    if target == NULL or offset >= record.input_len:
        return OK
    if size > record.input_len - offset:
        size = record.input_len - offset
    memcpy(target, record.input + offset, size)
    args[0].u32 = <uint32_t>size
    return OK


#: Address of each native host function, for the rows of ``imports.py``.
ADDRESSES = {
    "is_ready": <uintptr_t>&host_is_ready,
    "retrieve": <uintptr_t>&host_retrieve,
    "return_slice": <uintptr_t>&host_return_slice,
    "get_input_slice": <uintptr_t>&host_get_input_slice,
}
