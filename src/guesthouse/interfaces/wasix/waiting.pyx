# cython: language_level=3
"""Sleeping, yielding ids, and futexes, natively.

Every waiter of a futex has a word of its own that it sleeps on, so waking needs no luck: a waiter that is
between two looks at whether its call goes on cannot miss it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

from guesthouse.engine.core cimport ENDING_CANCELLED, OK, TRAPPED, Record, end, interrupted, slice, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.memory cimport answer, put32
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *


cdef int thread_sleep(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint64_t wanted = args[0].u64
    cdef int64_t until, left
    cdef pollfd none
    if idle(record) != OK:
        return TRAPPED
    if wanted > 0x3fffffffffffffffULL:
        wanted = 0x3fffffffffffffffULL
    until = clock_ns(1) + <int64_t>wanted
    while wanted:
        if interrupted(record):
            return TRAPPED
        left = until - clock_ns(1)
        if left <= 0:
            break
        poll_ns(&none, 0, slice(record, left))
        if idle(record) != OK:
            return TRAPPED
    return answer(args, SUCCESS)


cdef int thread_id(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, put32(record, args[0].u32, task_of(record).tid))


cdef void _unlink(Wasi* wasi, Waiter* waiter) noexcept nogil:
    # Caller holds the lock.
    cdef Waiter** at = &wasi.waiters
    while at[0] != NULL:
        if at[0] == waiter:
            at[0] = waiter.following
            return
        at = &at[0].following


cdef int _wait(Record* record, uint32_t address, uint32_t expected, int64_t timeout, int* woken) noexcept nogil:
    cdef Wasi* wasi = task_of(record).wasi
    cdef Waiter waiter
    cdef Waiter** tail
    cdef uint8_t* at = span(record, address, 4)
    cdef int64_t until = clock_ns(1) + timeout if timeout >= 0 else -1, left = -1
    cdef int error = SUCCESS
    if at == NULL:
        return EFAULT_W
    if address & 3:
        return EINVAL_W
    waiter.address = address
    waiter.following = NULL
    waiter.woken = 0
    pthread_mutex_lock(&wasi.lock)
    if load32(at) != expected:
        pthread_mutex_unlock(&wasi.lock)
        woken[0] = 1                    # what implementations answer, and libc relies on
        return SUCCESS
    tail = &wasi.waiters                # first come, first served
    while tail[0] != NULL:
        tail = &tail[0].following
    tail[0] = &waiter
    pthread_mutex_unlock(&wasi.lock)
    while not atomic_load(&waiter.woken):
        if interrupted(record):
            error = STOP
            break
        if until >= 0:
            left = until - clock_ns(1)
            if left <= 0:
                break
        futex_wait_word(&waiter.woken, 0, slice(record, left))
    pthread_mutex_lock(&wasi.lock)
    _unlink(wasi, &waiter)
    woken[0] = waiter.woken
    pthread_mutex_unlock(&wasi.lock)
    return error


cdef int futex_wait(Record* record, val_t* args, void* env) noexcept nogil:
    cdef uint8_t* option = span(record, args[2].u32, 16)
    cdef uint32_t result = args[3].u32
    cdef int64_t timeout = -1
    cdef uint64_t wanted
    cdef int error, woken = 0
    if option == NULL or span(record, result, 1) == NULL:
        return answer(args, EFAULT_W)
    if option[0]:
        wanted = r64(option + 8)
        timeout = <int64_t>wanted if wanted < 0x3fffffffffffffffULL else 0x3fffffffffffffff
    error = _wait(record, args[0].u32, args[1].u32, timeout, &woken)
    if error == SUCCESS:
        span(record, result, 1)[0] = <uint8_t>woken
    return answer(args, error)


cdef int _wake(Record* record, uint32_t address, uint32_t result, int all) noexcept nogil:
    cdef Wasi* wasi = task_of(record).wasi
    cdef Waiter* waiter
    cdef Waiter* following
    cdef uint8_t* at = span(record, result, 1)
    cdef int count = 0
    if at == NULL or span(record, address, 4) == NULL:
        return EFAULT_W
    pthread_mutex_lock(&wasi.lock)
    waiter = wasi.waiters
    while waiter != NULL and (all or count == 0):
        following = waiter.following
        if waiter.address == address:
            _unlink(wasi, waiter)
            atomic_store(&waiter.woken, 1)
            futex_wake_word(&waiter.woken)      # it takes the lock before it goes, so the word is there
            count += 1
        waiter = following
    pthread_mutex_unlock(&wasi.lock)
    at[0] = 1 if count else 0
    return SUCCESS


cdef int futex_wake(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _wake(record, args[0].u32, args[1].u32, 0))


cdef int futex_wake_all(Record* record, val_t* args, void* env) noexcept nogil:
    return answer(args, _wake(record, args[0].u32, args[1].u32, 1))


#: Addresses of the native functions, by name.
FUNCTIONS = {
    "thread_sleep": <uintptr_t>&thread_sleep,
    "thread_id": <uintptr_t>&thread_id,
    "futex_wait": <uintptr_t>&futex_wait,
    "futex_wake": <uintptr_t>&futex_wake,
    "futex_wake_all": <uintptr_t>&futex_wake_all,
}
