# cython: language_level=3
"""More instances in one store: what dynamic linking is made of.

A running instance can get companions that import its memory, table, globals and functions.  An `Item` is
an export of any of them, or a global made for them; it lives as long as the instance does.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from guesthouse.engine.abi cimport api, boxed_t
from guesthouse.engine.core cimport Attachment, Instance
from guesthouse.engine.record cimport (
    EXTERN_FUNC, EXTERN_GLOBAL, EXTERN_TABLE, Record, call_func, extern_t, func_t, gh_instance, item_t, val_t,
)
from guesthouse.engine.traps cimport take_message

import hashlib
import threading

from guesthouse.engine.compile import beside
from guesthouse.errors import LoadError

#: Compiled companions that each engine keeps.
MOST_KEPT = 256

lock = threading.Lock()

cdef tuple KINDS = ("function", "global", "table", "memory", "memory", "tag")


cdef class Item:
    """An export: a function, global, table or memory of one store."""

    cdef extern_t extern
    cdef Instance owner
    cdef readonly str kind

    def __dealloc__(self):
        api.extern_delete(&self.extern)


cdef class Companion(Attachment):
    """An instance in another one's store; it goes with that, which keeps it."""

    cdef gh_instance handle
    cdef Instance owner
    cdef object keep

    def export(self, str name not None):
        """Return an export as an `Item`, or ``None``."""
        return wrap(self.owner, &self.handle, name)


cdef Item wrap(Instance instance, gh_instance* handle, str name):
    cdef bytes raw = name.encode()
    cdef extern_t found
    cdef Item item
    if not api.export_get(instance.alive().context, handle, raw, len(raw), &found):
        return None
    item = Item.__new__(Item)
    item.extern = found
    item.owner = instance
    item.kind = KINDS[found.kind]
    return item


def compile_beside(Instance instance not None, wasm):
    """Compile a module that companions of an instance can be made of, or take it from the last ones.

    Raises:
        InvalidModule: the bytes are no valid module, or use what the instance's engine does not allow.
    """
    variant = instance.template.module.variant
    key = hashlib.sha256(wasm).digest()
    with lock:
        module = variant.companions.get(key)
        if module is not None:
            variant.companions.move_to_end(key)
            return module
    module = beside(instance.template.module, wasm)
    with lock:
        variant.companions[key] = module
        while len(variant.companions) > MOST_KEPT:
            variant.companions.popitem(last=False)
    return module


def export_of(Instance instance not None, str name not None):
    """Return an export of the instance as an `Item`, or ``None``."""
    return wrap(instance, &instance.handle, name)


def host_functions(Instance instance not None, template not None):
    """Instantiate a template of host functions beside an instance.

    Args:
        instance: a started instance.
        template: linked with ``counted=False``.
    """
    cdef Companion companion = Companion.__new__(Companion)
    cdef bytes handle = template.beside(instance)
    memcpy(&companion.handle, <char*> handle, sizeof(gh_instance))
    companion.owner = instance
    companion.keep = template
    instance.attachments.append(companion)
    return companion


def link(Instance instance not None, module not None, imports):
    """Make a companion.

    Args:
        instance: a started instance.
        module: what :func:`compile_beside` returned for this instance or one of the same engine.
        imports: an `Item` for each ``(module, name)`` that it imports.

    Raises:
        LoadError: an import is missing or of another type.
        Trap: its start function trapped.
    """
    cdef Record* record = instance.alive()
    cdef void* linker = api.linker_new(<void*> <uintptr_t> instance.template.module.variant.pointer)
    cdef void* error = NULL
    cdef void* trap = NULL
    cdef Companion companion = Companion.__new__(Companion)
    cdef bytes space, name
    cdef Item item
    companion.owner = instance
    companion.keep = module
    api.linker_shadowing(linker, 1)
    try:
        for (space_text, name_text), item in imports.items():
            if item.owner is not instance:
                raise ValueError("an item of another instance cannot be linked")
            space, name = space_text.encode(), name_text.encode()
            error = api.linker_define(
                linker, record.context, space, len(space), name, len(name), &item.extern)
            if error != NULL:
                raise LoadError(f"{space_text}.{name_text}: {take_message(error)}")
        error = api.linker_instantiate(
            linker, record.context, <void*> <uintptr_t> module.pointer, &companion.handle, &trap)
    finally:
        api.linker_delete(linker)
    if trap != NULL:
        raise instance.failure(NULL, trap, "start of a library")
    if error != NULL:
        raise LoadError(take_message(error))
    instance.attachments.append(companion)
    return companion


