# cython: language_level=3
"""Who may touch a value when. No GIL needed.

A value has two kinds of exclusion.  *Operations* (read, write, push) exclude one another for as long
as they run.  *Explicit locks* are taken by a call and kept until it unlocks or ends; operations of
other calls wait for them, those of the holder never do, and a wait that could never end is recognised
from the wait-for graph, in which a call waits for locks and for the calls it awaits (faasm.md 4.6).
"""

from libc.stdint cimport uint64_t

from guesthouse.resources.state.values cimport Tenant, Value

# Kinds of operation.
cdef enum:
    READING = 0             # with other readers and with a pusher
    WRITING = 1             # alone
    PUSHING = 2             # with readers, without another pusher

# True when whoever waits has to stop waiting; asked before a wait for a lock, and every 10 ms.
ctypedef int (*stop_t)(void* argument) noexcept nogil

# Who acts: one per instance that uses state, or per thread of it.
cdef struct Actor:
    Tenant* tenant
    uint64_t owner          # the call
    uint64_t* waiters       # calls that wait for this one, directly or not; `stop` keeps it up to date
    size_t waiter_count
    int above_locks         # the host itself: never waits for explicit locks
    void* link              # the `transfer.Link` that speaks to the global tier for it, borrowed
    stop_t stop
    void* stop_argument
    Value* waiting_for      # guarded by the graph mutex, as is the list of those who wait
    Actor* next_waiting
    int visited
    Value** held            # one entry, and one reference, per value with an explicit lock of ours
    size_t held_count
    size_t held_room

# Waits until the operation may run; `finish` ends it. `exclusive`: it changes what others see.
cdef int begin(Actor* actor, Value* value, int kind, int exclusive) noexcept nogil
cdef void finish(Value* value, int kind) noexcept nogil

# Explicit locks, re-entrant, counted per call.
cdef int lock(Actor* actor, Value* value, int write) noexcept nogil
cdef int unlock(Actor* actor, Value* value, int write) noexcept nogil

# Gives back every explicit lock of the actor's call that this actor took.
cdef void unlock_all(Actor* actor) noexcept nogil
