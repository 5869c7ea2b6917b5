# cython: language_level=3
"""The instance record and what native host functions may do with it, without the GIL.

A native host function is a C function of type ``native_t``.  It finds everything in the record it is
given: guest memory (`span`), the call's input and output, the slots that capabilities claimed, the
deadline.  It returns OK to let the guest go on, or the result of `trap` / `leave` to end the call.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from cpython.ref cimport PyObject

cdef extern from *:
    """
    #include <stdint.h>
    typedef union { int32_t i32; uint32_t u32; int64_t i64; uint64_t u64; float f32; double f64;
                    void* ref; uint8_t v128[16]; } gh_val;
    typedef struct { uint64_t store_id; uint32_t p1; uint32_t p2; uint32_t p3; uint32_t p4; } gh_item;
    typedef struct { uint64_t store_id; void* p; } gh_func;
    typedef union { gh_func func; gh_item item; void* shared; } gh_extern_of;
    typedef struct { uint8_t kind; gh_extern_of of; } gh_extern;
    typedef struct { uint64_t store_id; size_t p; } gh_instance_t;
    """
    # An instance handle of the engine.
    ctypedef struct gh_instance "gh_instance_t":
        uint64_t store_id
        size_t p
    # One raw wasm value: an argument or a result.
    ctypedef union val_t "gh_val":
        int32_t i32
        uint32_t u32
        int64_t i64
        uint64_t u64
        float f32
        double f64
        void* ref
        uint8_t v128[16]
    # A memory, table, global or tag handle of the engine.
    ctypedef struct item_t "gh_item":
        uint64_t store_id
    # A function handle of the engine.
    ctypedef struct func_t "gh_func":
        uint64_t store_id
        void* p
    # Any export; `of` is a union that `kind` tells apart.
    ctypedef union extern_of_t "gh_extern_of":
        func_t func
        item_t item
        void* shared
    ctypedef struct extern_t "gh_extern":
        uint8_t kind
        extern_of_t of

cdef enum:              # kinds of export
    EXTERN_FUNC = 0
    EXTERN_GLOBAL = 1
    EXTERN_TABLE = 2
    EXTERN_MEMORY = 3
    EXTERN_SHARED = 4

cdef enum:
    SLOTS = 16          # pieces of native state that capabilities can keep per instance

cdef enum:
    OK = 0              # go on with the guest
    TRAPPED = 1         # the record says why; end the call
    ASK_PYTHON = 2      # let the row's Python function answer (engine.functions.Native.otherwise)

# Why a call ends early; `Record.ending`.
cdef enum Ending:
    NOT_ENDING = 0
    ENDING_MESSAGE = 1      # a native function called `trap`
    ENDING_EXIT = 2         # the guest left with an exit code
    ENDING_EXCEPTION = 3    # a Python exception is parked in `pending`
    ENDING_CANCELLED = 4
    ENDING_DEADLINE = 5
    ENDING_OUTPUT = 6       # more output than allowed
    ENDING_MEMORY = 7       # more memory than allowed, asked for by a host function

ctypedef struct Record:
    void* context               # wasmtime_context_t*
    # -- guest memory; use `span` and `memory_size`, never these directly
    uint8_t* base
    uint64_t size               # bytes known to be valid; only ever grows
    int memory_kind             # 0 not known yet, 1 own, 2 shared, 3 none
    item_t memory
    void* shared                # wasmtime_sharedmemory_t*
    void* caller                # wasmtime_caller_t* of the running host call, while the memory is not known
    uint64_t memory_limit       # bytes over all memories of the instance
    # -- the call
    const uint8_t* input        # borrowed from a Python bytes object that outlives the call
    uint64_t input_len
    uint8_t* output             # malloc'ed; written through `set_output` / `append_output`
    uint64_t output_len
    uint64_t output_capacity
    uint64_t output_limit
    int64_t deadline            # CLOCK_MONOTONIC nanoseconds, 0 for none
    int cancelled               # set from any thread; read with `interrupted`
    int ending                  # Ending
    int32_t exit_code
    char message[200]
    PyObject* pending           # the parked exception, owned
    PyObject* owner             # the Instance, borrowed
    uint32_t* counts            # one per import of the module, after one for all of its libraries
    uint64_t bytes_in           # bytes that host functions read from guest memory, where they count it
    uint64_t bytes_out          # bytes that host functions wrote to guest memory, where they count it
    int depth                   # host-to-guest entries on this instance now
    int64_t entered_at          # when the outermost of them began
    int64_t busy                # nanoseconds spent inside, host calls included
    void* handle                # the engine's handle of the instance
    void* slots[SLOTS]

# `env` is the word of the row (engine.functions.Native.env).
ctypedef int (*native_t)(Record* record, val_t* args, void* env) noexcept nogil

# --- everything below is callable without the GIL ---------------------------------------------------

# Notes the memory that an export turned out to be; the record owns nothing of it.
cdef void adopt_memory(Record* record, extern_t* item) noexcept nogil

# Re-reads the size of the memory; true when [ptr, ptr+len) is inside.
cdef int refresh(Record* record, uint64_t end) noexcept nogil

# The address of `len` guest bytes at `ptr`, or NULL when any of them is outside. Zero bytes at
# `ptr <= size` are inside. Valid until the guest runs again or memory grows.
cdef inline uint8_t* span(Record* record, uint32_t ptr, uint64_t length) noexcept nogil:
    cdef uint64_t end = <uint64_t>ptr + length
    if length > 0x100000000ULL:
        return NULL
    if end > record.size or record.base == NULL:
        if not refresh(record, end):
            return NULL
    return record.base + ptr

# Current size of the guest's memory in bytes.
cdef uint64_t memory_size(Record* record) noexcept nogil

# Grows the guest's memory by `pages` of 64 KiB: the old size in pages, or -1 (limit, maximum).
cdef int64_t memory_grow(Record* record, uint64_t pages) noexcept nogil

# Ends the call with a trap that carries `message`. Return its result.
cdef int trap(Record* record, const char* message) noexcept nogil

# Ends the call as if the guest had left with `code`. Return its result.
cdef int leave(Record* record, int32_t code) noexcept nogil

# Ends the call for one of the reasons in `Ending`. Return its result.
cdef int end(Record* record, int ending) noexcept nogil

# Replaces / extends the call's output. OK, or TRAPPED when the limit or memory is exhausted.
cdef int set_output(Record* record, const uint8_t* data, uint64_t length) noexcept nogil
cdef int append_output(Record* record, const uint8_t* data, uint64_t length) noexcept nogil

# True when the call was cancelled or its deadline has passed; ends the call as a side effect, so the
# caller only has to return TRAPPED. To be asked before and after everything that blocks.
cdef int interrupted(Record* record) noexcept nogil

# The same for a moment of CLOCK_MONOTONIC that the caller has just read.
cdef int over(Record* record, int64_t now) noexcept nogil

# Nanoseconds a host function may block now before it must ask `interrupted` again: at most 10 ms, at
# most what is left until the deadline, at most `wanted` (negative: as long as it takes).
cdef int64_t slice(Record* record, int64_t wanted) noexcept nogil

# CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
cdef int64_t monotonic() noexcept nogil
cdef int64_t realtime() noexcept nogil

# Calls an exported function of the same instance from inside a host function. `args` holds the
# arguments and receives the results (as many cells as the larger of the two). OK or TRAPPED.
cdef int call_func(Record* record, func_t* func, val_t* args, size_t n) noexcept nogil

# Looks an exported function up, without regard to its type: 1 when found.
cdef int find_func(Record* record, const char* name, func_t* out) noexcept nogil

# Looks the function at an index of the exported table up: 1 when found and not null.
cdef int table_func(Record* record, uint32_t index, func_t* out) noexcept nogil

# Whether this thread has enough native stack left to enter a guest.
cdef int stack_suffices() noexcept nogil
