# cython: language_level=3
"""poll_oneoff: waiting for clocks and descriptors, interruptibly and without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from guesthouse.engine.core cimport ENDING_CANCELLED, OK, Record, end, interrupted, slice, span, val_t
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.files cimport filetype_of
from guesthouse.interfaces.wasi.memory cimport answer, put32
from guesthouse.interfaces.wasi.posix cimport *
from guesthouse.interfaces.wasi.table cimport *

cdef enum:
    MOST_SUBSCRIPTIONS = 1 << 16
    SMALL = 16
    PROBE = 1000000         # ns between two looks at descriptors that the kernel cannot wait for

cdef int64_t FOREVER = 0x7fffffffffffffff

# One subscription while it is waited for.
ctypedef struct Wanted:
    uint64_t userdata
    int64_t until           # clocks: CLOCK_MONOTONIC
    uint64_t bytes
    Desc* desc              # held
    uint16_t error
    uint16_t flags
    uint8_t kind            # event type
    uint8_t fired
    uint8_t custom          # asked by its ops, not by the kernel


cdef int _read_clock(Record* record, const uint8_t* at, int unstable, Wanted* wanted) noexcept nogil:
    cdef int shift = 8 if unstable else 0       # snapshot 0 has an identifier first
    cdef uint32_t clock = r32(at + 16 + shift)
    cdef uint64_t timeout = r64(at + 24 + shift)
    cdef uint16_t flags = r16(at + 40 + shift)
    cdef int64_t now = clock_ns(1), base, left
    if clock > 1:
        wanted.error = EINVAL_W if clock > 3 else ENOTSUP_W
        wanted.fired = 1
        return SUCCESS
    if timeout > 0x7fffffffffffffffULL:
        timeout = FOREVER
    left = <int64_t>timeout
    if flags & 1:
        base = now if clock == 1 else clock_ns(0) + task_of(record).wasi.realtime_shift
        left = left - base if left > base else 0
    wanted.until = now + left if left < FOREVER - now else FOREVER
    return SUCCESS


cdef void _read_descriptor(Record* record, uint32_t fd, Wanted* wanted) noexcept nogil:
    cdef int error = 0
    cdef int writing = wanted.kind == 2
    cdef Desc* desc = demand(record, fd, 0, &error)
    wanted.desc = desc
    if desc == NULL:
        wanted.error = <uint16_t>error
        wanted.fired = 1
        return
    if not desc.rights & (bit(RIGHT_POLL) | bit(RIGHT_WRITE if writing else RIGHT_READ)):
        wanted.error = ENOTCAPABLE_W
        wanted.fired = 1
        return
    filetype_of(desc)
    wanted.custom = desc.kind == KIND_CUSTOM and desc.fd < 0
    if desc.fd < 0 and not wanted.custom:
        wanted.fired = 1
        if desc.kind == KIND_BYTES and desc.length > desc.position:
            wanted.bytes = desc.length - desc.position




cdef int _look(Record* record, Wanted* all, uint32_t count, pollfd* fds, int64_t wait) noexcept nogil:
    # One look at everything: how many have fired, or STOP / -errno-like failure as STOP.
    cdef uint32_t index, waiting = 0
    cdef int fired = 0, state, available
    cdef int64_t now
    cdef Wanted* one
    cdef pollfd* fd
    for index in range(count):
        one = &all[index]
        fd = &fds[index]
        fd.fd = -1
        fd.revents = 0
        if one.fired:
            fired += 1
        elif one.custom:
            state = one.desc.ops.ready(record, one.desc, one.kind == 2)
            if state < 0:
                return STOP
            if state:
                one.fired = 1
                fired += 1
        elif one.desc != NULL:
            fd.fd = one.desc.fd
            fd.events = POLLOUT if one.kind == 2 else POLLIN
    if fired:
        wait = 0
    if poll_ns(fds, count, wait) > 0:
        for index in range(count):
            one = &all[index]
            fd = &fds[index]
            if one.fired or fd.fd < 0 or fd.revents == 0:
                continue
            one.fired = 1
            fired += 1
            if fd.revents & POLLNVAL:
                one.error = EBADF_W
            elif one.kind == 1:
                available = 0
                if c_ioctl(one.desc.fd, FIONREAD, &available) == 0 and available > 0:
                    one.bytes = <uint64_t>available
            if fd.revents & POLLHUP:
                one.flags = 1
    now = clock_ns(1)
    for index in range(count):
        one = &all[index]
        if one.kind == 0 and not one.fired and one.until <= now:
            one.fired = 1
            fired += 1
    return fired


cdef int _wait(Record* record, Wanted* all, uint32_t count, pollfd* fds) noexcept nogil:
    cdef Task* task = task_of(record)
    cdef int64_t until = FOREVER, left, piece
    cdef uint32_t index
    cdef int probing = task.idle != NULL, fired, first = 1
    for index in range(count):
        if all[index].kind == 0 and not all[index].fired and all[index].until < until:
            until = all[index].until
        probing |= all[index].custom
    while True:
        if interrupted(record):
            return STOP
        if task.wasi.ended:
            end(record, ENDING_CANCELLED)
            return STOP
        left = until - clock_ns(1)
        if left < 0:
            left = 0
        piece = slice(record, left if until != FOREVER else -1)
        if probing and piece > PROBE:
            piece = PROBE
        if probing and first:
            piece = 0
        fired = _look(record, all, count, fds, piece)
        if fired:
            return fired
        if not first and task.idle != NULL and idle(record) != OK:
            return STOP
        first = 0


cdef void _write_event(uint8_t* at, Wanted* wanted) noexcept nogil:
    memset(at, 0, 32)
    w64(at, wanted.userdata)
    w16(at + 8, wanted.error)
    at[10] = wanted.kind
    if wanted.error == SUCCESS:
        w64(at + 16, wanted.bytes)
        w16(at + 24, wanted.flags)


cdef int _poll(Record* record, val_t* args, Wanted* all, pollfd* fds, int unstable) noexcept nogil:
    cdef uint32_t count = args[2].u32, index, written = 0
    cdef uint32_t size = 56 if unstable else 48
    cdef const uint8_t* at = span(record, args[0].u32, <uint64_t>count * size)
    cdef uint8_t* events = span(record, args[1].u32, <uint64_t>count * 32)
    cdef int error = SUCCESS
    if at == NULL or events == NULL or span(record, args[3].u32, 4) == NULL:
        return EFAULT_W
    memset(all, 0, count * sizeof(Wanted))
    for index in range(count):
        all[index].userdata = r64(at)
        all[index].kind = at[8]
        if at[8] == 0:
            _read_clock(record, at, unstable, &all[index])
        elif at[8] <= 2:
            _read_descriptor(record, r32(at + 16), &all[index])
        else:
            error = EINVAL_W
            break
        at += size
    if error == SUCCESS:
        error = STOP if _wait(record, all, count, fds) < 0 else SUCCESS
    for index in range(count):
        if error == SUCCESS and all[index].fired:
            _write_event(events + 32 * written, &all[index])
            written += 1
        release(all[index].desc)
    return error if error else put32(record, args[3].u32, written)


cdef int poll_oneoff(Record* record, val_t* args, void* env) noexcept nogil:
    cdef Wanted[SMALL] few
    cdef pollfd[SMALL] few_fds
    cdef Wanted* all = few
    cdef pollfd* fds = few_fds
    cdef uint32_t count = args[2].u32
    cdef int error
    if count == 0 or count > MOST_SUBSCRIPTIONS:
        return answer(args, EINVAL_W)
    if count > SMALL:
        all = <Wanted*>malloc(count * sizeof(Wanted))
        fds = <pollfd*>malloc(count * sizeof(pollfd))
    if all == NULL or fds == NULL:
        error = ENOMEM_W
    else:
        error = _poll(record, args, all, fds, env != NULL)
    if count > SMALL:
        free(all)
        free(fds)
    return answer(args, error)


#: Addresses of the native functions, by name.
FUNCTIONS = {"poll_oneoff": <uintptr_t>&poll_oneoff}
