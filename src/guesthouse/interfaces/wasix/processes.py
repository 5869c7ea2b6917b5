"""The process: working directory, clock, signals, children, and ways to end (spec wasix 3.6, 3.7)."""

from __future__ import annotations

import posixpath
import time

from guesthouse.engine import Exit, OutOfBounds
from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.bus import BusError, BusProcess, SpawnOptions, StdioMode
from guesthouse.interfaces.wasix.generations import Generation
from guesthouse.interfaces.wasix.program import INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.threads import send

OVERFLOW = 61
#: The latest time that a clock can be set to, in nanoseconds since 1970: the year 2262.
LATEST = 2**63 - 1
RANGE = 68
CHILD = 12
NOENT = 44
IO = 29

#: What a bus error is as an errno, where a function of generation G3 answers one.
_AS_ERRNO = {4: NOENT, 7: 11, 8: 8, 11: 58, 12: INVAL, 13: 2, 15: 48, 18: 21}


def getcwd(thread: GuestThread, buffer: int, length_at: int) -> int | None:
    """Write the working directory and its length without the NUL."""
    path = thread.program.cwd.encode()
    (room,) = thread.unpack("I", length_at)
    third = thread.program.generation is Generation.G3
    if third and (buffer == 0 or room == 0):
        thread.pack("I", length_at, len(path))
        return INVAL
    with_nul = thread.program.generation is Generation.G1
    thread.pack("I", length_at, len(path))
    if room < len(path) + with_nul:
        return RANGE if third else OVERFLOW
    thread.write(buffer, path + b"\0" * with_nul)
    return None


def chdir(thread: GuestThread, pointer: int, length: int) -> int | None:
    """Change the working directory; preview-1 paths, which start at a descriptor, are not affected."""
    wanted = posixpath.normpath(posixpath.join(thread.program.cwd, thread.text(pointer, length)))
    if "\0" in wanted or length == 0:
        return INVAL if length else NOENT
    wanted = "/" + wanted.strip("/")
    error = descriptors.is_directory(thread.program.process, wanted)
    if error == 0:
        thread.program.cwd = wanted
    return error


def clock_time_set(thread: GuestThread, clock: int, value: int) -> int | None:
    """Set the realtime clock of this program; the host's stays as it is."""
    if clock != 0 or value > LATEST:
        return INVAL
    thread.program.process.shift_realtime(value - time.time_ns())
    return None


def proc_exit2(thread: GuestThread, code: int) -> None:
    """End the program with a code."""
    raise Exit(code)


def proc_signals_sizes_get(thread: GuestThread, pointer: int) -> None:
    """Write how many signal dispositions were inherited: none."""
    thread.pack("I", pointer, 0)


def proc_signals_get(thread: GuestThread, pointer: int) -> None:
    """Write the inherited signal dispositions: there are none."""


def proc_parent(thread: GuestThread, pid: int, result: int) -> int | None:
    """Write the id of a process's parent: 0, the host."""
    if pid not in (0, thread.program.pid) and pid not in children(thread):
        return 71
    thread.pack("I", result, thread.program.pid if pid in children(thread) else 0)
    return None


def proc_signal(thread: GuestThread, pid: int, signal: int) -> int | None:
    """Send a signal to this program's main thread or to a child."""
    if not 0 <= signal <= 31:
        return INVAL
    if pid in (0, thread.program.pid):
        main = thread.program.threads.get(thread.program.main_id)
        if main is not None:
            send(main, signal)
        return None
    process = children(thread).get(pid)
    if process is None:
        return 71
    signaller = getattr(process, "signal", None)
    if signaller is None:
        return 58
    if signal:
        signaller(signal)
    return None


# -- children


def children(thread: GuestThread) -> dict[int, BusProcess]:
    """Return the child processes of a program, by their ids."""
    found: dict[int, BusProcess] = thread.program.service("children", dict)
    return found


def lines(text: str) -> list[str]:
    """Split arguments at line feeds and carriage returns; what is between two of them is none."""
    return [part for part in text.replace("\r", "\n").split("\n") if part]


def mode(number: int) -> StdioMode:
    """Return what a standard stream of a new process is.

    Raises:
        Refusal: there is no such mode.
    """
    try:
        return StdioMode(number)
    except ValueError:
        raise Refusal(INVAL) from None


def open_handles(thread: GuestThread, process: BusProcess) -> list[int | None]:
    """Open descriptors for the ends of a process's pipes that are this program's."""
    handles: list[int | None] = []
    for getter in (process.stdin_fd, process.stdout_fd, process.stderr_fd):
        host = getter()
        handles.append(None if host is None else descriptors.open_host(thread.program.process, host))
    return handles


