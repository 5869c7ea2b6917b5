# cython: language_level=3
"""Templates: a compiled module with every import bound, ready to be instantiated any number of times."""

from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from guesthouse.engine.abi cimport api, bytes_t
from guesthouse.engine.core cimport (
    ASK_PYTHON, EXTERN_SHARED, Instance, OK, Record, extern_t, native_t, trap, val_t,
)
from guesthouse.engine.record cimport gh_instance
from guesthouse.engine.traps cimport park, take_message
from guesthouse.engine.values cimport unpack_one
from guesthouse.engine.functions import Constant, Native, Trapping, signature
from guesthouse.errors import LoadError, MemoryLimit, WrongImportType

cdef extern from "Python.h":
    object PyObject_Vectorcall(PyObject* f, PyObject** args, size_t n, PyObject* names)

cdef enum:
    MAX_VALUES = 24
    MAX_TABLE_ELEMENTS = 1000000

#: Bytes of memory, instances, tables and memories that one instance may have without other limits.
UNLIMITED = (1 << 32)


# What the engine hands back to an entry function: which import this is and what answers it.
cdef struct Bound:
    native_t function
    void* env
    PyObject* callable
    uint32_t index
    int n_params
    int n_results
    char params[MAX_VALUES]
    char results[MAX_VALUES]


cdef inline Record* record_of(void* caller) noexcept nogil:
    return <Record*>api.context_data(api.caller_context(caller))


cdef inline void* as_trap(Record* record) noexcept nogil:
    return api.trap_new(record.message, strlen(record.message))


cdef void* enter_native(void* env, void* caller, val_t* args, size_t n) noexcept nogil:
    cdef Bound* bound = <Bound*>env
    cdef Record* record = record_of(caller)
    cdef int outcome
    record.counts[bound.index] += 1
    record.caller = caller
    outcome = bound.function(record, args, bound.env)
    if outcome == ASK_PYTHON:
        with gil:
            outcome = call_python(record, bound, args)
    record.caller = NULL
    if outcome == OK:
        return NULL
    return as_trap(record)


cdef void* enter_constant(void* env, void* caller, val_t* args, size_t n) noexcept nogil:
    cdef Bound* bound = <Bound*>env
    record_of(caller).counts[bound.index] += 1
    if n != 0:
        args[0].u64 = <uint64_t><uintptr_t>bound.env
    return NULL


cdef void* enter_trapping(void* env, void* caller, val_t* args, size_t n) noexcept nogil:
    cdef Bound* bound = <Bound*>env
    cdef Record* record = record_of(caller)
    record.counts[bound.index] += 1
    trap(record, <const char*>bound.env)
    return as_trap(record)


cdef void* enter_python(void* env, void* caller, val_t* args, size_t n) noexcept nogil:
    cdef Bound* bound = <Bound*>env
    cdef Record* record = record_of(caller)
    cdef int outcome
    record.counts[bound.index] += 1
    record.caller = caller
    with gil:
        outcome = call_python(record, bound, args)
    record.caller = NULL
    return NULL if outcome == OK else as_trap(record)


cdef int call_python(Record* record, Bound* bound, val_t* args) noexcept:
    """Call the Python function of a row; whatever it raises is parked in the record."""
    cdef PyObject* stack[MAX_VALUES + 1]
    cdef object result = None
    cdef Instance instance = <Instance>record.owner
    cdef int i
    record.message[0] = 0
    try:
        call = instance.call if instance.call is not None else instance
        if bound.n_params == 0:
            result = (<object>bound.callable)(call)
        else:
            numbers = [unpack_one(&args[i], <Py_UCS4>bound.params[i], "host function")
                       for i in range(bound.n_params)]
            stack[0] = <PyObject*>call
            for i in range(bound.n_params):
                stack[i + 1] = <PyObject*>numbers[i]
            result = PyObject_Vectorcall(bound.callable, stack, bound.n_params + 1, NULL)
        return put(args, bound, result)
    except BaseException as error:
        return park(record, error)


