# cython: language_level=3
"""The instance: one live instantiation of a guest, and what host functions may do with its record."""

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_XDECREF
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset, strlen
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

from guesthouse.engine cimport faults, ticker
from guesthouse.engine.abi cimport api, boxed_t
from guesthouse.engine.traps cimport take_backtrace, take_message
from guesthouse.engine.values cimport pack, unpack
from guesthouse.errors import (
    Cancelled, DeadlineExceeded, MemoryLimit, OutOfFuel, OutputLimit, PoolFull, ResourceError, Trap,
)
from guesthouse.engine.exits import Exit, OutOfBounds
from guesthouse.engine.traps import TRAP_REASONS


cdef enum:
    PAGE = 65536
    TRAP_OUT_OF_FUEL = 11

#: Bytes of stack that wasm code of one instance may use.
WASM_STACK = 512 * 1024

_slots = {}


cpdef int claim_slot(str name) except -1:
    """Claim a place for native per-instance state.

    Args:
        name: who claims it, for the error message.

    Raises:
        RuntimeError: all places are taken.
    """
    if len(_slots) >= SLOTS:
        raise RuntimeError(f"{name}: all {SLOTS} slots are claimed, by {', '.join(_slots)}")
    return _slots.setdefault(name, len(_slots))


cdef void* on_epoch(void* context, void* data, uint64_t* delta, uint8_t* kind) noexcept nogil:
    """Decide, at each tick, whether this call is over; nobody else's."""
    if interrupted(<Record*>data):
        return api.error_new(b"interrupted")
    delta[0] = 1
    return NULL


cdef class Attachment:
    """Native state that a capability keeps for one instance; the instance keeps it alive."""

    cdef void detach(self) noexcept:
        """Undo what was done to the instance's memory; the engine is about to reuse it."""


cdef class Function:
    """An exported function of one instance, looked up once."""

    cdef func_t handle
    cdef str params
    cdef str results


