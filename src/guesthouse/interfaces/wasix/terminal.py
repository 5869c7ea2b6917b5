"""The terminal and the process id as guests see them, and a runtime member for the real terminal."""

from __future__ import annotations

import atexit
import contextlib
import os
import struct
import termios
import threading
from collections.abc import Iterator

from guesthouse.interfaces.wasix.program import INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal
from guesthouse.interfaces.wasix.runtime import TtyState

NOTSUP = 58

# cols rows width height, then stdin_tty stdout_tty stderr_tty echo line_buffered line_feeds, padding
_LAYOUT = "<4I6B2x"


def tty_bytes(state: TtyState) -> bytes:
    """Return a terminal's state as the 24 bytes of the guest's structure."""
    return struct.pack(
        _LAYOUT,
        state.cols,
        state.rows,
        state.width,
        state.height,
        state.stdin_tty,
        state.stdout_tty,
        state.stderr_tty,
        state.echo,
        state.line_buffered,
        state.line_feeds,
    )


def tty_state(data: bytes) -> TtyState:
    """Return the state that 24 bytes stand for.

    Raises:
        Refusal: a bool is neither 0 nor 1.
    """
    cols, rows, width, height, *flags = struct.unpack(_LAYOUT, data)
    if any(flag > 1 for flag in flags[:5]):  # the sixth was padding in the first generation
        raise Refusal(INVAL)
    return TtyState(cols, rows, width, height, *(bool(flag) for flag in flags))


def tty_get(thread: GuestThread, pointer: int) -> None:
    """Write the state of the terminal."""
    thread.write(pointer, tty_bytes(thread.program.runtime.tty_get()))


def tty_set(thread: GuestThread, pointer: int) -> None:
    """Change the terminal."""
    thread.program.runtime.tty_set(tty_state(thread.read(pointer, 24)))


def tty_get_default(thread: GuestThread, pointer: int) -> None:
    """Write the fixed state: what a guest gets that was not granted a terminal."""
    thread.write(pointer, tty_bytes(TtyState()))


def tty_set_default(thread: GuestThread, pointer: int) -> None:
    """Accept a state and forget it."""
    tty_state(thread.read(pointer, 24))


def getpid(thread: GuestThread, pointer: int) -> int | None:
    """Write the process id; 58 where there is none."""
    pid = thread.program.runtime.getpid()
    if pid is None:
        return NOTSUP
    thread.pack("I", pointer, pid & 0xFFFFFFFF)
    return None


def proc_id(thread: GuestThread, pointer: int) -> None:
    """Write the process id; 1 where there is none."""
    thread.pack("I", pointer, thread.program.pid & 0xFFFFFFFF)


class TerminalTty:
    """The real terminal for a runtime: give its methods to one, or inherit from it before ``BaseRuntime``.

    Size and modes are asked of the terminal each time.  The modes that were found are put back by
    :meth:`restore`, which also runs when the process exits.

    Args:
        streams: host descriptors of the three standard streams.
    """

    def __init__(self, streams: tuple[int, int, int] = (0, 1, 2)) -> None:
        self._streams = streams
        self._saved: list[object] | None = None
        self._lock = threading.Lock()

    def _terminal(self) -> int | None:
        """The first of the streams that is a terminal."""
        return next((fd for fd in self._streams if _is_terminal(fd)), None)

    def tty_get(self) -> TtyState:
        """Return the terminal's state; the defaults where no stream is one."""
        terminal = self._terminal()
        if terminal is None:
            return TtyState()
        cols, rows = os.get_terminal_size(terminal)
        modes = termios.tcgetattr(terminal)
        local, output = modes[3], modes[1]
        ins, outs, errs = (_is_terminal(fd) for fd in self._streams)
        return TtyState(
            cols or 80,
            rows or 25,
            (cols or 80) * 10,
            (rows or 25) * 24,
            ins,
            outs,
            errs,
            bool(local & termios.ECHO),
            bool(local & termios.ICANON),
            bool(output & termios.ONLCR),
        )

    def tty_set(self, state: TtyState) -> None:
        """Change echo and line buffering of the real terminal; its size stays what it is."""
        terminal = self._terminal()
        if terminal is None:
            return
        with self._lock:
            modes = termios.tcgetattr(terminal)
            if self._saved is None:
                self._saved = [*modes[:6], list(modes[6])]
                atexit.register(self.restore)
            modes[3] = _with(modes[3], termios.ECHO, state.echo)
            modes[3] = _with(modes[3], termios.ICANON, state.line_buffered)
            termios.tcsetattr(terminal, termios.TCSADRAIN, modes)

    def restore(self) -> None:
        """Put back the modes that were found, if they were changed."""
        with self._lock:
            saved, self._saved = self._saved, None
            terminal = self._terminal()
            if saved is not None and terminal is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(terminal, termios.TCSADRAIN, saved)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Put the terminal back whatever way the block is left."""
        try:
            yield
        finally:
            self.restore()


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _with(flags: int, bit: int, on: bool) -> int:
    return flags | bit if on else flags & ~bit
