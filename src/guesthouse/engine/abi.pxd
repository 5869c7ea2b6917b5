# cython: language_level=3
"""The functions of the engine's C interface that the hot paths use, resolved once at import."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from guesthouse.engine.record cimport val_t, item_t, func_t, extern_t, gh_instance

ctypedef void (*finalizer_t)(void*) noexcept nogil
ctypedef void* (*host_entry_t)(void* env, void* caller, val_t* args, size_t n) noexcept nogil
ctypedef void* (*epoch_entry_t)(void* context, void* data, uint64_t* delta, uint8_t* kind) noexcept nogil

ctypedef struct bytes_t:
    size_t size
    char* data

ctypedef struct frames_t:
    size_t size
    void** data

ctypedef struct boxed_t:            # wasmtime_val_t
    uint8_t kind
    uint8_t pad[7]
    uint64_t of[3]

ctypedef struct Api:
    # errors, traps and frames
    void (*error_message)(void* error, bytes_t* out) noexcept nogil
    void (*error_delete)(void* error) noexcept nogil
    void* (*error_new)(const char* message) noexcept nogil
    void (*error_trace)(void* error, frames_t* out) noexcept nogil
    void* (*trap_new)(const char* message, size_t length) noexcept nogil
    int (*trap_code)(void* trap, uint8_t* out) noexcept nogil
    void (*trap_message)(void* trap, bytes_t* out) noexcept nogil
    void (*trap_trace)(void* trap, frames_t* out) noexcept nogil
    void (*trap_delete)(void* trap) noexcept nogil
    bytes_t* (*frame_function)(void* frame) noexcept nogil
    uint32_t (*frame_index)(void* frame) noexcept nogil
    size_t (*frame_offset)(void* frame) noexcept nogil
    void (*frames_delete)(frames_t* frames) noexcept nogil
    void (*bytes_delete)(bytes_t* data) noexcept nogil
    # types
    void* (*valtype_new)(uint8_t kind) noexcept nogil
    void (*valtypes_new)(bytes_t* out, size_t n, void** types) noexcept nogil
    void* (*functype_new)(bytes_t* params, bytes_t* results) noexcept nogil
    void (*functype_delete)(void* functype) noexcept nogil
    bytes_t* (*functype_params)(void* functype) noexcept nogil      # borrowed; a vector of value types
    bytes_t* (*functype_results)(void* functype) noexcept nogil
    uint8_t (*valtype_kind)(void* valtype) noexcept nogil
    void* (*func_type)(void* context, func_t* func) noexcept nogil
    void* (*globaltype_new)(void* valtype, uint8_t mutable) noexcept nogil     # takes the value type over
    void (*globaltype_delete)(void* globaltype) noexcept nogil
    void* (*memorytype_new)(uint64_t minimum, int has_max, uint64_t maximum, int is64, int is_shared,
                          uint8_t log2, void** out) noexcept nogil
    void (*memorytype_delete)(void* memorytype) noexcept nogil
    # engine, linker, store
    void (*increment_epoch)(void* engine) noexcept nogil
    void* (*linker_new)(void* engine) noexcept nogil
    void (*linker_delete)(void* linker) noexcept nogil
    void (*linker_shadowing)(void* linker, int allow) noexcept nogil
    void* (*linker_define)(void* linker, void* context, const char* module, size_t module_len,
                           const char* name, size_t name_len, extern_t* item) noexcept nogil
    void* (*linker_define_func)(void* linker, const char* module, size_t module_len, const char* name,
                                size_t name_len, void* functype, host_entry_t entry, void* env,
                                finalizer_t finalizer) noexcept nogil
    void* (*linker_pre)(void* linker, void* module, void** out) noexcept nogil
    void (*pre_delete)(void* pre) noexcept nogil
    void* (*pre_instantiate)(void* pre, void* context, gh_instance* out, void** trap) noexcept nogil
    void* (*linker_instantiate)(void* linker, void* context, void* module, gh_instance* out,
                                void** trap) noexcept nogil
    void* (*store_new)(void* engine, void* data, finalizer_t finalizer) noexcept nogil
    void* (*store_context)(void* store) noexcept nogil
    void (*store_limiter)(void* store, int64_t memory, int64_t elements, int64_t instances, int64_t tables,
                          int64_t memories) noexcept nogil
    void (*store_epoch_callback)(void* store, epoch_entry_t entry, void* data,
                                 finalizer_t finalizer) noexcept nogil
    void (*store_delete)(void* store) noexcept nogil
    void* (*context_data)(void* context) noexcept nogil
    void* (*set_fuel)(void* context, uint64_t fuel) noexcept nogil
    void* (*get_fuel)(void* context, uint64_t* out) noexcept nogil
    void (*set_epoch_deadline)(void* context, uint64_t ticks) noexcept nogil
    # instances and what they export
    void* (*caller_context)(void* caller) noexcept nogil
    int (*caller_export)(void* caller, const char* name, size_t length, extern_t* out) noexcept nogil
    int (*export_get)(void* context, gh_instance* instance, const char* name, size_t length,
                      extern_t* out) noexcept nogil
    void (*extern_delete)(extern_t* item) noexcept nogil
    void* (*func_call)(void* context, func_t* func, val_t* args, size_t n, void** trap) noexcept nogil
    void (*func_from_raw)(void* context, void* raw, func_t* out) noexcept nogil
    void* (*func_to_raw)(void* context, func_t* func) noexcept nogil
    uint8_t* (*memory_data)(void* context, item_t* memory) noexcept nogil
    size_t (*memory_data_size)(void* context, item_t* memory) noexcept nogil
    void* (*memory_grow)(void* context, item_t* memory, uint64_t delta, uint64_t* previous) noexcept nogil
    void (*global_get)(void* context, item_t* item, boxed_t* out) noexcept nogil
    void* (*global_set)(void* context, item_t* item, boxed_t* value) noexcept nogil
    uint64_t (*table_size)(void* context, item_t* table) noexcept nogil
    int (*table_get)(void* context, item_t* table, uint64_t index, boxed_t* out) noexcept nogil
    void* (*table_set)(void* context, item_t* table, uint64_t index, boxed_t* value) noexcept nogil
    void* (*table_grow)(void* context, item_t* table, uint64_t delta, boxed_t* value,
                        uint64_t* previous) noexcept nogil
    void* (*table_new)(void* context, void* tabletype, boxed_t* value, item_t* out) noexcept nogil
    void* (*global_new)(void* context, void* globaltype, boxed_t* value, item_t* out) noexcept nogil
    # shared memory
    void* (*shared_new)(void* engine, void* memorytype, void** out) noexcept nogil
    void* (*shared_clone)(void* shared) noexcept nogil
    void (*shared_delete)(void* shared) noexcept nogil
    uint8_t* (*shared_data)(void* shared) noexcept nogil
    size_t (*shared_data_size)(void* shared) noexcept nogil
    void* (*shared_grow)(void* shared, uint64_t delta, uint64_t* previous) noexcept nogil

cdef Api api