@cython.no_gc_clear      # the attachments must still be there when it is deallocated
cdef class Instance:
    """One live instantiation of a guest: own store, own memory, one thread at a time.

    Made by :meth:`Template.open`.  Between that and :meth:`start` capabilities attach their state.
    After a trap, a timeout or a cancellation it can only be closed.
    """

    cdef int prepare(self, void* engine, void* pre, object template, uint32_t imports) except -1:
        cdef Record* record = <Record*>calloc(1, sizeof(Record) + imports * sizeof(uint32_t))
        if record == NULL:
            raise MemoryError("no memory for an instance record")
        self.record = record
        self.pre = pre
        self.template, self.places = template, template.module.variant.places
        self.attachments, self.functions = [], {}
        record.counts = <uint32_t*>(record + 1)
        record.owner = <PyObject*>self
        record.handle = &self.handle
        self.store = api.store_new(engine, record, NULL)
        record.context = api.store_context(self.store)
        api.store_epoch_callback(self.store, on_epoch, record, NULL)
        return 0

    def __dealloc__(self):
        self.release()

    cdef void release(self):
        cdef Record* record = self.record
        cdef Attachment attachment
        if record == NULL:
            return
        for attachment in self.attachments:
            attachment.detach()
        self.record = NULL
        if record.memory_kind == 2 and self.template.shared is None:    # an imported one is the template's
            api.shared_delete(record.shared)
        api.store_delete(self.store)
        free(record.output)
        Py_XDECREF(record.pending)
        free(record)
        self.attachments = []               # what they refer to the instance by must not keep it alive
        try:
            if self.places is not None and self.places.line:
                self.places.free()
        except AttributeError:              # collected together with the line: nobody waits in it
            pass

    # -- before the start

    def attach(self, int slot, Attachment attachment not None):
        """Put native state into a slot; the instance keeps it alive.

        Args:
            slot: what :func:`claim_slot` returned.
            attachment: the state.
        """
        if not 0 <= slot < SLOTS:
            raise ValueError(f"slot {slot} was never claimed")
        self.alive().slots[slot] = attachment.pointer
        self.attachments.append(attachment)

    def start(self):
        """Instantiate: initialise memories and tables and run the module's ``start`` function.

        Raises:
            MemoryLimit: its memories do not fit the limit.
            PoolFull: there is no place for one more; it can be tried again.
            CallError: as :meth:`invoke`.
        """
        cdef Record* record = self.alive()
        cdef void* trap_ = NULL
        cdef void* error
        cdef extern_t item
        if self.started:
            raise RuntimeError("the instance was started before")
        if self.template.shared is not None:    # whether it is exported or not
            record.memory_kind, record.shared = 2, <void*><uintptr_t>self.template.shared.handle
        self.enter()
        try:
            with nogil:
                error = api.pre_instantiate(self.pre, record.context, &self.handle, &trap_)
            if error != NULL or trap_ != NULL:
                raise self.failure(error, trap_, "start")
            self.started = True
            if record.memory_kind == 0 and api.export_get(record.context, &self.handle, b"memory", 6, &item):
                adopt_memory(record, &item)
            if record.memory_kind == 0:
                record.memory_kind = 3
            refresh(record, 0)
        finally:
            self.exit()

    # -- entering the guest

    cdef Record* alive(self) except NULL:
        if self.record == NULL:
            raise RuntimeError("the instance is closed")
        return self.record

    cdef void enter(self) except *:
        self.enter_at(monotonic())

    cdef void enter_at(self, int64_t now) except *:
        """`enter` for those who have just looked at the clock."""
        cdef Record* record = self.alive()
        cdef size_t me = <size_t>PyThread_get_thread_ident()
        if self.thread != 0 and self.thread != me:
            raise RuntimeError("the instance is busy on another thread; an instance runs one call at a time")
        if self.broken:
            raise RuntimeError("the instance has trapped and cannot be entered again; open a new one")
        if not stack_suffices():
            raise Trap(
                "too little native stack is left for a guest: calls nest too deep, or the thread's stack is too "
                "small (ulimit -s)", guest=None)
        self.thread = me
        if record.depth == 0:
            ticker.entered()
            faults.enter()
            record.entered_at = now
            api.set_epoch_deadline(record.context, 1)
            if over(record, now):
                self.thread = 0
                faults.leave()
                ticker.left()
                self.check()    # raises; nothing has run, so the instance stays usable
        record.depth += 1

    cdef void exit(self):
        cdef Record* record = self.record
        record.depth -= 1
        if record.depth == 0:
            self.thread = 0
            faults.leave()
            ticker.left()
            record.busy += monotonic() - record.entered_at
            if self.closing:
                self.release()

    cdef func_t* lookup(self, str name) except NULL:
        cdef Function function = self.functions.get(name)
        cdef bytes raw
        cdef extern_t item
        if function is None:
            if not self.started:
                raise RuntimeError("the instance was not started")
            raw = name.encode()
            if not api.export_get(self.record.context, &self.handle, raw, len(raw), &item):
                raise KeyError(name)
            if item.kind != EXTERN_FUNC:
                api.extern_delete(&item)
                raise KeyError(name)
            function = Function.__new__(Function)
            function.handle = item.of.func
            function.params, function.results = self.template.signatures[name]
            self.functions[name] = function
        return &function.handle

    def invoke(self, str name not None, *args):
        """Call an exported function; the GIL is released while the guest runs.

        Args:
            name: the export.
            *args: one number per parameter; integers may be given signed or unsigned.

        Returns:
            ``None``, the one result, or a tuple of results; integers are unsigned.

        Raises:
            KeyError: no function of that name is exported.
            TypeError: wrong number or kind of arguments, or a type that cannot be passed (v128).
            Exit: the guest left with an exit code.
            CallError: trap, deadline, fuel, memory, output, cancellation; see `guesthouse.errors`.
            Exception: whatever a host function raised, unchanged.
        """
        cdef val_t values[24]
        cdef Function function
        cdef func_t* func
        cdef void* error
        cdef void* trap_ = NULL
        cdef Record* record = self.alive()
        cdef size_t n
        func = self.lookup(name)
        function = self.functions[name]
        n = max(len(function.params), len(function.results))
        if n > 24:
            raise TypeError(f"{name} takes or returns more than 24 values")
        if len(args) != len(function.params):
            raise TypeError(f"{name} takes {len(function.params)} arguments, {len(args)} were given")
        pack(values, function.params, args, name)
        self.enter()
        try:
            with nogil:
                error = api.func_call(record.context, func, values, n, &trap_)
            if error != NULL or trap_ != NULL:
                raise self.failure(error, trap_, name)
            return unpack(values, function.results, name)
        finally:
            self.exit()

    cdef object failure(self, void* error, void* trap_, str function):
        """The exception that says why the guest ended; frees the engine's own objects."""
        cdef Record* record = self.record
        cdef int ending = record.ending
        cdef uint8_t code = 255
        cdef str text = ""
        record.ending = NOT_ENDING
        if record.depth <= 1:
            self.broken = True
        backtrace = take_backtrace(error, trap_)
        if trap_ != NULL:
            if not api.trap_code(trap_, &code):
                code = 255
            api.trap_delete(trap_)
        if error != NULL:
            text = take_message(error)
        if ending == ENDING_EXCEPTION and record.pending != NULL:
            exception = <object>record.pending
            Py_XDECREF(record.pending)
            record.pending = NULL
            return exception
        if ending == ENDING_EXIT:
            return Exit(record.exit_code)
        if ending == ENDING_CANCELLED:
            return Cancelled(self.cancel_reason or "cancelled", function=function)
        if ending == ENDING_DEADLINE:
            return DeadlineExceeded(function=function)
        if ending == ENDING_OUTPUT:
            return OutputLimit(record.output_limit, function=function)
        if ending == ENDING_MEMORY:
            return MemoryLimit(record.size + PAGE, record.memory_limit, function=function)
        if ending == ENDING_MESSAGE:
            reason = record.message[:strlen(record.message)].decode("utf-8", "replace")
            return Trap(reason, backtrace=backtrace, function=function)
        if code == TRAP_OUT_OF_FUEL:
            return OutOfFuel(limit=self.fuel_limit, function=function)
        if code != 255:
            reason = TRAP_REASONS[code] if code < len(TRAP_REASONS) else f"trap code {code}"
            return Trap(reason, code=code, backtrace=backtrace, function=function)
        if text.startswith("maximum concurrent limit"):
            self.broken = False                 # nothing of it has run
            return PoolFull(self.places.total)
        if text.startswith("mmap failed to reserve"):
            self.broken = False
            return ResourceError(
                "this process has none left for another instance; close some, or raise the limit (ulimit -v)",
                resource="address space")
        if "(os error " in text:                # the system refused the engine something: no fault of the guest's
            return ResourceError("the system does not let it start: " + " ".join(text.split()), resource="instance")
        return Trap(text or "the engine stopped the guest", backtrace=backtrace, function=function)

    # -- memory

    def read(self, pointer, length):
        """Copy bytes out of guest memory.

        Args:
            pointer, length: the range in bytes, unsigned.

        Raises:
            OutOfBounds: any byte of the range is outside the memory.
        """
        cdef uint8_t* start = self.span(pointer, length)
        return PyBytes_FromStringAndSize(<char*>start, <Py_ssize_t>length)

    def write(self, pointer, data):
        """Copy bytes into guest memory, all or nothing.

        Args:
            pointer: where, in bytes.
            data: a bytes-like object.

        Raises:
            OutOfBounds: any byte of the range is outside the memory.
        """
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t length = view.shape[0]
        cdef uint8_t* start = self.span(pointer, length)
        if length:
            memcpy(start, &view[0], length)

    cdef uint8_t* span(self, object pointer, object length) except NULL:
        cdef uint8_t* start = NULL
        cdef Record* record = self.alive()
        if 0 <= pointer <= 0xFFFFFFFF and 0 <= length <= 0x100000000:
            start = span(record, <uint32_t>pointer, <uint64_t>length)
        if start == NULL:
            raise OutOfBounds(pointer, length, record.size)
        return start

    @property
    def memory_size(self) -> int:
        """Size of the memory in bytes; 0 when the guest has none."""
        return memory_size(self.alive())

    def grow(self, pages) -> int:
        """Grow the memory.

        Args:
            pages: how many pages of 64 KiB.

        Returns:
            The old size in pages.

        Raises:
            MemoryLimit: the limit or the memory's maximum would be exceeded.
        """
        cdef Record* record = self.alive()
        cdef int64_t previous = memory_grow(record, pages)
        if previous < 0:
            raise MemoryLimit(record.size + pages * PAGE, record.memory_limit)
        return previous

    # -- what is known of the module

    def exports(self, str name) -> bool:
        """Say whether a function of that name is exported."""
        return name in self.template.signatures

    def signature(self, str name):
        """Return (parameter letters, result letters) of an exported function, or ``None``."""
        return self.template.signatures.get(name)

    # -- the call

    @property
    def input(self) -> bytes:
        """The call's input."""
        return self.input_owner or b""

    @input.setter
    def input(self, bytes data not None):
        self.alive()
        self.input_owner = data
        self.record.input = <const uint8_t*>PyBytes_AS_STRING(data)
        self.record.input_len = PyBytes_GET_SIZE(data)

    @property
    def output(self) -> bytes:
        """What the guest has put out so far."""
        cdef Record* record = self.alive()
        return PyBytes_FromStringAndSize(<char*>record.output, record.output_len)

    def set_output(self, bytes data not None):
        """Replace the output.

        Raises:
            OutputLimit: it is larger than the limit.
        """
        if set_output(self.alive(), <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) != OK:
            raise self.failure(NULL, NULL, None)

    def append_output(self, bytes data not None):
        """Extend the output.

        Raises:
            OutputLimit: it becomes larger than the limit.
        """
        if append_output(self.alive(), <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) != OK:
            raise self.failure(NULL, NULL, None)

    @property
    def deadline(self) -> int:
        """When the call must be over, in nanoseconds of the monotonic clock; 0 for never."""
        return self.alive().deadline

    @deadline.setter
    def deadline(self, int64_t when):
        self.alive().deadline = when

    def cancel(self, str reason="cancelled"):
        """End what runs here, from any thread; harmless when nothing runs or the instance is closed."""
        if self.record != NULL:
            self.cancel_reason = reason
            self.record.cancelled = 1

    def resume(self):
        """Take back a cancellation that came while nothing ran; for instances that outlive a call."""
        self.alive().cancelled = 0

    def check(self):
        """Raise if the call was cancelled or its deadline has passed.

        Raises:
            Cancelled, DeadlineExceeded: accordingly.
        """
        cdef Record* record = self.alive()
        if interrupted(record):
            ending, record.ending = record.ending, NOT_ENDING
            if ending == ENDING_CANCELLED:
                raise Cancelled(self.cancel_reason or "cancelled")
            raise DeadlineExceeded()

    def fuel_used(self):
        """Return the instructions burnt so far, or ``None`` when the guest is not metered."""
        cdef uint64_t left = 0
        cdef void* error
        if self.fuel_limit is None:
            return None
        error = api.get_fuel(self.alive().context, &left)
        if error != NULL:
            raise RuntimeError(take_message(error))
        return self.fuel_limit - left

    def host_calls(self) -> dict:
        """Return how often each import was called, by ``module.name``; those never called are left out."""
        cdef Record* record = self.alive()
        return {name: record.counts[i] for i, name in enumerate(self.template.import_names, 1) if record.counts[i]}

    @property
    def busy(self) -> float:
        """Seconds spent inside the guest so far, its host calls included."""
        return self.alive().busy / 1e9

    @property
    def traffic(self) -> tuple:
        """Bytes that host functions counted as read from, and as written to, guest memory."""
        return self.alive().bytes_in, self.alive().bytes_out

    # -- the end

    def close(self):
        """Drop the store and all memory; from inside a host function, as soon as the guest has ended."""
        if self.record == NULL:
            return
        if self.thread != 0:
            self.closing = True
            self.cancel("the instance was closed")
        else:
            self.release()

    @property
    def closed(self) -> bool:
        """Whether nothing can be done with the instance any more."""
        return self.record == NULL

    @property
    def usable(self) -> bool:
        """Whether the instance can be entered: neither closed nor ended by a trap or timeout."""
        return self.record != NULL and not self.broken

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