def new_global(Instance instance not None, int32_t value, bint mutable):
    """Return a new i32 global."""
    cdef void* kind = api.globaltype_new(api.valtype_new(0), mutable)
    cdef boxed_t boxed
    cdef Item item = Item.__new__(Item)
    cdef void* error
    memset(&boxed, 0, sizeof(boxed))
    memcpy(&boxed.of[0], &value, 4)
    item.extern.kind = EXTERN_GLOBAL
    item.owner = instance
    item.kind = "global"
    error = api.global_new(instance.alive().context, kind, &boxed, &item.extern.of.item)
    api.globaltype_delete(kind)
    if error != NULL:
        raise LoadError(take_message(error))
    return item


def get_global(Item item not None):
    """Return the value of an i32 global, unsigned.

    Raises:
        TypeError: it is something else.
    """
    cdef boxed_t boxed
    cdef uint32_t value
    if item.extern.kind != EXTERN_GLOBAL:
        raise TypeError(f"a {item.kind} is no global")
    api.global_get(item.owner.alive().context, &item.extern.of.item, &boxed)
    if boxed.kind != 0:
        raise TypeError("the global is no i32")
    memcpy(&value, &boxed.of[0], 4)
    return value


def set_global(Item item not None, int32_t value):
    """Set a mutable i32 global.

    Raises:
        LoadError: it is not mutable, or no i32.
    """
    cdef boxed_t boxed
    cdef void* error
    memset(&boxed, 0, sizeof(boxed))
    memcpy(&boxed.of[0], &value, 4)
    if item.extern.kind != EXTERN_GLOBAL:
        raise TypeError(f"a {item.kind} is no global")
    error = api.global_set(item.owner.alive().context, &item.extern.of.item, &boxed)
    if error != NULL:
        raise LoadError(take_message(error))


cdef void box(Item function, boxed_t* boxed):
    memset(boxed, 0, sizeof(boxed_t))
    boxed.kind = 5
    if function is not None:
        memcpy(&boxed.of[0], &function.extern.of.func, sizeof(func_t))


def grow_table(Item table not None, uint64_t more, Item function=None):
    """Add elements to a table of functions, all the same; return the index of the first.

    Raises:
        LoadError: the table may not grow so far.
        TypeError: the items are of other kinds.
    """
    cdef boxed_t boxed
    cdef uint64_t index = 0
    cdef void* error
    if table.extern.kind != EXTERN_TABLE or (function is not None and function.extern.kind != EXTERN_FUNC):
        raise TypeError("a table and a function are needed")
    box(function, &boxed)
    error = api.table_grow(table.owner.alive().context, &table.extern.of.item, more, &boxed, &index)
    if error != NULL:
        raise LoadError(f"the function table cannot grow by {more}: {take_message(error)}")
    return index


def set_table(Item table not None, uint64_t index, Item function not None):
    """Put a function into a table.

    Raises:
        LoadError: there is no such index.
        TypeError: the items are of other kinds.
    """
    cdef boxed_t boxed
    cdef void* error
    if table.extern.kind != EXTERN_TABLE or function.extern.kind != EXTERN_FUNC:
        raise TypeError("a table and a function are needed")
    box(function, &boxed)
    error = api.table_set(table.owner.alive().context, &table.extern.of.item, index, &boxed)
    if error != NULL:
        raise LoadError(take_message(error))


def run(Item function not None):
    """Call a function of type ``() -> ()``, from inside a host function or between calls.

    Raises:
        TypeError: it is of another type.
        CallError: it trapped, or the call is over.
        Exception: what a host function raised.
    """
    cdef void* kind
    cdef bint plain
    cdef val_t cell
    cdef Instance instance = function.owner
    cdef Record* record = instance.alive()
    cdef int outcome
    if function.extern.kind != EXTERN_FUNC:
        raise TypeError(f"a {function.kind} cannot be called")
    kind = api.func_type(record.context, &function.extern.of.func)
    plain = api.functype_params(kind).size == 0 and api.functype_results(kind).size == 0
    api.functype_delete(kind)
    if not plain:
        raise TypeError("the function takes or returns something")
    with nogil:
        outcome = call_func(record, &function.extern.of.func, &cell, 0)
    if outcome != 0:
        raise instance.failure(NULL, NULL, "a library")
