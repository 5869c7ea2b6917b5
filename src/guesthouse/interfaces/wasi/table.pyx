# cython: language_level=3
"""The descriptor table (see ``table.pxd``)."""

from cpython.ref cimport Py_XDECREF
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from guesthouse.engine.core cimport OK, TRAPPED, claim_slot
from guesthouse.engine.traps cimport park
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.posix cimport (
    atomic_add, c_close, c_yield, pthread_mutex_lock, pthread_mutex_unlock,
)

slot = claim_slot("wasi")

# Stands in where an instance was given no WASI state: nothing open, no arguments.
cdef Wasi nothing
cdef Task nobody
memset(&nothing, 0, sizeof(nothing))
memset(&nobody, 0, sizeof(nobody))
nothing.table = nothing.first
nobody.wasi = &nothing


cdef Task* task_of(Record* record) noexcept nogil:
    return <Task*>record.slots[slot] if record.slots[slot] != NULL else &nobody


# --- descriptors -------------------------------------------------------------------------------------

cdef Desc* create(int kind, int filetype, int fd, uint64_t rights, uint64_t inheriting) noexcept nogil:
    cdef Desc* desc = <Desc*>calloc(1, sizeof(Desc))
    if desc == NULL:
        return NULL
    desc.refs = 1
    desc.kind = <uint8_t>kind
    desc.filetype = <uint8_t>filetype
    desc.fd = fd
    desc.rights = rights
    desc.inheriting = inheriting
    return desc


cdef void release(Desc* desc) noexcept nogil:
    if desc == NULL or atomic_add(&desc.refs, -1) > 0:
        return
    if desc.ops != NULL and desc.ops.drop != NULL:
        desc.ops.drop(desc)
    if desc.fd >= 0 and not desc.borrowed:
        c_close(desc.fd)
    desc.fd = -1
    if desc.listing != NULL:
        if desc.listing.fd >= 0:
            c_close(desc.listing.fd)
        free(desc.listing)
        desc.listing = NULL
    free(desc.known)
    desc.known = NULL
    if desc.object != NULL:
        with gil:
            Py_XDECREF(desc.object)
        desc.object = NULL
    if not desc.embedded:
        free(desc)


cdef Desc* acquire(Wasi* wasi, uint32_t fd) noexcept nogil:
    cdef Desc* desc = NULL
    pthread_mutex_lock(&wasi.lock)
    if fd < wasi.capacity:
        desc = wasi.table[fd]
        if desc != NULL:
            atomic_add(&desc.refs, 1)
    pthread_mutex_unlock(&wasi.lock)
    return desc


cdef Desc* demand(Record* record, uint32_t fd, uint64_t rights, int* error) noexcept nogil:
    cdef Task* task = task_of(record)
    cdef Desc* desc = acquire(task.wasi, fd)
    if desc == NULL:
        error[0] = EBADF_W
        return NULL
    if desc.rights & rights != rights:
        release(desc)
        error[0] = ENOTCAPABLE_W
        return NULL
    return desc


cdef int _widen(Wasi* wasi, uint32_t wanted) noexcept nogil:
    # Caller holds the lock.
    cdef uint32_t capacity = wasi.capacity
    cdef Desc** table
    if wanted < capacity:
        return SUCCESS
    if wanted >= wasi.limit:
        return EMFILE_W
    while capacity <= wanted:
        capacity *= 2
    table = <Desc**>calloc(capacity, sizeof(Desc*))
    if table == NULL:
        return ENOMEM_W
    memcpy(table, wasi.table, wasi.capacity * sizeof(Desc*))
    if wasi.table != wasi.first:
        free(wasi.table)
    wasi.table = table
    wasi.capacity = capacity
    return SUCCESS


