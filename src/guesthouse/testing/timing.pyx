# cython: language_level=3
"""Virtual time for guests: their clocks show a clock that tests move, and to sleep is to move it.

What is asked of descriptors as well as of a clock, in one `poll_oneoff`, waits in real time.
"""

import dataclasses

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from guesthouse.engine.core cimport OK, Record, native_t, span, val_t
from guesthouse.resources.leases.clock cimport VirtualClock, lease_clock_t
from guesthouse.engine.functions import Native

cdef enum:
    CLOCK_REALTIME = 0
    CLOCK_MONOTONIC = 1
    SUCCESS = 0
    EFAULT = 21
    SUBSCRIPTION = 48       # bytes; snapshot 0 has 8 more, in front of the clock's number
    EVENT = 32
    MOST_SUBSCRIPTIONS = 65536

cdef int64_t FOREVER = 0x7fffffffffffffff

# In front of one host function.
ctypedef struct timed_t:
    native_t target
    void* env
    lease_clock_t* clock
    void* owner             # the VirtualClock
    int64_t* highest        # what the monotonic clock showed last
    int extra               # bytes by which a subscription is longer


cdef inline int answer(val_t* args, int code) noexcept nogil:
    args[0].u64 = <uint64_t>code
    return OK


cdef int64_t monotonic(timed_t* timed) noexcept nogil:
    """The virtual time, which never goes back for this clock."""
    if timed.clock.virtual_ns > timed.highest[0]:
        timed.highest[0] = timed.clock.virtual_ns
    return timed.highest[0]


cdef void sleep_until(timed_t* timed, int64_t moment) noexcept with gil:
    try:
        if moment > timed.clock.virtual_ns:
            (<VirtualClock>timed.owner).set_ns(moment)
    except Exception:       # of somebody who watches the clock; not the guest's concern
        pass


cdef int clock_time_get(Record* record, val_t* args, void* env) noexcept nogil:
    cdef timed_t* timed = <timed_t*>env
    cdef uint8_t* out
    cdef int64_t now
    if args[0].u32 > CLOCK_MONOTONIC:       # processor time is what it is
        return timed.target(record, args, timed.env)
    out = span(record, args[2].u32, 8)
    if out == NULL:
        return answer(args, EFAULT)
    now = timed.clock.virtual_ns if args[0].u32 == CLOCK_REALTIME else monotonic(timed)
    memcpy(out, &now, 8)
    return answer(args, SUCCESS)


cdef int64_t due(timed_t* timed, const uint8_t* at) noexcept nogil:
    """When the clock of a subscription rings, in virtual time; -1 for what is no such subscription."""
    cdef uint32_t clock
    cdef uint64_t timeout
    cdef uint16_t flags
    memcpy(&clock, at + 16 + timed.extra, 4)
    memcpy(&timeout, at + 24 + timed.extra, 8)
    memcpy(&flags, at + 40 + timed.extra, 2)
    if at[8] != 0 or clock > CLOCK_MONOTONIC:
        return -1
    if timeout > <uint64_t>FOREVER:
        return FOREVER
    if flags & 1:
        return <int64_t>timeout
    return timed.clock.virtual_ns + <int64_t>timeout if <int64_t>timeout < FOREVER - timed.clock.virtual_ns else FOREVER


cdef int poll_oneoff(Record* record, val_t* args, void* env) noexcept nogil:
    cdef timed_t* timed = <timed_t*>env
    cdef uint32_t count = args[2].u32
    cdef uint64_t size = SUBSCRIPTION + timed.extra
    cdef uint8_t* subscriptions = span(record, args[0].u32, count * size)
    cdef uint8_t* events = span(record, args[1].u32, <uint64_t>count * EVENT)
    cdef uint8_t* out = span(record, args[3].u32, 4)
    cdef int64_t first = FOREVER
    cdef int64_t* moments
    cdef uint64_t* names
    cdef uint32_t i, rung = 0
    if count == 0 or count > MOST_SUBSCRIPTIONS or subscriptions == NULL or events == NULL or out == NULL:
        return timed.target(record, args, timed.env)
    moments = <int64_t*>calloc(count, 2 * sizeof(int64_t))
    if moments == NULL:
        return timed.target(record, args, timed.env)
    names = <uint64_t*>(moments + count)
    for i in range(count):
        moments[i] = due(timed, subscriptions + i * size)
        memcpy(&names[i], subscriptions + i * size, 8)
        if moments[i] < 0:
            free(moments)
            return timed.target(record, args, timed.env)
        first = min(first, moments[i])
    if first == FOREVER:        # that is for the call's deadline to end
        free(moments)
        return timed.target(record, args, timed.env)
    sleep_until(timed, first)
    for i in range(count):
        if moments[i] <= first:
            memset(events + rung * EVENT, 0, EVENT)
            memcpy(events + rung * EVENT, &names[i], 8)
            rung += 1
    free(moments)
    memcpy(out, &rung, 4)
    return answer(args, SUCCESS)


cdef int thread_sleep(Record* record, val_t* args, void* env) noexcept nogil:
    cdef timed_t* timed = <timed_t*>env
    cdef int64_t now = timed.clock.virtual_ns
    if args[0].u64 < <uint64_t>(FOREVER - now):     # what is longer is for the call's deadline to end
        sleep_until(timed, now + <int64_t>args[0].u64)
        args[0].u64 = 0     # the real one still yields, and sees whether the call is over
    return timed.target(record, args, timed.env)


#: Address of what answers in the place of a host function, by its name.
FUNCTIONS = {
    "clock_time_get": <uintptr_t>&clock_time_get,
    "poll_oneoff": <uintptr_t>&poll_oneoff,
    "thread_sleep": <uintptr_t>&thread_sleep,
}


cdef class Timing:
    """Puts a virtual clock in the place of the real one.

    Args:
        clock: what guests take for the time.
    """

    cdef VirtualClock clock
    cdef list places
    cdef int64_t highest

    def __cinit__(self, VirtualClock clock):
        self.clock, self.places = clock, []

    def cover(self, row):
        """The row itself, or one that lives in virtual time."""
        address = FUNCTIONS.get(row.name)
        if address is None or not isinstance(row.implementation, Native):
            return row
        place = Place()
        self.places.append(place)
        (<Place>place).fill(self, row)
        return dataclasses.replace(row, implementation=Native(address, <uintptr_t>(<Place>place).timed))


cdef class Place:
    """The state in front of one host function."""

    cdef timed_t* timed

    def __cinit__(self):
        self.timed = <timed_t*>calloc(1, sizeof(timed_t))
        if self.timed == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.timed)

    cdef fill(self, Timing timing, row):
        self.timed.target = <native_t><void*><uintptr_t>row.implementation.address
        self.timed.env = <void*><uintptr_t>row.implementation.env
        self.timed.clock, self.timed.owner = timing.clock.clock, <void*>timing.clock
        self.timed.highest = &timing.highest
        self.timed.extra = 8 if row.module == "wasi_unstable" else 0
