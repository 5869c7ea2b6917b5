# cython: language_level=3
"""Resolution of the engine's C functions; see abi.pxd for their types."""

from libc.stdint cimport uintptr_t

from guesthouse.engine.wheel import symbols

#: The C functions in the order of the fields of ``Api``.
NAMES = (
    "wasmtime_error_message",
    "wasmtime_error_delete",
    "wasmtime_error_new",
    "wasmtime_error_wasm_trace",
    "wasmtime_trap_new",
    "wasmtime_trap_code",
    "wasm_trap_message",
    "wasm_trap_trace",
    "wasm_trap_delete",
    "wasmtime_frame_func_name",
    "wasm_frame_func_index",
    "wasm_frame_module_offset",
    "wasm_frame_vec_delete",
    "wasm_byte_vec_delete",
    "wasm_valtype_new",
    "wasm_valtype_vec_new",
    "wasm_functype_new",
    "wasm_functype_delete",
    "wasm_functype_params",
    "wasm_functype_results",
    "wasm_valtype_kind",
    "wasmtime_func_type",
    "wasm_globaltype_new",
    "wasm_globaltype_delete",
    "wasmtime_memorytype_new",
    "wasm_memorytype_delete",
    "wasmtime_engine_increment_epoch",
    "wasmtime_linker_new",
    "wasmtime_linker_delete",
    "wasmtime_linker_allow_shadowing",
    "wasmtime_linker_define",
    "wasmtime_linker_define_func_unchecked",
    "wasmtime_linker_instantiate_pre",
    "wasmtime_instance_pre_delete",
    "wasmtime_instance_pre_instantiate",
    "wasmtime_linker_instantiate",
    "wasmtime_store_new",
    "wasmtime_store_context",
    "wasmtime_store_limiter",
    "wasmtime_store_epoch_deadline_callback",
    "wasmtime_store_delete",
    "wasmtime_context_get_data",
    "wasmtime_context_set_fuel",
    "wasmtime_context_get_fuel",
    "wasmtime_context_set_epoch_deadline",
    "wasmtime_caller_context",
    "wasmtime_caller_export_get",
    "wasmtime_instance_export_get",
    "wasmtime_extern_delete",
    "wasmtime_func_call_unchecked",
    "wasmtime_func_from_raw",
    "wasmtime_func_to_raw",
    "wasmtime_memory_data",
    "wasmtime_memory_data_size",
    "wasmtime_memory_grow",
    "wasmtime_global_get",
    "wasmtime_global_set",
    "wasmtime_table_size",
    "wasmtime_table_get",
    "wasmtime_table_set",
    "wasmtime_table_grow",
    "wasmtime_table_new",
    "wasmtime_global_new",
    "wasmtime_sharedmemory_new",
    "wasmtime_sharedmemory_clone",
    "wasmtime_sharedmemory_delete",
    "wasmtime_sharedmemory_data",
    "wasmtime_sharedmemory_data_size",
    "wasmtime_sharedmemory_grow",
)


cdef int resolve() except -1:
    """Fill ``api``: a struct of nothing but function pointers, in the order of NAMES."""
    cdef uintptr_t* field = <uintptr_t*>&api
    if sizeof(Api) != len(NAMES) * sizeof(uintptr_t):
        raise ImportError("abi.pyx and abi.pxd disagree on the number of engine functions")
    for index, address in enumerate(symbols(NAMES)):
        field[index] = <uintptr_t>address
    return 0


resolve()
