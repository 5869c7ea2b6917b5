# cython: language_level=3
"""Processes: their standard streams, arguments and directories, and what their threads are attached to."""

import errno as host_codes
import os

from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from guesthouse.engine.core cimport Instance
from guesthouse.interfaces.wasi.codes cimport *
from guesthouse.interfaces.wasi.positions cimport settle
from guesthouse.interfaces.wasi.posix cimport c_close
from guesthouse.interfaces.wasi.table cimport *

cdef class Strings:
    """Arguments or environment entries, laid out once as the guest gets them.

    Args:
        items: the strings, as ``str`` (encoded as UTF-8) or ``bytes``.

    Raises:
        ValueError: a string holds a NUL byte.
    """

    def __cinit__(self, items=()):
        encoded = tuple(os.fsencode(item) for item in items)
        for item in encoded:
            if b"\0" in item:
                raise ValueError(f"NUL byte in {item!r}: arguments and environment entries cannot hold one")
        self.items = encoded
        self.blob = b"".join([item + b"\0" for item in encoded])
        if len(self.blob) > 0x40000000:
            raise ValueError("arguments or environment of more than 1 GiB")
        self.view.data = <const uint8_t*>self.blob
        self.view.size = <uint32_t>len(self.blob)
        self.view.count = <uint32_t>len(encoded)


cdef class Root:
    """A directory of the host that guests may reach under a name.

    Args:
        path: the directory; symbolic links in it are followed now, once.
        name: the name that guests see.
        writable: whether anything beneath may be changed.
        cleanup: called when the last user is gone, such as the removal of a temporary directory.
        account, limit: where everything is counted that processes write beneath it, and how much that may be.

    Raises:
        OSError: the directory cannot be opened.
    """

    def __cinit__(self, path, name, *, bint writable=True, cleanup=None, DiskAccount account=None, int64_t limit=0):
        self.fd = -1
        self.name = os.fsencode(name)
        self.writable = writable
        self.cleanup = cleanup
        self.account, self.limit = account, limit
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __dealloc__(self):
        if self.fd >= 0:
            c_close(self.fd)
        if self.cleanup is not None:
            self.cleanup()


