# cython: language_level=3
"""Looking at what an instance exports besides functions: memories, globals, tables, addresses of functions."""

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint64_t, uintptr_t

from guesthouse.engine.abi cimport api, boxed_t
from guesthouse.engine.core cimport Instance
from guesthouse.engine.record cimport (
    EXTERN_FUNC, EXTERN_GLOBAL, EXTERN_MEMORY, EXTERN_TABLE, Record, extern_t, func_t,
)

#: Bytes of a value by the engine's kind: i32, i64, f32, f64, v128.
cdef tuple SIZES = (4, 8, 4, 8, 16)


cdef int find(Instance instance, str name, int kind, extern_t* item) except -1:
    cdef Record* record = instance.alive()
    cdef bytes raw = name.encode()
    if not api.export_get(record.context, &instance.handle, raw, len(raw), item):
        raise KeyError(name)
    if item.kind != kind:
        api.extern_delete(item)
        raise KeyError(name)
    return 0


cdef uintptr_t address_of(Record* record, func_t* func):
    return <uintptr_t> api.func_to_raw(record.context, func)


def memory_view(Instance instance not None, str name not None):
    """Return a read-only view of an exported memory; release it before the guest runs again.

    Raises:
        KeyError: no memory of that name is exported.
    """
    cdef extern_t item
    find(instance, name, EXTERN_MEMORY, &item)
    return PyMemoryView_FromMemory(
        <char*> api.memory_data(instance.record.context, &item.of.item),
        api.memory_data_size(instance.record.context, &item.of.item), PyBUF_READ)


def global_value(Instance instance not None, str name not None):
    """Return an exported global: a number's bytes, or the address behind a reference (0 for null).

    Raises:
        KeyError: no global of that name is exported.
    """
    cdef extern_t item
    cdef boxed_t value
    find(instance, name, EXTERN_GLOBAL, &item)
    api.global_get(instance.record.context, &item.of.item, &value)
    if value.kind < 5:
        return PyBytes_FromStringAndSize(<char*> &value.of[0], SIZES[value.kind])
    if value.of[0] == 0:
        return 0
    return address_of(instance.record, <func_t*> &value.of[0]) if value.kind == 5 else -1


def table_addresses(Instance instance not None, str name not None):
    """Return, for each element of an exported table of functions, its function's address (0 for null).

    Raises:
        KeyError: no table of that name is exported.
    """
    cdef extern_t item
    cdef boxed_t value
    cdef uint64_t i
    find(instance, name, EXTERN_TABLE, &item)
    found = []
    for i in range(api.table_size(instance.record.context, &item.of.item)):
        if not api.table_get(instance.record.context, &item.of.item, i, &value) or value.of[0] == 0:
            found.append(0)
        else:
            found.append(address_of(instance.record, <func_t*> &value.of[0]) if value.kind == 5 else -1)
    return found


def function_address(Instance instance not None, str name not None):
    """Return the address that stands for an exported function in globals and tables of this instance.

    Raises:
        KeyError: no function of that name is exported.
    """
    cdef extern_t item
    find(instance, name, EXTERN_FUNC, &item)
    return address_of(instance.record, &item.of.func)