cdef int put(val_t* cells, Bound* bound, object value) except -1:
    """Store what a Python host function returned: one number, or a tuple of several."""
    cdef int i
    if bound.n_results == 0:
        return OK
    if bound.n_results == 1:
        return put_one(cells, bound.results[0], value)
    if len(value) != bound.n_results:
        raise TypeError(f"a host function of {bound.n_results} results returned {len(value)} values")
    for i in range(bound.n_results):
        put_one(&cells[i], bound.results[i], value[i])
    return OK


cdef int put_one(val_t* cell, char kind, object value) except -1:
    """Store one number; an integer may be given signed or unsigned, and is never cut to fit."""
    cdef int64_t wide
    try:
        if kind == c"i":
            wide = PyNumber_Index(value)
            if not -0x80000000 <= wide <= 0xFFFFFFFF:
                raise OverflowError
            cell.u64 = <uint64_t><uint32_t>wide
        elif kind == c"I":
            value = PyNumber_Index(value)
            cell.u64 = <uint64_t><int64_t>value if value < 0 else <uint64_t>value
        elif kind == c"f":
            cell.u64 = 0
            cell.f32 = value
        else:
            cell.f64 = value
    except (TypeError, OverflowError) as error:
        name = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}[chr(kind)]
        raise type(error)(f"the host function returned {value!r}, which is no {name}") from None
    return OK


cdef class SharedMemory:
    """A linear memory that several instances import (wasm threads).

    Args:
        variant: the engine variant that will run the instances.
        minimum, maximum: pages of 64 KiB; a maximum is demanded, since growth of a shared memory
            passes by every limiter and must be counted beforehand.
    """

    cdef void* pointer
    cdef readonly object variant
    cdef readonly uint64_t minimum
    cdef readonly uint64_t maximum

    def __init__(self, variant, uint64_t minimum, uint64_t maximum):
        cdef void* kind = NULL
        cdef void* error
        error = api.memorytype_new(minimum, 1, maximum, 0, 1, 16, &kind)
        if error == NULL:
            error = api.shared_new(<void*><uintptr_t>variant.pointer, kind, &self.pointer)
            api.memorytype_delete(kind)
        if error != NULL:
            raise LoadError(f"shared memory of {minimum} to {maximum} pages: {take_message(error)}")
        self.variant, self.minimum, self.maximum = variant, minimum, maximum

    def __dealloc__(self):
        if self.pointer != NULL:
            api.shared_delete(self.pointer)

    @property
    def handle(self) -> int:
        """Address of the engine's handle; good as long as this object lives."""
        return <uintptr_t>self.pointer

    @property
    def address(self) -> int:
        """Address of the first byte in this process; it never moves."""
        return <uintptr_t>api.shared_data(self.pointer)

    @property
    def size(self) -> int:
        """Current size in bytes."""
        return api.shared_data_size(self.pointer)


