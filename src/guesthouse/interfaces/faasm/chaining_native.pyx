# cython: language_level=3
"""Chaining host functions: ranges, names and bytes without the GIL, which only the scheduler needs (spec 2.2, 3.3)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from guesthouse.engine.core cimport Instance
from guesthouse.engine.record cimport (
    OK, TRAPPED, Record, native_t, span, trap, val_t,
)
from guesthouse.engine.traps cimport park
from guesthouse.interfaces.faasm.io cimport text

from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.children import by_name, by_pointer, by_python_entry, result_of
from guesthouse.interfaces.faasm.message import output_of
from guesthouse.interfaces.faasm.session import session_of

cdef enum:
    # Bytes that are copied with the GIL held, since giving it away would cost more.
    LITTLE = 1 << 16

# What a call of another function is to be made of; everything in it was checked.
cdef struct Order:
    uint8_t* name           # NULL where there is none
    uint64_t named
    uint8_t* data
    uint64_t given

# What a call has put out and is to be handed over.
cdef struct Output:
    PyObject* owner         # of the bytes; NULL where there are none
    uint8_t* data
    uint64_t length
    uint32_t code           # the call's return value


# -- starting ------------------------------------------------------------------------------------------


cdef inline bint takes(Record* record, val_t* args, Order* order) noexcept nogil:
    """The input, which arguments 1 and 2 say; false when it is not in the guest's memory."""
    order.given = args[2].u32
    order.data = span(record, args[1].u32, order.given) if order.given else NULL
    record.bytes_in += order.given
    return order.given == 0 or order.data != NULL


cdef int chain_name(Record* record, val_t* args, void* env) noexcept nogil:
    # (name, data, length) -> id
    return chain_text(record, args, b"__faasm_chain_name: the name reaches outside of the guest's memory", True)


cdef int chain_python(Record* record, val_t* args, void* env) noexcept nogil:
    # (entry, data, length) -> id
    return chain_text(record, args, b"__faasm_chain_py: the entry reaches outside of the guest's memory", False)


cdef int chain_text(Record* record, val_t* args, const char* bad, bint named) noexcept nogil:
    cdef Order order
    order.name = text(record, args[0].u32, &order.named)
    if order.name == NULL:
        return trap(record, bad)
    if not takes(record, args, &order):
        return trap(record, b"the input of a chained call reaches outside of the guest's memory")
    return begin(record, args, &order, named)


cdef int chain_pointer(Record* record, val_t* args, void* env) noexcept nogil:
    # (index, data, length) -> id
    cdef Order order
    order.name = NULL
    if not takes(record, args, &order):
        return trap(record, b"the input of a chained call reaches outside of the guest's memory")
    return begin(record, args, &order, False)


cdef int begin(Record* record, val_t* args, Order* order, bint named) noexcept with gil:
    """Hand the call to the scheduler."""
    try:
        call = (<Instance>record.owner).call
        data = copied(order.data, order.given)
        if order.name == NULL:
            number = by_pointer(call, args[0].u32, data)
        else:
            name = PyBytes_FromStringAndSize(<char*>order.name, order.named)
            number = by_name(call, name, data) if named else by_python_entry(call, name, data)
        args[0].u64 = <uint32_t>number
        return OK
    except BaseException as error:
        return park(record, error)


cdef bytes copied(const uint8_t* data, uint64_t length):
    """Guest bytes as an object; a lot of them is copied while others run."""
    cdef bytes made
    cdef char* into
    if length <= LITTLE:
        return PyBytes_FromStringAndSize(<const char*>data, length) if length else b""
    made = PyBytes_FromStringAndSize(NULL, length)
    into = PyBytes_AS_STRING(made)
    with nogil:
        memcpy(into, data, length)
    return made


# -- waiting -------------------------------------------------------------------------------------------


cdef int await_call(Record* record, val_t* args, void* env) noexcept nogil:
    # (id) -> the return value, 1 for every kind of failure
    return await_code(record, args)


cdef int await_code(Record* record, val_t* args) noexcept with gil:
    try:
        result = result_of((<Instance>record.owner).call, args[0].u32)
        args[0].u64 = code_of(result)
        return OK
    except BaseException as error:
        return park(record, error)


