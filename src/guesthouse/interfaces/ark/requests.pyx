# cython: language_level=3
"""The functions and unretrieved requests of one calling instance, as Python sees them."""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from guesthouse.calls.parting cimport Errand
from guesthouse.calls.waking cimport awaited, post, post_t
from guesthouse.engine.core cimport (
    ASK_PYTHON, OK, TRAPPED, Attachment, Record, claim_slot, interrupted, memory_size, set_output, span, val_t,
)
from guesthouse.interfaces.ark.table cimport (
    ABANDONED, DONE, FUNCTION, REQUEST, RETRIEVED, RUNNING, SMALL, accepts, add_long, drop, find, issue, let_go,
    load_int, load_long, look, slot_t, store_int, swap_int, table_t, take,
)

cdef enum:
    SUCCESS = 0
    INVALID_ARGUMENTS = 5
    NOT_FOUND = 6
    UNAVAILABLE = 7


cdef class Request(Errand):
    """One run of a function, as its caller knows it; also what is told of the run's end.

    Attributes:
        call: the scheduler's call that runs it, until it is over; for cancelling and inspection.
        run: the host's record of it.
        journal: where that record is kept.
    """

    cdef slot_t* slot
    cdef Requests owner             # until the run is over
    cdef public object call
    cdef public object run
    cdef public object journal

    def __dealloc__(self):
        if self.slot != NULL:
            let_go(self.slot)

    @property
    def handle(self) -> int:
        """What the guest calls it: 64 bits, never 0."""
        return self.slot.handle

    @property
    def posted_ns(self) -> int:
        """When it was handed to a worker without the GIL, in monotonic nanoseconds; 0 if it was not."""
        return self.slot.post.posted

    @property
    def state(self) -> str:
        """``running``, ``ready``, ``failed``, ``retrieved`` or ``abandoned``."""
        cdef int state = load_int(&self.slot.state)
        if state == DONE:
            return "ready" if self.slot.code == SUCCESS else "failed"
        return {RUNNING: "running", RETRIEVED: "retrieved"}.get(state, "abandoned")

    def __call__(self, result) -> Request:
        """Take the result of the run over; the guest sees it once this, an errand, was run."""
        self.store(self.journal.ended(self.run, result), result.output)
        return self

    def complete(self, uint32_t code, output) -> bool:
        """Store how the run ended and let the guest see it; any thread may call it, once.

        Args:
            code: what ``retrieve`` is to answer; 0 for success.
            output: the bytes of a successful run.

        Returns:
            False when the caller has ended meanwhile and nobody will ask: the output is dropped.
        """
        self.store(code, output)
        self.perform()
        return load_int(&self.slot.state) == DONE

    cdef int store(self, uint32_t code, output) except -1:
        cdef slot_t* slot = self.slot
        cdef Requests owner = self.owner
        self.owner = self.call = None
        if owner is None or load_int(&slot.state) != RUNNING:
            return 0
        owner.running.pop(slot.handle, None)
        slot.code = code
        if code == SUCCESS:
            keep(slot, output)
            add_long(&slot.table.retained, slot.size)
        return 0

    cdef void perform(self) noexcept nogil:
        swap_int(&self.slot.state, RUNNING, DONE)


cdef int keep(slot_t* slot, output) except -1:
    """Put an output where the guest's thread finds it."""
    cdef Py_ssize_t size
    if not isinstance(output, bytes):
        raise TypeError(f"output must be bytes, not {type(output).__name__}")
    size = PyBytes_GET_SIZE(output)
    slot.size = <uint32_t>size
    if 0 < size <= SMALL:
        slot.data = <uint8_t*>malloc(size)
        if slot.data != NULL:
            memcpy(slot.data, PyBytes_AS_STRING(output), size)
            return 0
    Py_INCREF(output)
    slot.output = <void*>output
    slot.data = <uint8_t*>PyBytes_AS_STRING(output)
    return 0


