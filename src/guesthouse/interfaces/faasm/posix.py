"""What Faasm offers of POSIX beyond WASI: one identity for all, and refusals that link (spec 2.8)."""

from __future__ import annotations

import os
import struct

from guesthouse.calls import Call
from guesthouse.engine import Constant, Exit, HostFunction
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.rows import refused, row
from guesthouse.interfaces.faasm.session import session_of

#: The one user and group of all functions.
IDENTITY = 1000
#: Name of that user and of the machine.
NAME = b"faasm"

#: The fields of ``struct utsname``, 65 bytes each.
UNAME = (b"Linux", NAME, b"1.0.0", b"Faasm 123", b"x86", b"(none)")

#: Exit code of a guest that aborts: 128 + SIGABRT.
ABORTED = 134

_ZEROS = bytes(65536)

_SC_PAGESIZE, _SC_NPROCESSORS_CONF, _SC_NPROCESSORS_ONLN = 30, 83, 84


def getpwuid(call: Call, _uid: int) -> int:
    """Return a pointer to the record of the one user, in memory from the guest's own ``malloc``."""
    session = session_of(call)
    if "passwd" not in session.kept:
        session.kept["passwd"] = _passwd(call)
    return session.kept["passwd"]


def _passwd(call: Call) -> int:
    instance = call.instance
    if instance.signature("malloc") != ("i", "i"):
        raise Trap("the module does not export malloc, which getpwuid needs", guest=call.guest)
    text = b"faasm\0x\0\0/\0/bin/sh\0"
    record: int = instance.invoke("malloc", 28 + len(text))
    if not record:
        return 0
    name, secret, comment, home, shell = (record + 28 + offset for offset in (0, 6, 8, 9, 11))
    fields = struct.pack("<7I", name, secret, IDENTITY, IDENTITY, comment, home, shell)
    instance.write(record, fields + text)
    return record


def gethostname(call: Call, buffer: int, length: int) -> int:
    """Write the machine's name; -1 when it does not fit."""
    if length <= len(NAME):
        return -1
    call.instance.write(buffer, NAME + b"\0")
    return 0


def uname(call: Call, buffer: int) -> int:
    """Write the six fields of ``struct utsname``."""
    call.instance.write(buffer, b"".join(field.ljust(65, b"\0") for field in UNAME))
    return 0


def sysconf(call: Call, name: int) -> int:
    """Return the number of processors or the page size."""
    if name in (_SC_NPROCESSORS_CONF, _SC_NPROCESSORS_ONLN):
        return os.cpu_count() or 1
    if name == _SC_PAGESIZE:
        return 65536
    raise Trap(f"sysconf knows no name {name}", guest=call.guest, function="sysconf")


def getrandom(call: Call, buffer: int, length: int, _flags: int) -> int:
    """Write random bytes."""
    length = min(length, 1 << 20)
    call.instance.write(buffer, os.urandom(length))
    return length


def waitpid(_call: Call, pid: int, _status: int, _options: int) -> int:
    """Return the process id that was asked about."""
    return pid


def leave(_call: Call, code: int) -> None:
    """End the call with a code."""
    raise Exit(code)


def abort(_call: Call) -> None:
    """End the call as a failure."""
    raise Exit(ABORTED)


def bzero(call: Call, start: int, length: int) -> None:
    """Fill memory with zeros."""
    for done in range(0, length, len(_ZEROS)):
        call.instance.write(start + done, _ZEROS[: length - done])