def write_handles(thread: GuestThread, pointer: int, number: int, handles: list[int | None]) -> None:
    """Write the 28 bytes of process handles."""
    thread.pack("I", pointer, number)
    for index, handle in enumerate(handles):
        thread.pack("B3xI", pointer + 4 + 8 * index, handle is not None, handle or 0)


def spawn(thread: GuestThread, arguments: tuple[int, ...]) -> tuple[int, BusProcess, list[int | None]]:
    """Start a process on the bus from the twelve arguments of the spawning functions.

    Raises:
        Refusal: an argument is bad.
        BusError: the bus refuses.
    """
    (name, name_len, chroot, args, args_len, preopen, preopen_len, stdin, stdout, stderr, cwd, cwd_len) = (
        arguments
    )
    if chroot not in (0, 1):
        raise Refusal(INVAL)
    options = SpawnOptions(
        chroot=bool(chroot),
        args=lines(thread.text(args, args_len)),
        preopen=lines(thread.text(preopen, preopen_len)),
        stdin_mode=mode(stdin),
        stdout_mode=mode(stdout),
        stderr_mode=mode(stderr),
        working_dir=thread.text(cwd, cwd_len) or thread.program.cwd,
    )
    process = thread.program.runtime.bus().spawn(thread.text(name, name_len), options)
    known = thread.program.service("processes", list)
    known.append(process)
    number = len(known) + 1 if thread.program.pid == 1 else len(known)
    children(thread)[number] = process
    return number, process, open_handles(thread, process)


def proc_spawn(thread: GuestThread, *arguments: int) -> int | None:
    """Start a process on the bus; a bus error in the first generations, an errno in G3."""
    *given, result = arguments
    try:
        thread.read(result, 28)
        number, process, handles = spawn(thread, tuple(given))
    except BusError as error:
        return as_error(thread, error)
    except OutOfBounds:
        return 21 if thread.program.generation is Generation.G3 else 18
    if thread.program.generation is not Generation.G3:
        from guesthouse.interfaces.wasix.buscalls import state

        number = state(thread).adopt(process)
    write_handles(thread, result, number, handles)
    return None


def as_error(thread: GuestThread, error: BusError) -> int:
    """Return a bus error as this generation's processes see it."""
    if thread.program.generation is Generation.G3:
        return _AS_ERRNO.get(error.code, IO)
    return error.code


def proc_join(thread: GuestThread, pid_at: int, flags: int, status_at: int) -> int | None:
    """Wait for a child to end, or for any; write which and how."""
    wanted, pid = thread.unpack("B3xI", pid_at)
    thread.read(status_at, 6)
    known = children(thread)
    if (wanted and pid not in known) or not known:
        return CHILD
    watched = {pid: known[pid]} if wanted else dict(known)

    def ended(seconds: float) -> int | None:
        for number, process in watched.items():
            if process.poll_finished(0):
                return number
        next(iter(watched.values())).poll_finished(seconds)
        return None

    found = thread.wait(ended, 0 if flags & 1 else None)
    if found is None:
        thread.pack("BxHH", status_at, 0, 0, 0)
        return None
    process = known.pop(found)
    thread.pack("B3xI", pid_at, 1, found)
    thread.pack("BxHH", status_at, 1, (process.exit_code() or 0) & 0xFFFF, 0)
    return None


def proc_exec(
    thread: GuestThread, name: int, name_len: int, args: int, args_len: int, *_rest: int
) -> int | None:
    """Run another guest in the place of this one, and end with its code."""
    options = SpawnOptions(
        args=lines(thread.text(args, args_len))[1:],  # the first is the program's own name
        stdin_mode=StdioMode.INHERIT,
        stdout_mode=StdioMode.INHERIT,
        stderr_mode=StdioMode.INHERIT,
        working_dir=thread.program.cwd,
    )
    wanted = posixpath.basename(thread.text(name, name_len)).removesuffix(".wasm")
    try:
        process = thread.program.runtime.bus().spawn(wanted, options)
    except BusError as error:
        return _AS_ERRNO.get(error.code, IO)
    thread.wait(lambda seconds: process.poll_finished(seconds) or None)
    raise Exit(process.exit_code() or 0)


def proc_exec_or_end(thread: GuestThread, *arguments: int) -> None:
    """Run another guest in the place of this one; one that cannot be started ends the program with 127."""
    if proc_exec(thread, *arguments[:4]) is not None:
        raise Exit(127)