cdef class Template:
    """A module with all imports bound.

    Made by :meth:`Module.link`.  Instances are opened from any thread.
    """

    cdef void* pre
    cdef Bound* bounds
    cdef uint32_t n_bounds
    cdef bint counted                       # its calls are told apart in the instance's counters
    cdef list keep
    cdef uintptr_t engine
    cdef readonly object module
    cdef readonly dict signatures           # exported functions: name -> (params, results)
    cdef readonly tuple import_names        # "module.name", in the order of the counters
    cdef uint64_t memory_minimum            # bytes, over all own memories
    cdef list memory_ranges                 # (minimum, maximum) in bytes of each own memory
    cdef readonly SharedMemory shared

    def __init__(self, module, bindings, SharedMemory shared=None, *, bint counted=True):
        self.module = module
        self.counted = counted
        self.shared = shared
        self.keep = [bindings]
        self.engine = module.variant.pointer
        info = module.info
        self.signatures = {
            name: (item.params, item.results) for name, item in info.exports.items() if item.kind == "function"
        }
        self.memory_ranges = [
            (m.minimum * m.page_size, min((65536 if m.maximum is None else m.maximum) * m.page_size, 1 << 32))
            for m in info.memories if not m.shared
        ]
        self.memory_minimum = sum([low for low, _ in self.memory_ranges])
        imports = [item for item in info.imports if item.kind == "function"]
        self.import_names = tuple([f"{item.module}.{item.name}" for item in imports])
        self.bounds = <Bound*>calloc(max(len(imports), 1), sizeof(Bound))
        if self.bounds == NULL:
            raise MemoryError("no memory for the imports of a module")
        cdef void* linker = api.linker_new(<void*>self.engine)
        api.linker_shadowing(linker, 1)
        try:
            for item in imports:
                self.bind(linker, item, bindings[item.module, item.name])
            if shared is not None:
                self.define_shared(linker, info)
            self.finish(linker)
        finally:
            api.linker_delete(linker)

    cdef int bind(self, void* linker, item, row) except -1:
        cdef Bound* bound = &self.bounds[self.n_bounds]
        cdef void* entry
        if row.params != item.params or row.results != item.results:
            raise WrongImportType(item.module, item.name, signature(item.params, item.results), [row.signature])
        if max(len(item.params), len(item.results)) > MAX_VALUES or set(item.params + item.results) - set("iIfF"):
            raise WrongImportType(
                item.module, item.name, signature(item.params, item.results),
                [f"at most {MAX_VALUES} numbers of types i32, i64, f32, f64"])
        bound.index = self.n_bounds + 1 if self.counted else 0
        bound.n_params = len(item.params)
        for position, letter in enumerate(item.params):
            bound.params[position] = ord(letter)
        bound.n_results = len(item.results)
        for position, letter in enumerate(item.results):
            bound.results[position] = ord(letter)
        how = row.implementation
        if isinstance(how, Native):
            bound.function = <native_t><void*><uintptr_t>how.address
            bound.env = <void*><uintptr_t>how.env
            self.keep.append(how.otherwise)
            bound.callable = <PyObject*>how.otherwise
            entry = <void*>enter_native
        elif isinstance(how, Constant):
            if len(item.results) > 1:
                raise ValueError(f"{item.module}.{item.name}: a constant answers one result, not several")
            mask = 0xFFFFFFFF if item.results == "i" else 0xFFFFFFFFFFFFFFFF
            bound.env = <void*><uintptr_t>(how.value & mask)
            entry = <void*>enter_constant
        elif isinstance(how, Trapping):
            message = how.message.encode()
            self.keep.append(message)
            bound.env = <void*><char*>message
            entry = <void*>enter_trapping
        else:
            self.keep.append(how)
            bound.callable = <PyObject*>how
            entry = <void*>enter_python
        self.n_bounds += 1
        return self.define(linker, item, entry, bound)

    cdef int define(self, void* linker, item, void* entry, Bound* bound) except -1:
        cdef bytes module = item.module.encode()
        cdef bytes name = item.name.encode()
        cdef void* kind = function_type(item.params, item.results)
        cdef void* error = api.linker_define_func(
            linker, module, len(module), name, len(name), kind,
            <void* (*)(void*, void*, val_t*, size_t) noexcept nogil>entry, bound, NULL)
        api.functype_delete(kind)
        if error != NULL:
            raise LoadError(f"import {item.module}.{item.name}: {take_message(error)}")
        return 0

    cdef int define_shared(self, void* linker, info) except -1:
        """Bind the imported shared memory; a store is only needed as a formality."""
        cdef extern_t item
        cdef bytes module, name
        cdef void* error
        cdef void* store
        for wanted in info.imports:
            if wanted.kind != "memory":
                continue
            module, name = wanted.module.encode(), wanted.name.encode()
            item.kind = EXTERN_SHARED
            item.of.shared = self.shared.pointer
            store = api.store_new(<void*>self.engine, NULL, NULL)
            error = api.linker_define(linker, api.store_context(store), module, len(module), name, len(name), &item)
            api.store_delete(store)
            if error != NULL:
                raise LoadError(f"import {wanted.module}.{wanted.name}: {take_message(error)}")
        return 0

    cdef int finish(self, void* linker) except -1:
        cdef void* error = api.linker_pre(linker, <void*><uintptr_t>self.module.pointer, &self.pre)
        if error != NULL:
            raise LoadError(take_message(error))
        return 0

    def __dealloc__(self):
        if self.pre != NULL:
            api.pre_delete(self.pre)
        free(self.bounds)

    def open(self, *, memory_limit=UNLIMITED, output_limit=UNLIMITED, fuel=None) -> Instance:
        """Make a new instance; nothing of the guest has run yet.

        Args:
            memory_limit: bytes, over all memories of the instance together.
            output_limit: bytes of output.
            fuel: instructions, only for a module compiled with metering; ``None`` for no limit.

        Raises:
            MemoryLimit: what the memories need at the start is already too much.
        """
        cdef Instance instance
        cdef uint64_t minimum = self.memory_minimum
        cdef void* error
        if self.shared is not None:
            minimum += self.shared.maximum * 65536
        if minimum > memory_limit:
            raise MemoryLimit(minimum, memory_limit)
        instance = Instance.__new__(Instance)
        instance.prepare(<void*>self.engine, self.pre, self, self.n_bounds + 1)
        instance.record.memory_limit = memory_limit
        instance.record.output_limit = output_limit
        api.store_limiter(instance.store, self.largest_memory(memory_limit), MAX_TABLE_ELEMENTS, -1, -1, -1)
        if self.module.metered:
            instance.fuel_limit = fuel if fuel is not None else 0x7FFFFFFFFFFFFFFF
            error = api.set_fuel(instance.record.context, instance.fuel_limit)
            if error != NULL:
                raise RuntimeError(take_message(error))
        elif fuel is not None:
            raise ValueError("this module was compiled without metering; compile it with metered=True")
        return instance

    def beside(self, Instance instance not None) -> bytes:
        """Instantiate in the store of a started instance; return the engine's handle, for `guesthouse.engine.linking`.

        Only templates that are not `counted` may be used so: the counters are those of the instance's module.

        Raises:
            Trap: the module's start function trapped, or it does not fit the store.
        """
        cdef gh_instance handle
        cdef void* trap_ = NULL
        cdef void* error
        cdef Record* record = instance.alive()
        if self.counted or self.engine != <uintptr_t>instance.template.module.variant.pointer:
            raise ValueError("only an uncounted template of the same engine can share an instance's store")
        error = api.pre_instantiate(self.pre, record.context, &handle, &trap_)
        if error != NULL or trap_ != NULL:
            raise instance.failure(error, trap_, None)
        return (<char*>&handle)[:sizeof(gh_instance)]

    cdef int64_t largest_memory(self, limit) except -1:
        """The engine limits each memory by itself: the largest bound that keeps their sum within the limit."""
        cdef list ranges = self.memory_ranges
        if len(ranges) <= 1:
            return limit
        low, high = 0, limit // 65536
        while low < high:
            middle = (low + high + 1) // 2
            if sum([min(most, max(least, middle * 65536)) for least, most in ranges]) <= limit:
                low = middle
            else:
                high = middle - 1
        return low * 65536


cdef void* function_type(str params, str results) except NULL:
    """Build the engine's type object; the caller frees it."""
    cdef bytes_t lists[2]
    cdef void* kinds[MAX_VALUES]
    for which, letters in enumerate((params, results)):
        for i, letter in enumerate(letters):
            kinds[i] = api.valtype_new("iIfF".index(letter))
        api.valtypes_new(&lists[which], len(letters), kinds)
    return api.functype_new(&lists[0], &lists[1])