def network_long(_call: Call, value: int) -> int:
    """Turn the four bytes of a number round."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "big")


def network_short(_call: Call, value: int) -> int:
    """Turn the lower two bytes of a number round."""
    return int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")


def system(_call: Call, command: int) -> int:
    """Tell that there is no shell; -1 for a command."""
    return -1 if command else 0


#: Linked, and answered with -1 as POSIX has it for what a system does not do.
_MINUS_ONE = (
    ("fork", ""), ("execv", "ii"), ("execve", "iii"), ("kill", "ii"), ("pipe", "i"), ("pclose", "i"),
    ("raise", "i"), ("wait", "i"), ("openpty", "iiiii"), ("forkpty", "iiii"), ("chdir", "i"), ("fchdir", "i"),
    ("chmod", "ii"), ("memfd_create", "ii"), ("sendfile", "iiii"), ("poll", "iii"), ("lockf", "iiI"),
    ("getrusage", "ii"), ("setrlimit", "ii"), ("getpriority", "ii"), ("setpriority", "iii"), ("utime", "ii"),
    ("getresuid", "iii"), ("getresgid", "iii"), ("setgroups", "ii"),
    ("socket", "iii"), ("bind", "iii"), ("connect", "iii"), ("listen", "ii"), ("accept", "iii"),
    ("send", "iiii"), ("recv", "iiii"), ("sendto", "iiiiii"), ("recvfrom", "iiiiii"), ("setsockopt", "iiiii"),
    ("getsockopt", "iiiii"), ("getsockname", "iii"), ("shutdown", "ii"), ("inet_addr", "i"),
    ("inet_pton", "iii"),
)  # fmt: skip

#: Linked, and answered with a null pointer.
_NULL = (
    ("popen", "ii"), ("realpath", "ii"), ("tmpfile", ""), ("tempnam", "ii"), ("getpwnam", "i"),
    ("getgrnam", "i"), ("getgrent", ""), ("ttyname", "i"), ("gethostbyname", "i"), ("gethostbyaddr", "iii"),
    ("getprotobyname", "i"), ("getservbyname", "ii"), ("getservbyport", "ii"), ("inet_ntoa", "i"),
    ("inet_ntop", "iiii"),
)  # fmt: skip

#: Answered with success that means nothing.
_ZERO = (
    ("getrlimit", "ii"), ("confstr", "iii"), ("ioctl", "iii"), ("signal", "ii"), ("inet_aton", "ii"),
)  # fmt: skip

#: Answered with the one user and group of all functions.
_IDENTITIES = (("getuid", ""), ("geteuid", ""), ("getgid", ""), ("getegid", ""), ("getgrgid", "i"))

#: A call cannot go back to where it was, and nothing is thrown across it.
_JUMPS = (("setjmp", "i", "i"), ("longjmp", "ii", ""))
_EXCEPTIONS = (
    ("_Unwind_RaiseException", "i", "i"),
    ("_Unwind_DeleteException", "i", ""),
    ("__cxa_allocate_exception", "i", "i"),
    ("__cxa_throw", "iii", ""),
    ("__cxa_begin_catch", "i", "i"),
)

#: What any C library has; a guest that imports it was linked without one.
_OF_THE_LIBRARY = (
    ("atoi", "i", "i"),
    ("posix_memalign", "iii", "i"),
    ("strncat", "iii", "i"),
    ("dirfd", "i", "i"),
    ("fiprintf", "iii", "i"),
    ("__small_sprintf", "iii", "i"),
    ("__errno_location", "", "i"),
    ("__h_errno_location", "", "i"),
    ("__atomic_load", "iiii", ""),
    ("__atomic_compare_exchange", "iiiiii", "i"),
    ("gettext", "i", "i"),
    ("dgettext", "ii", "i"),
    ("dcgettext", "iii", "i"),
    ("textdomain", "i", "i"),
    ("bindtextdomain", "ii", "i"),
)

#: The Linux system call entries of very old guests.
_LEGACY = (
    ("syscall", "ii", "i"),
    ("__syscall", "ii", "i"),
    ("__syscall_cp", "iiiiiii", "i"),
    *((f"__syscall{count}", "i" * (count + 1), "i") for count in range(8)),
)

ROWS: tuple[HostFunction, ...] = (
    *(
        row(name, params, "i", Constant(IDENTITY), "The one user and group of all functions.")
        for name, params in _IDENTITIES
    ),
    row("gettid", "", "i", Constant(66), "The same thread id for every function."),
    row("getpid", "", "i", Constant(23), "The same process id for every function."),
    row("getppid", "", "i", Constant(1), "The parent of every function is init."),
    row("umask", "i", "i", Constant(0o022), "The mask, which cannot be changed."),
    row("getpwuid", "i", "i", getpwuid, "The record of the one user."),
    row("gethostname", "ii", "i", gethostname, "The machine's name, the same everywhere."),
    row("uname", "i", "i", uname, "The system's name, the same everywhere."),
    row("sysconf", "i", "i", sysconf, "The number of processors and the page size."),
    row("getrandom", "iii", "i", getrandom, "Random bytes."),
    row("waitpid", "iii", "i", waitpid, "Returns the process id that was asked about."),
    row("exit", "i", "", leave, "End the call with a code."),
    row("_Exit", "i", "", leave, "End the call with a code."),
    row("abort", "", "", abort, "End the call as a failure."),
    row("system", "i", "i", system, "There is no shell."),
    *(row(name, "ii", "", bzero, "Fill memory with zeros.") for name in ("bzero", "explicit_bzero")),
    *(row(name, "i", "i", network_long, "Change the byte order.") for name in ("htonl", "ntohl")),
    *(row(name, "i", "i", network_short, "Change the byte order.") for name in ("htons", "ntohs")),
    *(row(name, "", "", Constant(), "There is no list of groups.") for name in ("setgrent", "endgrent")),
    *(row(name, params, "i", Constant(-1), "Not done here: -1.") for name, params in _MINUS_ONE),
    *(row(name, params, "i", Constant(0), "Not done here: a null pointer.") for name, params in _NULL),
    *(row(name, params, "i", Constant(0), "Succeeds without effect.") for name, params in _ZERO),
    *refused(_JUMPS, "stack switching is not supported; build without it"),
    *refused(_EXCEPTIONS, "C++ exceptions are not supported by this entry; build with -fno-exceptions"),
    *refused(_OF_THE_LIBRARY, "it belongs to the C library; link the guest with wasi-libc"),
    *refused(_LEGACY, "Linux system calls are not served; build against wasi-libc"),
)