cdef int insert(Wasi* wasi, Desc* desc, uint32_t minimum, uint32_t* fd) noexcept nogil:
    cdef uint32_t number
    cdef int error = SUCCESS
    pthread_mutex_lock(&wasi.lock)
    number = minimum if minimum > wasi.lowest else wasi.lowest
    while number < wasi.capacity and wasi.table[number] != NULL:
        number += 1
    if number >= wasi.limit:
        error = EMFILE_W if minimum < wasi.limit else EINVAL_W
    else:
        error = _widen(wasi, number)
    if error == SUCCESS:
        wasi.table[number] = desc
        wasi.open += 1
        if minimum <= wasi.lowest:
            wasi.lowest = number + 1
        fd[0] = number
    pthread_mutex_unlock(&wasi.lock)
    if error != SUCCESS:
        release(desc)
    return error


cdef int place(Wasi* wasi, Desc* desc, uint32_t fd) noexcept nogil:
    cdef Desc* old = NULL
    cdef int error
    pthread_mutex_lock(&wasi.lock)
    error = EBADF_W if fd >= wasi.limit else _widen(wasi, fd)
    if error == SUCCESS:
        old = wasi.table[fd]
        wasi.table[fd] = desc
        if old == NULL:
            wasi.open += 1
    pthread_mutex_unlock(&wasi.lock)
    release(old if error == SUCCESS else desc)
    return error


cdef int remove(Wasi* wasi, uint32_t fd) noexcept nogil:
    cdef Desc* desc = NULL
    pthread_mutex_lock(&wasi.lock)
    if fd < wasi.capacity:
        desc = wasi.table[fd]
        if desc != NULL:
            wasi.table[fd] = NULL
            wasi.open -= 1
            if fd < wasi.lowest:
                wasi.lowest = fd
    pthread_mutex_unlock(&wasi.lock)
    if desc == NULL:
        return EBADF_W
    release(desc)
    return SUCCESS


cdef int renumber(Wasi* wasi, uint32_t source, uint32_t target) noexcept nogil:
    cdef Desc* old = NULL
    cdef int error = SUCCESS
    pthread_mutex_lock(&wasi.lock)
    if (source >= wasi.capacity or target >= wasi.capacity or wasi.table[source] == NULL
            or wasi.table[target] == NULL):
        error = EBADF_W
    elif source != target:
        old = wasi.table[target]
        wasi.table[target] = wasi.table[source]
        wasi.table[source] = NULL
        wasi.open -= 1
        if source < wasi.lowest:
            wasi.lowest = source
    pthread_mutex_unlock(&wasi.lock)
    release(old)
    return error


cdef int append(Wasi* wasi, Buffer* buffer, const uint8_t* data, uint64_t length) noexcept nogil:
    # OK, or TRAPPED when the limit is reached: what fits is kept.
    cdef uint64_t wanted, room
    cdef uint8_t* grown
    cdef int result = OK
    pthread_mutex_lock(&wasi.lock)
    if length > buffer.limit - buffer.length:
        length = buffer.limit - buffer.length
        result = TRAPPED
    wanted = buffer.length + length
    if wanted > buffer.capacity:
        room = buffer.capacity * 2 if buffer.capacity else 512
        while room < wanted:
            room *= 2
        grown = <uint8_t*>realloc(buffer.data, room)
        if grown == NULL:
            pthread_mutex_unlock(&wasi.lock)
            return TRAPPED
        buffer.data = grown
        buffer.capacity = room
    if length:
        memcpy(buffer.data + buffer.length, data, length)
        buffer.length = wanted
    pthread_mutex_unlock(&wasi.lock)
    return result


# --- Python from native code -------------------------------------------------------------------------

cdef int _call_hook(Record* record, Task* task) noexcept with gil:
    try:
        (<object>task.idle)(task.tid)
    except BaseException as error:
        return park(record, error)
    return OK


cdef int idle(Record* record) noexcept nogil:
    cdef Task* task = task_of(record)
    if task.idle != NULL:
        return _call_hook(record, task)
    c_yield()
    return OK
