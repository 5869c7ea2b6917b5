# cython: language_level=3
"""Arguments, environment, clocks, random bytes and the ways to end."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, strlen

from guesthouse.engine.core cimport OK, TRAPPED, Record, interrupted, leave, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.entropy cimport SMALL_DRAW, draw_small
from guesthouse.interfaces.wasi.errnos cimport translate
from guesthouse.interfaces.wasi.memory cimport answer, put32, put64
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *

cdef enum:
    RANDOM_PIECE = 1 << 20      # how much is drawn before the call is asked whether it goes on


cdef int _strings(Record* record, Blob* blob, uint32_t pointers, uint32_t buffer) noexcept nogil:
    cdef uint8_t* table = span(record, pointers, <uint64_t>blob.count * 4)
    cdef uint8_t* at = span(record, buffer, blob.size)
    cdef uint32_t index, offset = 0
    if table == NULL or at == NULL:
        return EFAULT_W
    if blob.size:
        memcpy(at, blob.data, blob.size)
    for index in range(blob.count):
        w32(table + 4 * index, buffer + offset)
        offset += <uint32_t>strlen(<const char*>blob.data + offset) + 1
    return SUCCESS


cdef int _sizes(Record* record, Blob* blob, uint32_t count, uint32_t size) noexcept nogil:
    if span(record, size, 4) == NULL:
        return EFAULT_W
    return put32(record, count, blob.count) or put32(record, size, blob.size)


cdef int args_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _strings(record, &task_of(record).wasi.args, args[0].u32, args[1].u32))


cdef int args_sizes_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _sizes(record, &task_of(record).wasi.args, args[0].u32, args[1].u32))


cdef int environ_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _strings(record, &task_of(record).wasi.env, args[0].u32, args[1].u32))


cdef int environ_sizes_get(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _sizes(record, &task_of(record).wasi.env, args[0].u32, args[1].u32))


# WASI and Linux number these four clocks alike.
cdef int clock_time_get(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint32_t clock = args[0].u32
    cdef int64_t now
    if clock > 3:
        return answer(args, EINVAL_W)
    now = clock_ns(<int>clock)
    if clock == 0:
        now += task_of(record).wasi.realtime_shift
    return answer(args, put64(record, args[2].u32, <uint64_t>now))


cdef int clock_res_get(Record* record, val_t* args, void* env) noexcept nogil:
    if args[0].u32 > 3:
        return answer(args, EINVAL_W)
    return answer(args, put64(record, args[1].u32, <uint64_t>clock_res_ns(<int>args[0].u32)))


cdef int random_get(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint64_t length = args[1].u32
    cdef uint8_t* at = span(record, args[0].u32, length)
    cdef ssize_t count
    cdef int error
    if at == NULL:
        return answer(args, EFAULT_W)
    if length <= SMALL_DRAW:
        error = draw_small(at, length)
        return answer(args, translate(error) if error else SUCCESS)
    while length:
        count = getrandom(at, length if length < RANDOM_PIECE else RANDOM_PIECE, 0)
        if count < 0:
            if host_errno() == EINTR:
                continue
            return answer(args, translate(host_errno()))
        at += count
        length -= <uint64_t>count
        if length and interrupted(record):
            return TRAPPED
    return answer(args, SUCCESS)


cdef int sched_yield(Record* record, val_t* args, void* env) noexcept nogil:
    if idle(record) != OK:
        return TRAPPED
    return answer(args, SUCCESS)


cdef int proc_exit(Record* record, val_t* args, void* env) noexcept nogil:
    return leave(record, args[0].i32)


cdef int proc_raise(Record* record, val_t* args, void* env) noexcept nogil:
    # What is ignored by default (chld, cont, urg, winch) is ignored; the rest ends the program as a shell tells it.
    cdef uint32_t signal = args[0].u32
    if signal == 0 or signal == 17 or signal == 18 or signal == 22 or signal == 28:
        return answer(args, SUCCESS)
    if signal > 30:
        return answer(args, EINVAL_W)
    return leave(record, 128 + <int>signal)


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "args_get": <uintptr_t>&args_get,
    "args_sizes_get": <uintptr_t>&args_sizes_get,
    "environ_get": <uintptr_t>&environ_get,
    "environ_sizes_get": <uintptr_t>&environ_sizes_get,
    "clock_time_get": <uintptr_t>&clock_time_get,
    "clock_res_get": <uintptr_t>&clock_res_get,
    "random_get": <uintptr_t>&random_get,
    "sched_yield": <uintptr_t>&sched_yield,
    "proc_exit": <uintptr_t>&proc_exit,
    "proc_raise": <uintptr_t>&proc_raise,
}
