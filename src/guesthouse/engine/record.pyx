# cython: language_level=3
"""What native host functions may do with the instance record; see record.pxd."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, strlen

from guesthouse.engine.abi cimport api, boxed_t

cdef extern from *:
    """
    #include <time.h>
    #include <pthread.h>
    static int64_t gh_clock(clockid_t id) {
        struct timespec now;
        clock_gettime(id, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    /* Bytes of native stack that this thread has left. */
    static __thread uintptr_t gh_stack_low = 0;
    static size_t gh_stack_left(void) {
        char here;
        if (!gh_stack_low) {
            pthread_attr_t attributes;
            void *low = 0;
            size_t size = 0, guard = 0;
            if (pthread_getattr_np(pthread_self(), &attributes)) return 0;
            pthread_attr_getstack(&attributes, &low, &size);
            pthread_attr_getguardsize(&attributes, &guard);
            pthread_attr_destroy(&attributes);
            gh_stack_low = (uintptr_t)low + guard;
        }
        return (uintptr_t)&here > gh_stack_low ? (uintptr_t)&here - gh_stack_low : 0;
    }
    """
    int64_t gh_clock(int which) nogil
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    size_t gh_stack_left() nogil

cdef enum:
    PAGE = 65536
    SLICE = 10000000            # ns: the longest a host function blocks without looking up
    # The stack of one wasm call (WASM_STACK in core.pyx), and room for the host functions below it.
    STACK_NEEDED = 512 * 1024 + 256 * 1024


cdef int stack_suffices() noexcept nogil:
    return gh_stack_left() >= STACK_NEEDED


cdef void adopt_memory(Record* record, extern_t* item) noexcept nogil:
    if item.kind == EXTERN_MEMORY:
        record.memory_kind = 1
        record.memory = item.of.item
    elif item.kind == EXTERN_SHARED:
        record.memory_kind = 2
        record.shared = item.of.shared      # given back with the instance
    else:
        api.extern_delete(item)


cdef int refresh(Record* record, uint64_t end) noexcept nogil:
    cdef extern_t item
    if record.memory_kind == 0 and record.caller != NULL:
        # A start function calls the host: the instance is there, but nobody has been given it yet.
        if api.caller_export(record.caller, b"memory", 6, &item):
            adopt_memory(record, &item)
    if record.memory_kind == 1:
        record.base = api.memory_data(record.context, &record.memory)
        record.size = api.memory_data_size(record.context, &record.memory)
    elif record.memory_kind == 2:
        record.base = api.shared_data(record.shared)
        record.size = api.shared_data_size(record.shared)
    else:
        return 0
    return record.base != NULL and end <= record.size


cdef uint64_t memory_size(Record* record) noexcept nogil:
    refresh(record, 0)
    return record.size


cdef int64_t memory_grow(Record* record, uint64_t pages) noexcept nogil:
    cdef uint64_t previous = 0
    cdef void* error
    if memory_size(record) + pages * PAGE > record.memory_limit or pages > PAGE:
        return -1
    if record.memory_kind == 1:
        error = api.memory_grow(record.context, &record.memory, pages, &previous)
    elif record.memory_kind == 2:
        error = api.shared_grow(record.shared, pages, &previous)
    else:
        return -1
    if error != NULL:
        api.error_delete(error)
        return -1
    refresh(record, 0)
    return <int64_t>previous


cdef int trap(Record* record, const char* message) noexcept nogil:
    cdef size_t length = strlen(message)
    if length >= sizeof(record.message):
        length = sizeof(record.message) - 1
    memcpy(record.message, message, length)
    record.message[length] = 0
    record.ending = ENDING_MESSAGE
    return TRAPPED


cdef int leave(Record* record, int32_t code) noexcept nogil:
    record.exit_code = code
    record.ending = ENDING_EXIT
    return TRAPPED


cdef int end(Record* record, int ending) noexcept nogil:
    record.ending = ending
    return TRAPPED


cdef int reserve_output(Record* record, uint64_t length) noexcept nogil:
    cdef uint64_t capacity
    cdef uint8_t* grown
    if length > record.output_limit:
        return end(record, ENDING_OUTPUT)
    if length > record.output_capacity:
        capacity = max(length, min(2 * record.output_capacity, record.output_limit), <uint64_t>256)
        grown = <uint8_t*>realloc(record.output, capacity)
        if grown == NULL:
            return trap(record, b"the host has no memory left for the output")
        record.output = grown
        record.output_capacity = capacity
    return OK


cdef int set_output(Record* record, const uint8_t* data, uint64_t length) noexcept nogil:
    if reserve_output(record, length) != OK:
        return TRAPPED
    if length:
        memcpy(record.output, data, length)
    record.output_len = length
    return OK


cdef int append_output(Record* record, const uint8_t* data, uint64_t length) noexcept nogil:
    if length > record.output_limit or reserve_output(record, record.output_len + length) != OK:
        return end(record, ENDING_OUTPUT) if record.ending == NOT_ENDING else TRAPPED
    if length:
        memcpy(record.output + record.output_len, data, length)
    record.output_len += length
    return OK


cdef int interrupted(Record* record) noexcept nogil:
    return over(record, gh_clock(CLOCK_MONOTONIC) if record.deadline else 0)


cdef int over(Record* record, int64_t now) noexcept nogil:
    if record.cancelled:
        record.ending = ENDING_CANCELLED
        return 1
    if record.deadline and now >= record.deadline:
        record.ending = ENDING_DEADLINE
        return 1
    return 0


cdef int64_t slice(Record* record, int64_t wanted) noexcept nogil:
    cdef int64_t most = SLICE if wanted < 0 or wanted > SLICE else wanted
    cdef int64_t rest
    if record.deadline:
        rest = record.deadline - gh_clock(CLOCK_MONOTONIC)
        most = min(most, max(rest, <int64_t>0))
    return most


cdef int64_t monotonic() noexcept nogil:
    return gh_clock(CLOCK_MONOTONIC)


cdef int64_t realtime() noexcept nogil:
    return gh_clock(CLOCK_REALTIME)


cdef int call_func(Record* record, func_t* func, val_t* args, size_t n) noexcept nogil:
    cdef void* trap_ = NULL
    cdef void* error
    if not stack_suffices():
        return trap(record, b"too little native stack is left for a guest: calls nest too deep")
    record.depth += 1
    error = api.func_call(record.context, func, args, n, &trap_)
    record.depth -= 1
    if error == NULL and trap_ == NULL:
        return OK
    if record.ending == NOT_ENDING:
        trap(record, b"the guest trapped in a function that the host called")
    if error != NULL:
        api.error_delete(error)
    if trap_ != NULL:
        api.trap_delete(trap_)
    return TRAPPED


cdef int find_func(Record* record, const char* name, func_t* out) noexcept nogil:
    cdef extern_t item
    cdef gh_instance* handle = <gh_instance*>record.handle
    if not api.export_get(record.context, handle, name, strlen(name), &item):
        return 0
    if item.kind != EXTERN_FUNC:
        api.extern_delete(&item)
        return 0
    out[0] = item.of.func
    return 1


cdef int table_func(Record* record, uint32_t index, func_t* out) noexcept nogil:
    cdef extern_t item
    cdef boxed_t value
    cdef gh_instance* handle = <gh_instance*>record.handle
    if not api.export_get(record.context, handle, b"__indirect_function_table", 25, &item):
        return 0
    if item.kind != EXTERN_TABLE:
        api.extern_delete(&item)
        return 0
    if not api.table_get(record.context, &item.of.item, index, &value) or value.of[0] == 0:
        return 0
    memcpy(out, &value.of[0], sizeof(func_t))
    return 1