cdef uint32_t code_of(result) except? 1:
    cdef int64_t code
    if result is None or result.error is not None:
        return 1
    code = result.code
    if not -0x80000000 <= code <= 0xFFFFFFFF:
        raise OverflowError(f"call {result.call_id} returned {code}, which is no i32")
    return <uint32_t>code


cdef int await_call_output(Record* record, val_t* args, void* env) noexcept nogil:
    # Now: (id, char**, int*) -> return value; the output goes into memory from the guest's own malloc.
    # The old form, by configuration: (id, buffer, capacity).
    cdef Output output
    cdef int outcome
    output.owner = NULL
    outcome = fetch(record, args, &output)
    if output.owner != NULL:
        outcome = hand_over(record, &output, args[1].u32, args[2].u32)
        with gil:
            Py_XDECREF(output.owner)
    args[0].u64 = output.code
    return outcome


cdef int fetch(Record* record, val_t* args, Output* output) noexcept with gil:
    """Wait, and say what is to be handed over: nothing when that has happened, or there is nothing."""
    cdef Instance instance = <Instance>record.owner
    try:
        result = result_of(instance.call, args[0].u32)
        output.code = code_of(result)
        data = b"" if result is None else output_of(result)
        if session_of(instance.call).settings.await_form == "buffer":
            instance.write(args[1].u32, data[:args[2].u32])
        elif result is None:
            instance.write(args[1].u32, bytes(4))
            instance.write(args[2].u32, bytes(4))
        elif instance.signature("malloc") != ("i", "i"):
            raise Trap(
                "the module exports no malloc, which this call needs; link with --export=malloc",
                guest=instance.call.guest, function="__faasm_await_call_output")
        else:
            data = data if isinstance(data, bytes) else bytes(data)
            Py_INCREF(data)
            output.owner = <PyObject*>data
            output.data = <uint8_t*>PyBytes_AS_STRING(data)
            output.length = PyBytes_GET_SIZE(data)
        return OK
    except BaseException as error:
        return park(record, error)


cdef int hand_over(Record* record, Output* output, uint32_t pointer_at, uint32_t length_at) noexcept nogil:
    """Copy an output into memory that the guest has to free; where it has none left, that is a failure."""
    cdef val_t cell[1]
    cdef uint8_t* into
    cdef uint32_t size = <uint32_t>output.length
    # The stores come first: they refuse bad pointers before anything is allocated.
    if not store(record, pointer_at, 0) or not store(record, length_at, 0):
        return trap(record, b"__faasm_await_call_output: a result lies outside of the guest's memory")
    cell[0].u64 = size
    if allocate(record, cell) != OK:
        return TRAPPED
    if cell[0].u32 == 0:
        output.code = 1
        return OK
    into = span(record, cell[0].u32, size)
    if into == NULL:
        return trap(record, b"__faasm_await_call_output: malloc returned a block outside of the guest's memory")
    memcpy(into, output.data, size)
    record.bytes_out += size
    store(record, pointer_at, cell[0].u32)
    store(record, length_at, size)
    return OK


cdef int allocate(Record* record, val_t* cell) noexcept with gil:
    """The guest's own malloc, which is there; what it ends with is what the call ends with."""
    try:
        cell[0].u64 = (<Instance>record.owner).invoke("malloc", cell[0].u32)
        return OK
    except BaseException as error:
        return park(record, error)


cdef inline bint store(Record* record, uint32_t pointer, uint32_t value) noexcept nogil:
    cdef uint8_t* into = span(record, pointer, 4)
    if into == NULL:
        return False
    memcpy(into, &value, 4)
    return True


cdef native_t _chain_name = chain_name
cdef native_t _chain_pointer = chain_pointer
cdef native_t _chain_python = chain_python
cdef native_t _await_call = await_call
cdef native_t _await_call_output = await_call_output

#: Addresses of the native functions by import name.
FUNCTIONS = {
    "__faasm_chain_name": <uintptr_t>_chain_name,
    "__faasm_chain_function": <uintptr_t>_chain_name,
    "__faasm_chain_ptr": <uintptr_t>_chain_pointer,
    "__faasm_chain_py": <uintptr_t>_chain_python,
    "__faasm_await_call": <uintptr_t>_await_call,
    "__faasm_await_call_output": <uintptr_t>_await_call_output,
}
