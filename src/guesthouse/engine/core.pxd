# cython: language_level=3
"""Instances as compiled code sees them, and all of the record (record.pxd), so that one cimport serves."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from cpython.ref cimport PyObject

from guesthouse.engine.record cimport (
    ASK_PYTHON, EXTERN_FUNC, EXTERN_GLOBAL, EXTERN_MEMORY, EXTERN_SHARED, EXTERN_TABLE, ENDING_CANCELLED, ENDING_DEADLINE,
    ENDING_EXCEPTION, ENDING_EXIT, ENDING_MEMORY, ENDING_MESSAGE, ENDING_OUTPUT, Ending, NOT_ENDING, OK, Record,
    SLOTS, TRAPPED, adopt_memory, append_output, call_func, end, extern_of_t, extern_t, find_func, func_t, gh_instance,
    interrupted, item_t, leave, memory_grow, memory_size, monotonic, native_t, over, realtime, refresh, set_output,
    slice, span, stack_suffices, table_func, trap, val_t,
)

# Native state that a capability keeps for one instance; subclasses hold C fields and set `pointer`.
cdef class Attachment:
    cdef void* pointer
    # Called once before the store is dropped, whatever way the call ended, on a live record.
    cdef void detach(self) noexcept

cdef class Instance:
    cdef Record* record
    cdef void* store
    cdef void* pre                      # wasmtime_instance_pre_t*, owned by the template
    cdef readonly object template
    cdef readonly object places         # the line before the pool, None outside of one
    cdef public object call             # handed to Python host functions as their first argument
    cdef list attachments
    cdef dict functions
    cdef object input_owner
    cdef size_t thread                  # ident of the thread that is inside, 0 for none
    cdef bint started
    cdef bint broken                    # a trap or timeout ended it: never entered again
    cdef bint closing                   # close() came while a thread was inside
    cdef object fuel_limit
    cdef str cancel_reason
    cdef gh_instance handle
    cdef object __weakref__
    cdef void release(self)
    cdef Record* alive(self) except NULL
    cdef uint8_t* span(self, object pointer, object length) except NULL
    cdef int prepare(self, void* engine, void* pre, object template, uint32_t imports) except -1
    cdef void enter(self) except *
    cdef void enter_at(self, int64_t now) except *
    cdef void exit(self)
    cdef object failure(self, void* error, void* trap, str function)
    cdef func_t* lookup(self, str name) except NULL

# Claims one of the SLOTS for a capability, once per process, at import time.
cpdef int claim_slot(str name) except -1
