# cython: language_level=3
"""Python numbers to raw wasm values and back."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from guesthouse.engine.record cimport val_t
from guesthouse.errors import CallError


cdef object _impassable(str name, str where, kind):
    known = {"V": "v128"}.get(kind, "a reference")
    return CallError(
        f"{where} is {known}, which does not pass between guest and host; wrap the export in one that "
        f"takes and returns numbers",
        function=name,
    )


cdef int pack(val_t* values, str params, tuple args, str name) except -1:
    """Put Python numbers into raw cells."""
    cdef Py_ssize_t i
    for i, kind in enumerate(params):
        value = args[i]
        if kind not in "iIfF":
            raise _impassable(name, f"parameter {i}", kind)
        try:
            if kind == "i":
                values[i].i64 = <int64_t><uint32_t>(value & 0xFFFFFFFF)
            elif kind == "I":
                values[i].u64 = <uint64_t>(value & 0xFFFFFFFFFFFFFFFF)
            elif kind == "f":
                values[i].u64 = 0
                values[i].f32 = value
            else:
                values[i].f64 = value
        except TypeError as error:
            raise TypeError(f"{name}: argument {i} must be a number, not {type(value).__name__}") from error
    return 0


cdef object unpack_one(val_t* value, Py_UCS4 kind, str name):
    if kind == u"i":
        return value.u32
    if kind == u"I":
        return value.u64
    if kind == u"f":
        return value.f32
    if kind == u"F":
        return value.f64
    raise _impassable(name, "a result", kind)


cdef object unpack(val_t* values, str results, str name):
    cdef Py_ssize_t i, n = len(results)
    if n == 0:
        return None
    if n == 1:
        return unpack_one(values, results[0], name)
    return tuple([unpack_one(&values[i], results[i], name) for i in range(n)])
