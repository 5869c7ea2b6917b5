# cython: language_level=3
"""The numbers of errors: WASI's own, and what those of this host become."""

import errno as host_codes

from libc.stdint cimport uint16_t

from guesthouse.interfaces.wasi.codes cimport EIO_W, ENOTSUP_W, EPIPE_W

cdef uint16_t CODES[256]

# The WASI numbers run through these POSIX names in this order (spec wasix 3.3).
_NAMES = (
    "SUCCESS 2BIG ACCES ADDRINUSE ADDRNOTAVAIL AFNOSUPPORT AGAIN ALREADY BADF BADMSG BUSY CANCELED CHILD CONNABORTED "
    "CONNREFUSED CONNRESET DEADLK DESTADDRREQ DOM DQUOT EXIST FAULT FBIG HOSTUNREACH IDRM ILSEQ INPROGRESS INTR "
    "INVAL IO ISCONN ISDIR LOOP MFILE MLINK MSGSIZE MULTIHOP NAMETOOLONG NETDOWN NETRESET NETUNREACH NFILE NOBUFS "
    "NODEV NOENT NOEXEC NOLCK NOLINK NOMEM NOMSG NOPROTOOPT NOSPC NOSYS NOTCONN NOTDIR NOTEMPTY NOTRECOVERABLE "
    "NOTSOCK NOTSUP NOTTY NXIO OVERFLOW OWNERDEAD PERM PIPE PROTO PROTONOSUPPORT PROTOTYPE RANGE ROFS SPIPE SRCH "
    "STALE TIMEDOUT TXTBSY XDEV NOTCAPABLE SHUTDOWN MEMVIOLATION UNKNOWN PENDING"
).split()

#: WASI errno numbers by name, such as ``ERRNO["NOENT"] == 44``.
ERRNO = {name: number for number, name in enumerate(_NAMES)}


def _fill():
    for index in range(256):
        CODES[index] = EIO_W
    for name, number in ERRNO.items():
        code = getattr(host_codes, "E" + name, None)
        if code is not None and 0 < code < 256:
            CODES[code] = number
    CODES[host_codes.EOPNOTSUPP] = ENOTSUP_W
    CODES[host_codes.ESHUTDOWN] = EPIPE_W


_fill()


def wasi_errno(int code):
    """Return the WASI number of an errno of this host; 29 (IO) for one that WASI does not know."""
    return translate(code)


cdef int translate(int host) noexcept nogil:
    return CODES[host] if 0 < host < 256 else EIO_W