cdef class Process:
    """What the threads of one running program share: descriptors, arguments, environment, clock.

    A new process has an empty stdin and captures stdout and stderr.

    Args:
        output_limit: most bytes that each of stdout and stderr may collect.
        descriptors: most descriptors open at a time.
        disk: most bytes by which its files may grow; ``None`` for no bound.
    """

    def __cinit__(self, *, uint64_t output_limit=1 << 26, uint32_t descriptors=1024, disk=None):
        cdef Wasi* wasi = <Wasi*>calloc(1, sizeof(Wasi))
        if wasi == NULL:
            raise MemoryError
        self.wasi = wasi
        wasi.table = wasi.first
        wasi.capacity = 8
        wasi.limit = descriptors if descriptors > 8 else 8
        wasi.disk_limit = -1 if disk is None else disk
        wasi.names_limit = max(wasi.disk_limit // NAME_BYTES, 1024)
        wasi.captured[0].limit = wasi.captured[1].limit = output_limit
        cdef int number
        cdef Desc* desc
        for number in range(3):
            desc = &wasi.stdio[number]
            desc.embedded = 1
            desc.refs = 1
            desc.fd = -1
            desc.filetype = TYPE_UNKNOWN
            desc.rights = RIGHTS_STREAM
            if number == 0:
                desc.kind = KIND_BYTES
            else:
                desc.kind = KIND_CAPTURE
                desc.buffer = &wasi.captured[number - 1]
            wasi.table[number] = desc
        wasi.open = wasi.lowest = 3

    def __dealloc__(self):
        if self.wasi != NULL:
            self._drop()
            free(self.wasi.captured[0].data)
            free(self.wasi.captured[1].data)
            free(self.wasi)

    def another(self):
        """Return a new process that is given the same as this one, which must not have run.

        Raises:
            ValueError: a descriptor can only belong to one of the two.
        """
        cdef Process made = Process.__new__(Process)
        cdef Wasi* wasi = made.wasi
        cdef uint32_t number
        wasi.limit = self.wasi.limit
        wasi.disk_limit, wasi.names_limit = self.wasi.disk_limit, self.wasi.names_limit
        wasi.shared, wasi.shared_limit = self.wasi.shared, self.wasi.shared_limit
        wasi.realtime_shift = self.wasi.realtime_shift
        wasi.args, wasi.env = self.wasi.args, self.wasi.env
        made.kept = None if self.kept is None else list(self.kept)
        for number in range(2):
            wasi.captured[number].limit = self.wasi.captured[number].limit
        for number in range(self.wasi.capacity):
            if self.wasi.table[number] != NULL:
                made._copy(number, self.wasi.table[number])
        return made

    cdef _copy(self, uint32_t number, Desc* source):
        """Give the process a descriptor like that of another."""
        cdef Desc* desc
        if source.ops != NULL or (source.fd >= 0 and not source.borrowed):
            raise ValueError(f"descriptor {number} belongs to one process only")
        if number < 3:
            desc = &self.wasi.stdio[number]
        else:
            desc = create(source.kind, source.filetype, source.fd, source.rights, source.inheriting)
            if desc == NULL or place(self.wasi, desc, number):
                raise MemoryError
            self.wasi.lowest = number + 1
        desc.kind, desc.filetype, desc.fd, desc.borrowed = source.kind, source.filetype, source.fd, source.borrowed
        desc.readonly, desc.flags = source.readonly, source.flags
        desc.data, desc.length, desc.position = source.data, source.length, source.position
        desc.preopen, desc.preopen_length = source.preopen, source.preopen_length
        if source.object != NULL:
            Py_INCREF(<object>source.object)
            desc.object = source.object

    cdef _drop(self):
        cdef uint32_t number
        for number in range(self.wasi.capacity):
            if self.wasi.table[number] != NULL:
                remove(self.wasi, number)
        if self.wasi.table != self.wasi.first:
            free(self.wasi.table)
            self.wasi.table = self.wasi.first
            self.wasi.capacity = 8
            memset(self.wasi.first, 0, sizeof(self.wasi.first))

    def close(self):
        """Close every descriptor; what was captured stays readable. No thread of the program may run any more."""
        self._drop()
        self.wasi.shared = NULL
        memset(&self.wasi.args, 0, 2 * sizeof(Blob))    # and the environment, which follows
        self.closed, self.kept = True, None             # with them go the directories

    cdef _keep(self, object thing):
        if self.kept is None:
            self.kept = []
        self.kept.append(thing)

    def set_strings(self, Strings args=None, Strings env=None):
        """Give the program its arguments and its environment (``NAME=value`` entries)."""
        if args is not None:
            self._keep(args)
            self.wasi.args = args.view
        if env is not None:
            self._keep(env)
            self.wasi.env = env.view

    def set_stream(self, int number, what, *, bint borrowed=True):
        """Say what one of the three standard streams is.

        Args:
            number: 0, 1 or 2.
            what: ``bytes`` to read, an ``int`` host descriptor, a callable that takes what is written as
                ``bytes``, or ``None`` for nothing to read and everything swallowed.
            borrowed: a host descriptor stays the caller's.

        Raises:
            ValueError: there is no such stream.
            TypeError: bytes for an output, a callable for the input, or something else altogether.
        """
        if not 0 <= number <= 2:
            raise ValueError(f"standard stream {number}: there are 0, 1 and 2")
        cdef Desc* desc = &self.wasi.stdio[number]
        if isinstance(what, (bytes, bytearray, memoryview)) and number == 0:
            data = bytes(what)
            self._keep(data)
            desc.kind = KIND_BYTES
            desc.data = <const uint8_t*>(<bytes>data)
            desc.length = len(data)
            desc.position = 0
        elif isinstance(what, int) and not isinstance(what, bool):
            desc.kind = KIND_STREAM
            desc.filetype = TYPE_LATER
            desc.fd = what
            desc.borrowed = borrowed
        elif what is None:
            desc.kind = KIND_NULL
        elif callable(what) and number > 0:
            self._keep(what)
            Py_INCREF(what)
            Py_XDECREF(desc.object)
            desc.kind = KIND_CALLABLE
            desc.object = <PyObject*>what
        else:
            raise TypeError(f"standard stream {number} cannot be a {type(what).__name__}")

    def make_terminal(self):
        """Let the standard streams look like a terminal (a character device)."""
        cdef int number
        for number in range(3):
            self.wasi.stdio[number].filetype = TYPE_CHARACTER

    def preopen(self, Root root):
        """Give the program a directory, at the next free descriptor.

        Raises:
            OSError: no descriptor is free.
        """
        cdef uint32_t fd = 0
        cdef Desc* desc = create(KIND_DIRECTORY, TYPE_DIRECTORY, root.fd, RIGHTS_DIRECTORY,
                                 RIGHTS_FILE | RIGHTS_DIRECTORY)
        if desc == NULL:
            raise MemoryError
        self._keep(root)
        desc.borrowed = True
        desc.readonly = not root.writable
        if root.account is not None:
            self.wasi.shared, self.wasi.shared_limit = &root.account.bytes, root.limit
        desc.preopen = <const char*>root.name
        desc.preopen_length = <uint32_t>len(root.name)
        if insert(self.wasi, desc, 3, &fd):
            raise OSError(host_codes.EMFILE, "no descriptor left for a preopened directory")
        return fd

    def add_descriptor(self, int host, *, bint socket=False, bint borrowed=False):
        """Give the program an open host descriptor (a listening socket, a pipe) and return its number.

        Raises:
            OSError: no descriptor is free.
        """
        cdef uint32_t fd = 0
        cdef Desc* desc = create(KIND_SOCKET if socket else KIND_STREAM, TYPE_LATER, host,
                                 RIGHTS_SOCKET if socket else RIGHTS_STREAM, RIGHTS_SOCKET if socket else 0)
        if desc == NULL:
            raise MemoryError
        desc.borrowed = borrowed
        if not borrowed:
            os.set_blocking(host, False)
        if insert(self.wasi, desc, 3, &fd):
            raise OSError(host_codes.EMFILE, "no descriptor left")
        return fd

    def captured(self, int number):
        """Return what standard stream 1 or 2 collected."""
        cdef Buffer* buffer = &self.wasi.captured[1 if number == 2 else 0]
        return (<char*>buffer.data)[:buffer.length] if buffer.length else b""

    def emit(self, int number, data):
        """Write to the program's standard output or error from outside, as if it had written itself.

        What does not fit a captured stream any more is dropped.
        """
        cdef bytes text = bytes(data)
        cdef Desc* desc = acquire(self.wasi, <uint32_t>number)
        if desc == NULL:
            return
        try:
            if desc.kind == KIND_CAPTURE:
                append(self.wasi, desc.buffer, <const uint8_t*>text, <uint64_t>len(text))
            elif desc.kind == KIND_CALLABLE:
                (<object>desc.object)(text)
            elif desc.kind == KIND_STREAM or desc.kind == KIND_FILE:
                settle(desc)
                os.write(desc.fd, text)
        finally:
            release(desc)

    @property
    def descriptors(self):
        """How many descriptors are open."""
        return self.wasi.open

    def shift_realtime(self, int64_t nanoseconds):
        """Move the program's realtime clock; the host's stays as it is."""
        self.wasi.realtime_shift = nanoseconds


cdef class Context(Attachment):
    """The WASI state of one thread, to be attached to its instance at :data:`SLOT`.

    Args:
        process: what it shares with the other threads of the program.
        tid: thread id; 0 is the main thread.
        idle: called with the thread id whenever the thread yields or has waited a while; may raise.
    """

    def __cinit__(self, Process process not None, uint32_t tid=0, idle=None):
        self.process = process
        self.hooks = [idle]
        self.task.wasi = process.wasi
        self.task.tid = tid
        self.task.idle = <PyObject*>idle if idle is not None else NULL
        self.task.context = <PyObject*>self
        self.pointer = &self.task


    @property
    def tid(self):
        """The thread id."""
        return self.task.tid

    def set_idle(self, hook):
        """Have a callable called with the thread id where the thread yields or idles; from any thread."""
        self.hooks.append(hook)     # an earlier one may be running right now
        self.task.idle = <PyObject*>hook


def context_of(Instance instance not None):
    """Return the :class:`Context` attached to an instance, or ``None``."""
    if instance.record == NULL or instance.record.slots[slot] == NULL:
        return None
    return <Context>(<Task*>instance.record.slots[slot]).context


#: The slot of the instance record at which a :class:`Context` is attached.
SLOT = slot
