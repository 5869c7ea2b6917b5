# cython: language_level=3
"""The handles of one calling instance, as they are used without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from guesthouse.calls.waking cimport post_t

cdef extern from *:
    """
    #define gh_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define gh_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define gh_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)
    #define gh_swap(p, a, b) __sync_bool_compare_and_swap((p), (a), (b))
    """
    int load_int "gh_load"(int* word) nogil
    void store_int "gh_store"(int* word, int value) nogil
    int add_int "gh_add"(int* word, int value) nogil
    int swap_int "gh_swap"(int* word, int before, int after) nogil
    int64_t load_long "gh_load"(int64_t* word) nogil
    int64_t add_long "gh_add"(int64_t* word, int64_t value) nogil

# What a handle stands for.
cdef enum:
    FUNCTION = 0
    REQUEST = 1

# States of a request.
cdef enum:
    RUNNING = 0
    DONE = 1
    RETRIEVED = 2
    ABANDONED = 3

# Inputs and outputs up to here are copied; larger ones stay in Python's bytes, for which the GIL is needed.
cdef enum:
    SMALL = 65536

# One handle. Of a request two hold it, its caller's table and its run; the last one to let go frees it.
ctypedef struct slot_t:
    post_t post                 # where it waits for a worker; has to come first
    table_t* table
    uint64_t handle
    int kind
    int holders
    int state
    uint32_t code               # what retrieve answers
    uint32_t size               # bytes of data
    uint32_t polls              # how often it was asked for before it was done
    uint8_t* data               # the input until a worker takes it, then the output
    void* output                # bytes that `data` lies in; NULL where `data` is a block of its own
    void* function              # Function: what it stands for, or what the request is to run; borrowed

# Open addressing with linear probing; a NULL cell ends a probe. Only the guest's own thread uses the cells.
ctypedef struct table_t:
    slot_t** cells
    uint64_t mask
    uint64_t used               # cells
    uint64_t key                # makes handles look random
    uint64_t issued
    uint32_t functions          # of `used`
    uint32_t requests           # of `used`
    uint32_t capacity           # most requests
    uint32_t max_input          # bytes of one launch
    int64_t budget              # bytes that memory and unretrieved outputs may take together
    int64_t retained            # bytes of outputs that wait to be retrieved; workers add to it
    uint64_t posted             # requests that were ever posted
    bint launches               # whether it may launch at all
    void* bell                  # where idle workers wait; NULL for none
    void* owner                 # Requests, which holds this table

# The slot of a handle, NULL if there is none of that kind.
cdef slot_t* find(table_t* table, uint64_t handle, int kind) noexcept nogil

# Adds a slot with a fresh handle: never 0, never given twice. NULL when there is no memory for it.
cdef slot_t* issue(table_t* table, int kind) noexcept nogil

# Takes a slot out of the table, which lets go of it.
cdef void drop(table_t* table, slot_t* slot) noexcept nogil

# One holder less.
cdef void let_go(slot_t* slot) noexcept nogil

# Whether one more request may be launched, `memory` bytes being the caller's own (sections 5 and 6.3).
cdef bint accepts(table_t* table, int64_t memory) noexcept nogil

# Section 5, is_ready and retrieve: their codes. A request is retrieved to `target`, of `capacity` bytes.
cdef uint32_t look(table_t* table, uint64_t handle, uint32_t* ready, uint32_t* size) noexcept nogil
cdef uint32_t take(table_t* table, uint64_t handle, uint8_t* target, uint32_t capacity, uint32_t* written) noexcept nogil
