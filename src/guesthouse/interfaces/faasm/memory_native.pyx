# cython: language_level=3
"""``mmap``, ``munmap`` and ``__sbrk`` over the guest's own memory, without the GIL (faasm.md 2.6)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

from guesthouse.engine.record cimport OK, TRAPPED, Record, memory_size, native_t, trap, val_t
from guesthouse.interfaces.faasm.space cimport WASM_PAGE, Space, current, extend, lock, shrink, space_of, unlock
# Mapped files come from the guest's WASI descriptors; like WASIX, this builds on WASI's table.
from guesthouse.interfaces.wasi.table cimport KIND_FILE, Desc, demand, release

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void* into, size_t length, int64_t offset)

cdef enum:
    RIGHT_READ = 2          # WASI's right to read from a descriptor

cdef uint32_t FAILED = 0xFFFFFFFF


cdef int fill_from(Desc* desc, uint8_t* into, uint64_t length, int64_t offset) noexcept nogil:
    # Copies what the file has; the rest stays zero. 0 when the file cannot be read.
    cdef uint64_t done = 0
    cdef ssize_t got
    while done < length:
        got = pread(desc.fd, into + done, length - done, offset + <int64_t> done)
        if got < 0:
            return 0
        if got == 0:
            break
        done += <uint64_t> got
    return 1


cdef int map_memory(Record* record, val_t* args, void* env) noexcept nogil:
    # (address, length, protection, flags, descriptor, offset) -> address or -1
    # Hints and protections mean nothing here; memory that runs out ends the call.
    cdef uint64_t length = args[1].u32
    cdef int32_t fd = args[4].i32
    cdef int64_t offset = args[5].i64
    cdef int64_t address
    cdef int error = 0, fine = 1
    cdef Desc* desc = NULL
    cdef Space* space = space_of(record)
    if space == NULL:
        return TRAPPED
    if fd != -1:
        desc = demand(record, <uint32_t> fd, RIGHT_READ, &error)
        if desc != NULL and (desc.kind != KIND_FILE or offset < 0):
            release(desc)
            desc = NULL
    if length == 0 or (fd != -1 and desc == NULL):
        if desc != NULL:
            release(desc)
        args[0].u64 = FAILED
        return OK
    lock(space)
    address = extend(record, space, length)
    unlock(space)
    if desc != NULL:
        if address >= 0:
            fine = fill_from(desc, record.base + address, length, offset)
        release(desc)
    if address < 0:
        return TRAPPED
    if not fine:
        lock(space)
        shrink(record, space, <uint64_t> address)
        unlock(space)
        args[0].u64 = FAILED
        return OK
    args[0].u64 = <uint64_t> address
    return OK


cdef int unmap_memory(Record* record, val_t* args, void* env) noexcept nogil:
    # (address, length) -> 0 or -1; only a region that ends at the break is really given back
    cdef uint64_t address = args[0].u32, length = args[1].u32
    cdef Space* space = space_of(record)
    cdef int failed = 0
    if space == NULL:
        return TRAPPED
    if length:
        if address % WASM_PAGE:
            return trap(record, b"munmap: the address is no multiple of 65536")
        length = (length + WASM_PAGE - 1) & ~<uint64_t> (WASM_PAGE - 1)
        lock(space)
        if address + length > memory_size(record):
            failed = 1
        elif address + length == current(record, space):
            failed = shrink(record, space, address)
        unlock(space)
    args[0].u64 = FAILED if failed else 0
    return OK


cdef int move_break(Record* record, val_t* args, void* env) noexcept nogil:
    # (increment) -> the old break, or -1
    cdef int64_t increment = args[0].i32
    cdef int64_t old
    cdef Space* space = space_of(record)
    if space == NULL:
        return TRAPPED
    if increment % WASM_PAGE:
        return trap(record, b"__sbrk: the increment is no multiple of 65536")
    lock(space)
    old = <int64_t> current(record, space)
    if increment > 0:
        old = extend(record, space, <uint64_t> increment)
    elif increment < 0 and (old + increment < 0 or shrink(record, space, <uint64_t> (old + increment))):
        old = FAILED
    unlock(space)
    if old < 0:
        return TRAPPED
    args[0].u64 = <uint64_t> old
    return OK


cdef uintptr_t address_of(native_t function):
    return <uintptr_t> function


#: Addresses of the native functions.
FUNCTIONS = {
    "mmap": address_of(map_memory),
    "munmap": address_of(unmap_memory),
    "__sbrk": address_of(move_break),
}