cdef class Requests(Attachment):
    """All functions and unretrieved requests of one calling instance.

    Args:
        capacity: most unretrieved requests at a time.
        budget: bytes that the caller's memory and its unretrieved outputs may take together.
        max_input: bytes of one launch.
        launches: whether it may launch anything; false where launches are nested too deep already.
        bell: where idle workers wait for work that is posted; 0 for none.

    Attributes:
        on_starving: called with a request that the guest keeps asking for in vain; must not raise.
        on_posted: called with request, function and input of a launch that was made without the GIL.
    """

    cdef table_t table
    cdef dict functions
    cdef dict running               # by handle
    cdef public object on_starving
    cdef public object on_posted

    def __cinit__(self, uint32_t capacity, int64_t budget, uint32_t max_input=0, bint launches=True, bell=0):
        self.table.capacity, self.table.budget, self.table.max_input = capacity, budget, max_input
        self.table.launches = launches
        self.table.bell = <void*><uintptr_t>bell
        self.table.key = int.from_bytes(os.urandom(8), "little")
        self.table.owner = <void*>self
        self.functions = {}
        self.running = {}
        self.pointer = <void*>&self.table

    def __dealloc__(self):
        self.empty()
        free(self.table.cells)

    def __len__(self) -> int:
        return self.table.requests

    def accepts(self, int64_t memory) -> bool:
        """Whether one more request may be launched (sections 5 and 6.3).

        Args:
            memory: bytes that the caller's own memory takes now.
        """
        return accepts(&self.table, memory)

    @property
    def retained(self) -> int:
        """Bytes of output that wait to be retrieved."""
        return load_long(&self.table.retained)

    @property
    def posted(self) -> bool:
        """Whether anything was ever launched without the GIL."""
        return self.table.posted > 0

    # -- functions

    def add(self, function) -> int:
        """Return a new handle for a function; two for the same function differ."""
        cdef slot_t* slot = issue(&self.table, FUNCTION)
        if slot == NULL:
            raise MemoryError
        slot.function = <void*>function
        self.functions[slot.handle] = function
        return slot.handle

    def function(self, uint64_t handle):
        """Return the function of a handle, ``None`` when there is none."""
        return self.functions.get(handle)

    def remove(self, uint64_t handle) -> bool:
        """Forget a function's handle; nothing that was posted may refer to it any more."""
        cdef slot_t* slot = find(&self.table, handle, FUNCTION)
        if slot == NULL:
            return False
        drop(&self.table, slot)
        del self.functions[handle]
        return True

    @property
    def named(self) -> int:
        """How many handles of functions there are."""
        return self.table.functions

    # -- requests

    def open(self) -> Request:
        """Register a new running request; `accepts` said that there is room."""
        cdef slot_t* slot = issue(&self.table, REQUEST)
        if slot == NULL:
            raise MemoryError
        return self.request(slot)

    cdef Request request(self, slot_t* slot):
        cdef Request request = Request.__new__(Request)
        request.slot = slot
        request.owner = self
        self.running[slot.handle] = request
        return request

    def withdraw(self, Request request not None) -> None:
        """Take back a request that could not be launched after all."""
        store_int(&request.slot.state, ABANDONED)
        self.running.pop(request.slot.handle, None)
        request.owner = None
        drop(&self.table, request.slot)

    def starve(self, handle) -> None:
        """The guest keeps asking for a request that is not over; for `look`."""
        if self.on_starving is not None:
            self.on_starving(self.running.get(handle))

    def close(self) -> list:
        """Abandon every request and free the outputs; return those that were still running.

        Nothing that was posted may be on its way any more.
        """
        cdef Request request
        running = list(self.running.values())
        for request in running:
            request.owner = None
        self.running.clear()
        self.empty()
        self.functions.clear()
        self.on_starving = self.on_posted = None
        return running

    cdef void empty(self):
        cdef uint64_t at
        cdef slot_t* slot
        if self.table.cells == NULL:
            return
        for at in range(self.table.mask + 1):
            while self.table.cells[at] != NULL:     # another one may move up
                slot = self.table.cells[at]
                store_int(&slot.state, ABANDONED)
                drop(&self.table, slot)
        self.table.retained = 0

    # -- what the host functions answer

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


cdef void take_posted(post_t* work) noexcept:
    """Make a call of what a guest's thread has posted; the GIL is held."""
    cdef slot_t* slot = <slot_t*>work
    cdef Requests requests = <Requests>slot.table.owner
    data = PyBytes_FromStringAndSize(<char*>slot.data, slot.size)
    free(slot.data)
    slot.data, slot.size = NULL, 0
    requests.on_posted(requests.request(slot), <object>slot.function, data)


# --- host functions -----------------------------------------------------------------------------------

SLOT = claim_slot("ark.requests")
cdef int slot_index = SLOT


cdef int host_launch(Record* record, val_t* args, void* env) noexcept nogil:
    # Section 5, launch, where an idle worker can be handed the request; otherwise Python is asked.
    cdef table_t* table = <table_t*>record.slots[slot_index]
    cdef uint32_t size = args[2].u32
    cdef uint8_t* data = span(record, args[1].u32, size)
    cdef uint8_t* out = span(record, args[3].u32, 8)
    cdef slot_t* function
    cdef slot_t* slot
    if table == NULL or table.bell == NULL or not awaited(table.bell):
        return ASK_PYTHON
    if data == NULL or out == NULL or size > SMALL or size > table.max_input:
        return ASK_PYTHON
    function = find(table, args[0].u64, FUNCTION)
    if function == NULL or not accepts(table, memory_size(record)):
        return ASK_PYTHON
    if interrupted(record):
        return TRAPPED
    slot = issue(table, REQUEST)
    if slot == NULL:
        return ASK_PYTHON
    slot.data = <uint8_t*>malloc(size + 1)
    if slot.data != NULL:
        memcpy(slot.data, data, size)
        slot.size = size
        slot.function = function.function
        slot.post.take = take_posted
        if post(table.bell, &slot.post):
            table.posted += 1
            memcpy(out, &slot.handle, 8)
            args[0].u32 = SUCCESS
            return OK
    let_go(slot)        # there is no run that could
    drop(table, slot)
    return ASK_PYTHON


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
    "launch": <uintptr_t>&host_launch,
    "is_ready": <uintptr_t>&host_is_ready,
    "retrieve": <uintptr_t>&host_retrieve,
    "return_slice": <uintptr_t>&host_return_slice,
    "get_input_slice": <uintptr_t>&host_get_input_slice,
}
