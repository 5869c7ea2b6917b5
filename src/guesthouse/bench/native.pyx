# cython: language_level=3
"""Native host functions that are measured, and the engine itself called in a loop: the floor under it all."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from guesthouse.engine.abi cimport api, bytes_t
from guesthouse.engine.core cimport Instance, OK, Record, extern_t, func_t, gh_instance, span, trap, val_t


cdef int nop(Record* record, val_t* args, void* env) noexcept nogil:
    args[0].i32 += 1
    return OK


cdef uint8_t landing[512]

cdef int copy(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint8_t* start = span(record, 1024, sizeof(landing))
    if start == NULL:
        return trap(record, b"no memory")
    memcpy(landing, start, sizeof(landing))
    args[0].i32 += 1
    return OK


#: Addresses for `guesthouse.engine.Native`.
FUNCTIONS = {"native": <uintptr_t>&nop, "copy": <uintptr_t>&copy}


cdef void* bare_nop(void* env, void* caller, val_t* args, size_t n) noexcept nogil:
    args[0].i32 += 1
    return NULL


cdef double now() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return moment.tv_sec + moment.tv_nsec / 1e9


cdef class Raw:
    """The engine in a C loop: one store and instance per round, nothing around it.

    Args:
        module: a `guesthouse.engine.Module` whose imports are functions of type (i32) -> i32.
    """

    cdef object module
    cdef void* engine
    cdef void* pre

    def __init__(self, module):
        cdef void* linker
        cdef void* kind
        cdef void* number[1]
        cdef bytes_t[2] lists
        cdef bytes where, name
        self.module = module
        self.engine = <void*><uintptr_t>module.variant.pointer
        linker = api.linker_new(self.engine)
        for item in module.info.imports:
            where, name = item.module.encode(), item.name.encode()
            for side in range(2):
                number[0] = api.valtype_new(0)
                api.valtypes_new(&lists[side], 1, number)
            kind = api.functype_new(&lists[0], &lists[1])
            api.linker_define_func(linker, where, len(where), name, len(name), kind, bare_nop, NULL, NULL)
            api.functype_delete(kind)
        failed = api.linker_pre(linker, <void*><uintptr_t>module.pointer, &self.pre) != NULL
        api.linker_delete(linker)
        if failed:
            raise RuntimeError("the engine refuses the benchmark's guest")

    def __dealloc__(self):
        if self.pre != NULL:
            api.pre_delete(self.pre)

    cdef void* open(self, gh_instance* instance) noexcept nogil:
        """A store with a started instance in it, or NULL."""
        cdef void* trapped = NULL
        cdef void* store = api.store_new(self.engine, NULL, NULL)
        cdef void* context = api.store_context(store)
        api.set_epoch_deadline(context, 1 << 40)
        if api.pre_instantiate(self.pre, context, instance, &trapped) != NULL or trapped != NULL:
            api.store_delete(store)
            return NULL
        return store

    def fresh(self, uint64_t n) -> float:
        """Seconds to create and drop ``n`` instances."""
        cdef gh_instance instance
        cdef void* store
        cdef uint64_t i
        cdef double begun
        with nogil:
            begun = now()
            for i in range(n):
                store = self.open(&instance)
                if store == NULL:
                    break
                api.store_delete(store)
            begun = now() - begun
        if store == NULL:
            raise RuntimeError("the engine cannot start the benchmark's guest")
        return begun

    def calls(self, str name, uint64_t argument, uint64_t n) -> float:
        """Seconds for ``n`` calls of an export of type (i32) -> i32 of one instance."""
        cdef gh_instance instance
        cdef extern_t item
        cdef val_t value[2]
        cdef void* trapped = NULL
        cdef void* context
        cdef void* store = self.open(&instance)
        cdef bytes raw = name.encode()
        cdef char* text = raw
        cdef size_t length = len(raw)
        cdef uint64_t i
        cdef double begun
        if store == NULL:
            raise RuntimeError("the engine cannot start the benchmark's guest")
        context = api.store_context(store)
        if not api.export_get(context, &instance, text, length, &item):
            raise KeyError(name)
        with nogil:
            begun = now()
            for i in range(n):
                value[0].u64 = argument
                api.func_call(context, &item.of.func, value, 1, &trapped)
            begun = now() - begun
            api.store_delete(store)
        return begun

    def cold(self, bytes payload, uint64_t n) -> float:
        """Seconds for ``n`` rounds of: create, write input, call, read output, drop."""
        cdef gh_instance instance
        cdef extern_t item
        cdef extern_t memory
        cdef val_t values[2]
        cdef void* trapped = NULL
        cdef void* context
        cdef void* store = NULL
        cdef uint8_t* base
        cdef char* given = payload
        cdef size_t length = min(len(payload), sizeof(landing))
        cdef uint64_t i
        cdef double begun
        with nogil:
            begun = now()
            for i in range(n):
                store = self.open(&instance)
                if store == NULL:
                    break
                context = api.store_context(store)
                api.export_get(context, &instance, b"memory", 6, &memory)
                api.export_get(context, &instance, b"echo", 4, &item)
                base = api.memory_data(context, &memory.of.item)
                memcpy(base + 1024, given, length)
                values[0].u64, values[1].u64 = 1024, length
                api.func_call(context, &item.of.func, values, 2, &trapped)
                memcpy(landing, base + values[0].u32, length)
                api.store_delete(store)
            begun = now() - begun
        if store == NULL:
            raise RuntimeError("the engine cannot start the benchmark's guest")
        return begun


cdef class Bare:
    """Steps of a live cell, called by the engine and nothing else: what a cell is measured against.

    Args:
        instance: a started cell that nobody else enters meanwhile; it exports ``pulp_free``.
        envelope: what each step is handed.
    """

    cdef Instance instance
    cdef func_t alloc
    cdef func_t entry
    cdef func_t free
    cdef uint32_t kept          # a block that `tick` and `ticks` reuse
    cdef bytes envelope

    def __init__(self, Instance instance not None, bytes envelope not None):
        self.instance, self.envelope = instance, envelope
        self.alloc = instance.lookup("pulp_alloc")[0]
        self.entry = instance.lookup("pulp_step")[0]
        self.free = instance.lookup("pulp_free")[0]
        self.kept = instance.invoke("pulp_alloc", max(len(envelope), 64))

    cdef bint call(self, func_t* function, val_t* values, size_t n) noexcept nogil:
        """Whether the guest came back."""
        cdef void* trapped = NULL
        return api.func_call(self.instance.record.context, function, values, n, &trapped) == NULL and trapped == NULL

    cdef int32_t step(self, uint32_t block, const uint8_t* data, uint64_t length) noexcept nogil:
        cdef val_t values[2]
        cdef uint8_t* place = span(self.instance.record, block, length)
        if place == NULL:
            return -1
        memcpy(place, data, length)
        values[0].u64, values[1].u64 = block, length
        return values[0].i32 if self.call(&self.entry, values, 2) else -1

    def tick(self) -> int:
        """One step in a block that is kept; the engine's call alone."""
        cdef const uint8_t* data = self.envelope
        cdef uint64_t length = len(self.envelope)
        cdef int32_t code
        with nogil:
            code = self.step(self.kept, data, length)
        return code

    def guarded(self) -> int:
        """`tick` under the guard of every entry: deadline, fault handlers, time spent."""
        self.instance.enter()
        try:
            return self.tick()
        finally:
            self.instance.exit()

    def event(self) -> int:
        """One step in a block of its own, given back afterwards; under the guard of every entry."""
        cdef const uint8_t* data = self.envelope
        cdef uint64_t length = len(self.envelope)
        cdef val_t values[2]
        cdef uint32_t block
        cdef int32_t code = -1
        self.instance.enter()
        try:
            with nogil:
                values[0].u64 = length
                if self.call(&self.alloc, values, 1):
                    block = values[0].u32
                    code = self.step(block, data, length)
                    values[0].u64, values[1].u64 = block, length
                    self.call(&self.free, values, 2)
            return code
        finally:
            self.instance.exit()

    def ticks(self, uint64_t n) -> float:
        """Seconds for ``n`` times `tick` in a C loop."""
        cdef const uint8_t* data = self.envelope
        cdef uint64_t length = len(self.envelope)
        cdef uint64_t i
        cdef double begun
        with nogil:
            begun = now()
            for i in range(n):
                self.step(self.kept, data, length)
            begun = now() - begun
        return begun
