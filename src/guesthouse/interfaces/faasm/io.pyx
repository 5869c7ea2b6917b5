# cython: language_level=3
"""Input, output and strings of Faasm functions, without the GIL where guests call often (spec 2.2)."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memchr, memcpy
from cpython.bytes cimport PyBytes_FromStringAndSize

from guesthouse.engine.core cimport (
    Instance, OK, Record, memory_size, native_t, set_output, span, trap, val_t,
)
from guesthouse.engine.exits import OutOfBounds

cdef enum:
    MOST_TEXT = 1 << 20     # bytes of a key, name or path


cdef int read_input(Record* record, val_t* args, void* env) noexcept nogil:
    # (buffer, length) -> count; length 0 asks for the size, nothing is consumed.
    cdef uint32_t buffer = args[0].u32
    cdef uint64_t length = args[1].u32
    cdef uint8_t* target
    if length == 0 or record.input_len == 0:
        args[0].u64 = record.input_len
        return OK
    if length > record.input_len:
        length = record.input_len
    target = span(record, buffer, length)
    if target == NULL:
        return trap(record, b"__faasm_read_input: the buffer is outside of the guest's memory")
    memcpy(target, record.input, length)
    record.bytes_out += length
    args[0].u64 = length
    return OK


cdef int write_output(Record* record, val_t* args, void* env) noexcept nogil:
    # (data, length): the whole output; a later call replaces it, and NUL bytes are bytes like others.
    cdef uint64_t length = args[1].u32
    cdef uint8_t* source = span(record, args[0].u32, length)
    if source == NULL:
        return trap(record, b"__faasm_write_output: the data is outside of the guest's memory")
    record.bytes_in += length
    return set_output(record, source, length)


cdef native_t _read_input = read_input
cdef native_t _write_output = write_output

#: Addresses of the native functions by import name.
FUNCTIONS = {
    "__faasm_read_input": <uintptr_t>_read_input,
    "__faasm_write_output": <uintptr_t>_write_output,
}


cdef uint8_t* text(Record* record, uint32_t pointer, uint64_t* length) noexcept nogil:
    cdef uint64_t room = memory_size(record)
    cdef uint8_t* begin
    cdef uint8_t* end
    length[0] = 0
    if pointer >= room:
        return NULL
    length[0] = room = min(room - pointer, <uint64_t>MOST_TEXT)
    begin = span(record, pointer, room)
    end = <uint8_t*>memchr(begin, 0, room) if begin != NULL else NULL
    if end == NULL:
        return NULL
    length[0] = end - begin
    return begin


def text_at(Instance instance not None, pointer):
    """Return the bytes of the NUL-terminated string at a guest address, without the NUL.

    Raises:
        OutOfBounds: the string does not end inside of the guest's memory, or not within 1 MiB.
    """
    cdef uint64_t length = 0
    cdef Record* record = instance.alive()
    cdef uint8_t* begin = text(record, pointer, &length) if 0 <= pointer <= 0xFFFFFFFF else NULL
    if begin == NULL:
        raise OutOfBounds(pointer, length + 1, record.size)
    return PyBytes_FromStringAndSize(<char*>begin, length)
