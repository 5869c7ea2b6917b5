# cython: language_level=3
"""What the engine says about a guest that ended early, and what host functions have it end with."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, uint32_t

from guesthouse.engine.abi cimport api, bytes_t, frames_t
from guesthouse.engine.record cimport ENDING_EXCEPTION, Record, end, leave

from guesthouse.engine.exits import Exit

#: Reasons of the engine's trap codes, in its own numbering.
TRAP_REASONS = (
    "call stack exhausted", "out of bounds memory access", "misaligned atomic access",
    "out of bounds table access", "indirect call to null", "indirect call to a function of another type",
    "integer overflow", "integer divide by zero", "invalid conversion to integer", "unreachable executed",
    "interrupted", "out of fuel",
)


cdef str take_message(void* error):
    cdef bytes_t text
    api.error_message(error, &text)
    message = text.data[:text.size].decode("utf-8", "replace")
    api.bytes_delete(&text)
    api.error_delete(error)
    return message


cdef list take_backtrace(void* error, void* trap_):
    """The guest's frames, innermost first, at most 32."""
    cdef frames_t frames
    cdef bytes_t* label
    cdef size_t i
    result = []
    if trap_ != NULL:
        api.trap_trace(trap_, &frames)
    elif error != NULL:
        api.error_trace(error, &frames)
    else:
        return result
    for i in range(min(frames.size, <size_t>32)):
        label = api.frame_function(frames.data[i])
        name = label.data[:label.size].decode("utf-8", "replace") if label != NULL else None
        offset = api.frame_offset(frames.data[i])
        result.append(f"{name or f'function {api.frame_index(frames.data[i])}'} (+{offset:#x})")
    api.frames_delete(&frames)
    return result


cdef int park(Record* record, object error) noexcept:
    if isinstance(error, Exit):
        return leave(record, <int32_t><uint32_t>(error.code & 0xFFFFFFFF))
    Py_XDECREF(record.pending)
    Py_INCREF(error)
    record.pending = <PyObject*>error
    return end(record, ENDING_EXCEPTION)
