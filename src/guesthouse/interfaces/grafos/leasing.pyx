# cython: language_level=3
"""Hello, and allocating, renewing, freeing and querying leases on memory and blocks (spec fabric.md 4 and 5)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from guesthouse.engine.core cimport OK, Record, span, val_t
from guesthouse.interfaces.grafos.side cimport Side, holding_t, side, side_t
from guesthouse.resources.leases.engine cimport LeaseEngine
from guesthouse.resources.leases.rules cimport free_lease, grant_lease, overgrown, query_lease, renew_lease, sight_t
from guesthouse.resources.leases.table cimport INTERNAL, INVALID_ARGUMENT
from guesthouse.observe import log
from guesthouse.resources.leases.status import LeaseError

cdef enum Kind:
    MEMORY = 0
    BLOCKS = 1

cdef enum Operation:
    HELLO = 0
    ALLOC = 1
    RENEW = 2
    FREE = 3
    QUERY = 4

cdef enum:
    INFO = 32           # bytes of FbmuLeaseInfo and FbbuLeaseInfo
    BLOCK_SIZE = 512


cdef void write_info(uint8_t* out, sight_t* lease, Kind kind) noexcept nogil:
    """Fill the guest's struct of one lease (spec fabric.md 3)."""
    cdef uint32_t block_size = BLOCK_SIZE
    memset(out, 0, INFO)
    memcpy(out, &lease.id, 8)
    memcpy(out + 8, &lease.capacity, 8)
    memcpy(out + 16, &lease.expires, 8)
    if kind == BLOCKS:
        memcpy(out + 24, &block_size, 4)
    out[24 if kind == MEMORY else 28] = <uint8_t>lease.status


cdef int greet(side_t* state, Kind kind) noexcept with gil:
    """Say hello: open the window, or the device."""
    cdef Side own = <Side>state.owner
    cdef LeaseEngine leases = leases_of(own, kind)
    try:
        own.fabric.greet("fbmu" if kind == MEMORY else "fbbu")
        leases.ready(own.tenant)
        if kind == MEMORY:
            own.open_window()
        else:
            own.open_volume()
    except LeaseError as error:
        return error.code
    except Exception as error:      # a fault of a backend is the guest's -11, not its end
        log.warning("fabric_fault", resource=leases.kind, error=repr(error))
        return INTERNAL
    return 0


cdef int report(side_t* state, Kind kind) noexcept with gil:
    """Tell the log why a backend failed."""
    cdef LeaseEngine leases = leases_of(<Side>state.owner, kind)
    log.warning("fabric_fault", resource=leases.kind, error=leases.trouble())
    return INTERNAL


cdef int tidy(side_t* state, Kind kind) noexcept with gil:
    leases_of(<Side>state.owner, kind).tidy()
    return 0


cdef LeaseEngine leases_of(Side own, Kind kind):
    return own.memory.leases if kind == MEMORY else own.blocks.leases


cdef int perform(side_t* state, Kind kind, Operation operation, uint64_t first, uint64_t second,
                 uint8_t* out) noexcept nogil:
    """Do one operation: a status."""
    cdef holding_t* own = &state.memory if kind == MEMORY else &state.blocks
    cdef sight_t lease
    cdef uint64_t expires
    cdef int status
    if operation == HELLO:
        return greet(state, kind)
    if operation == ALLOC:
        status = grant_lease(own.engine, own.account, first, second, &lease)
        if status == 0:
            write_info(out, &lease, kind)
            if overgrown(own.engine):
                tidy(state, kind)
    elif operation == RENEW:
        status = renew_lease(own.engine, own.account, first, second, &expires)
        if status == 0 and out != NULL:
            memcpy(out, &expires, 8)
    elif operation == FREE:
        status = free_lease(own.engine, own.account, first)
    else:
        status = query_lease(own.engine, own.account, first, &lease)
        if status == 0:
            write_info(out, &lease, kind)
    return report(state, kind) if status == INTERNAL else status


cdef inline int run(Record* record, val_t* args, void* env, Operation operation, uint64_t second, int pointer,
                    uint64_t size, bint optional) noexcept nogil:
    """Check where the result goes, then do it."""
    cdef uint8_t* out = NULL
    cdef uint64_t first = args[0].u64
    cdef int64_t status = 0
    if pointer >= 0:
        if args[pointer].u32 != 0:
            out = span(record, args[pointer].u32, size)
        if out == NULL and not (optional and args[pointer].u32 == 0):
            status = INVALID_ARGUMENT
    if status == 0:
        status = perform(side(record), <Kind><uintptr_t>env, operation, first, second, out)
    args[0].u64 = <uint32_t>status
    return OK


cdef int hello(Record* record, val_t* args, void* env) noexcept nogil:
    return run(record, args, env, HELLO, 0, -1, 0, False)


cdef int alloc(Record* record, val_t* args, void* env) noexcept nogil:
    return run(record, args, env, ALLOC, args[1].u64, 2, INFO, False)


cdef int renew(Record* record, val_t* args, void* env) noexcept nogil:
    return run(record, args, env, RENEW, args[1].u64, 2, 8, True)


cdef int free(Record* record, val_t* args, void* env) noexcept nogil:
    return run(record, args, env, FREE, 0, -1, 0, False)


cdef int query(Record* record, val_t* args, void* env) noexcept nogil:
    return run(record, args, env, QUERY, 0, 1, INFO, False)


_OPERATIONS = {
    "hello": <uintptr_t>&hello,
    "alloc": <uintptr_t>&alloc,
    "renew": <uintptr_t>&renew,
    "free": <uintptr_t>&free,
    "query": <uintptr_t>&query,
}
#: Address and environment word of each function.
FUNCTIONS = {
    f"{unit}_{operation}": (address, kind)
    for unit, kind in (("fbmu", MEMORY), ("fbbu", BLOCKS))
    for operation, address in _OPERATIONS.items()
}
