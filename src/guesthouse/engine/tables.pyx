# cython: language_level=3
"""Calling a guest's functions by their index in its table, which is what a C function pointer is."""

from libc.stdint cimport uint32_t

from guesthouse.engine.abi cimport api, bytes_t
from guesthouse.engine.core cimport Instance, Record, func_t, table_func, val_t
from guesthouse.engine.values cimport pack, unpack

cdef enum:
    MAX_VALUES = 24

#: Letters of the engine's value kinds; anything else cannot be passed by the host.
cdef dict LETTERS = {0: "i", 1: "I", 2: "f", 3: "F"}


cdef str letters(bytes_t* types):
    """Type letters of a vector of value types; ``?`` for those the host cannot pass."""
    cdef void** items = <void**>types.data
    return "".join([LETTERS.get(api.valtype_kind(items[i]), "?") for i in range(types.size)])


cdef tuple type_of(Record* record, func_t* func):
    cdef void* kind = api.func_type(record.context, func)
    try:
        return letters(api.functype_params(kind)), letters(api.functype_results(kind))
    finally:
        api.functype_delete(kind)


def signature_at(Instance instance not None, index):
    """Return (parameter letters, result letters) of the function at an index of the exported table.

    Args:
        instance: a started instance.
        index: the index, any integer.

    Returns:
        ``None`` when the index is outside of the table, or nothing is there.
    """
    cdef func_t func
    cdef Record* record = instance.alive()
    if not 0 <= index <= 0xFFFFFFFF or not table_func(record, <uint32_t>index, &func):
        return None
    return type_of(record, &func)


def invoke_at(Instance instance not None, index, *args):
    """Call the function at an index of the exported table, as ``Instance.invoke`` calls an export.

    Raises:
        IndexError: no function is there.
        TypeError: wrong number or kind of arguments, or a type that cannot be passed.
        Exit, CallError, Exception: as ``Instance.invoke``.
    """
    cdef func_t func
    cdef val_t values[MAX_VALUES]
    cdef void* error
    cdef void* trap = NULL
    cdef size_t n
    cdef Record* record = instance.alive()
    if not 0 <= index <= 0xFFFFFFFF or not table_func(record, <uint32_t>index, &func):
        raise IndexError(f"no function at index {index} of the table")
    params, results = type_of(record, &func)
    name = f"function {index} of the table"
    n = max(len(params), len(results))
    if n > MAX_VALUES:
        raise TypeError(f"{name} takes or returns more than {MAX_VALUES} values")
    if len(args) != len(params):
        raise TypeError(f"{name} takes {len(params)} arguments, {len(args)} were given")
    pack(values, params, args, name)
    instance.enter()
    try:
        with nogil:
            error = api.func_call(record.context, &func, values, n, &trap)
        if error != NULL or trap != NULL:
            raise instance.failure(error, trap, name)
        return unpack(values, results, name)
    finally:
        instance.exit()
