# cython: language_level=3
"""What one WASI process keeps, as Python objects that own the C structures of ``table.pxd``."""

from libc.stdint cimport int64_t, uint32_t

from guesthouse.engine.core cimport Attachment
from guesthouse.interfaces.wasi.table cimport Blob, Desc, Task, Wasi
from guesthouse.resources.files.account cimport DiskAccount

cdef class Strings:
    cdef bytes blob
    cdef Blob view
    cdef readonly tuple items

cdef class Root:
    cdef readonly bytes name
    cdef readonly int fd
    cdef readonly bint writable
    cdef object cleanup
    cdef DiskAccount account
    cdef int64_t limit

cdef class Process:
    cdef Wasi* wasi
    cdef list kept
    cdef readonly bint closed
    cdef object __weakref__
    cdef _copy(self, uint32_t number, Desc* source)
    cdef _drop(self)
    cdef _keep(self, object thing)

cdef class Context(Attachment):
    cdef Task task
    cdef readonly Process process
    cdef public object thread       # whatever an interface keeps for this thread
    cdef list hooks
