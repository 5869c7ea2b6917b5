# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from guesthouse.engine.core cimport Record
from guesthouse.interfaces.wasi.posix cimport iovec
from guesthouse.interfaces.wasi.table cimport Desc

# Reads into / writes from host vectors, blocking interruptibly where the descriptor blocks: errno or STOP.
cdef int read_parts(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil
cdef int write_parts(Record* record, Desc* desc, iovec* parts, int n, uint64_t* done) noexcept nogil

# Waits until a host descriptor is ready (POLLIN / POLLOUT), the time is over (EAGAIN) or the call is (STOP).
# `timeout` in nanoseconds, negative for none.
cdef int await_host(Record* record, int fd, short events, int64_t timeout) noexcept nogil
