"""``spawn.pty``: interactive terminals for cells (spec/pulp.md 3.11).

Output comes to the cell as ``pty.output`` events.  Which programs may be a shell is up to the same lists as
for ``spawn.process``.  While a cell is behind, the terminal is not read, so the program waits and nothing
is lost.
"""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Environment, Event, Extension, Posted, Refused, reply
from guesthouse.interfaces.pulp.extensions.launching import LaunchPolicy, NotAllowed, end, start
from guesthouse.interfaces.pulp.structs import Message, go
from guesthouse.observe import log

if TYPE_CHECKING:
    import subprocess

    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

NO_SESSION = 6
#: Terminals of one cell.
MOST = 16
CHUNK = 4096
COLUMNS, ROWS = 80, 24
#: Seconds between two tries to hand output to a cell that is behind.
PATIENCE = 0.02
#: Seconds that a program may leave what is typed unread.
WRITE_SECONDS = 5.0


@dataclass(slots=True)
class OpenRequest(Message):
    """The request of ``pty_open``; a blank shell is the host's own, ``persist`` outlives a reload."""

    shell: str = go("str")
    args: list[str] = go("strings")
    dir: str = go("str")
    persist: bool = go("bool")


@dataclass(slots=True)
class Opened(Message):
    """The reply of ``pty_open``."""

    pty_id: int = go("uint32")


@dataclass(slots=True)
class Output(Message):
    """The payload of a ``pty.output`` event."""

    pty_id: int = go("uint32")
    data: bytes = go("bytes")


class Session:
    """One terminal and the program behind it."""

    def __init__(
        self, number: int, cell: str, persist: bool, main: int, process: subprocess.Popen[bytes]
    ) -> None:
        self.number, self.cell, self.persist = number, cell, persist
        self.process = process
        self._main = main
        self._lock = threading.Lock()
        self.closed = threading.Event()

    def write(self, data: bytes, check: Callable[[], object]) -> None:
        """Type something; waits for a program that does not read, but not for ever.

        Args:
            data: what to type.
            check: called while waiting; raising ends the wait.

        Raises:
            OSError: the terminal is gone, or the program does not read.
        """
        view, until = memoryview(data), time.monotonic() + WRITE_SECONDS
        while view:
            with self._held() as main:
                if _ready(main, select.POLLOUT, PATIENCE):
                    with contextlib.suppress(BlockingIOError):
                        view = view[os.write(main, view) :]
                        until = time.monotonic() + WRITE_SECONDS
            check()
            if time.monotonic() > until:
                raise TimeoutError("the program does not read what is typed")

    def resize(self, columns: int, rows: int) -> None:
        """Tell the program the size of its terminal.

        Raises:
            OSError: the terminal is gone.
            struct.error: a number is beyond what a terminal can have.
        """
        size = struct.pack("HHHH", rows, columns, 0, 0)
        with self._held() as main:
            fcntl.ioctl(main, termios.TIOCSWINSZ, size)

    def output(self) -> Iterator[bytes]:
        """Yield what the terminal shows until the program and all its children have ended."""
        try:
            with self._held() as main:
                own = os.dup(main)  # nobody else closes it, so its number cannot come to mean another file
        except OSError:
            return
        try:
            while not self.closed.is_set():
                if _ready(own, select.POLLIN, 1.0):
                    with contextlib.suppress(BlockingIOError):
                        yield os.read(own, CHUNK)
        except OSError:  # the other side is closed
            pass
        finally:
            os.close(own)

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the program and give the terminal back; once."""
        with self._lock:
            if self.closed.is_set():
                return
            self.closed.set()
        end(self.process)
        self.process.wait()
        with self._lock:
            os.close(self._main)

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        with self._lock:
            if self.closed.is_set():
                raise OSError(errno.EIO, "the terminal is closed")
            yield self._main


def _ready(fd: int, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(seconds * 1000))


class PTY(Extension):
    """Opens terminals and streams their output."""

    name = "spawn.pty"
    summary = "Interactive terminals of the host."

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._lock = threading.Lock()
        self._last = 0
        self.setup(Environment())

    def setup(self, environment: Environment) -> None:
        """Read the lists, and note where events go."""
        self._policy = LaunchPolicy(environment.settings)
        self._shell = environment.settings.get("SHELL") or "/bin/sh"
        self._emit: Callable[[Event], Posted] = environment.emit

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the five imports."""
        return (
            self.row("pty_open", "iiii", self.open, "Start a shell in a terminal of its own."),
            self.row("pty_write", "iii", self.write, "Type into a terminal."),
            self.row("pty_resize", "iii", self.resize, "Change the size of a terminal."),
            self.row("pty_close", "i", self.close, "End the shell and its terminal."),
            self.row("pty_alive", "i", self.alive, "Say whether the shell still runs.", denied=0),
        )

    def open(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {shell, args, dir, persist} with {pty_id}; 4 not started, 11 not allowed."""
        wanted = OpenRequest.decode(call.instance.read(pointer, length)) if length else OpenRequest()
        try:
            program = self._policy.program(wanted.shell or self._shell)
            directory = self._policy.directory(wanted.dir)
        except NotAllowed as error:
            raise Refused(memory.DENIED, str(error)) from None
        self._make_room(call.cell.id)
        session = self._start(call.cell.id, [program, *wanted.args], directory, wanted.persist)
        code = reply(call, Opened(session.number), pointer_out, length_out)
        if code:
            self._drop(session)
            return code
        threading.Thread(
            target=self._pump, args=(session,), name=f"pty-{session.number}", daemon=True
        ).start()
        return code

    def _make_room(self, cell: str) -> None:
        """Let go of terminals whose programs have ended, where the cell has too many."""
        with self._lock:
            mine = [session for session in self._sessions.values() if session.cell == cell]
        if len(mine) < MOST:
            return
        ended = [session for session in mine if not session.alive]
        for session in ended:
            self._drop(session)
        if not ended:
            raise Refused(memory.FAILED, f"{MOST} terminals are open")

    def _start(self, cell: str, command: list[str], directory: str | None, persist: bool) -> Session:
        main, side = os.openpty()
        try:
            process = start(
                command, directory, {"TERM": "xterm-256color"}, stdin=side, stdout=side, stderr=side,
                preexec_fn=lambda: fcntl.ioctl(side, termios.TIOCSCTTY, 0),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            os.close(main)
            raise Refused(memory.FAILED, str(error)) from None
        finally:
            os.close(side)
        os.set_blocking(main, False)
        with self._lock:
            self._last += 1
            session = self._sessions[self._last] = Session(self._last, cell, persist, main, process)
        session.resize(COLUMNS, ROWS)
        return session

    def _pump(self, session: Session) -> None:
        """Hand output to the cell until the program ends."""
        for data in session.output():
            output = Output(session.number, data).encode()
            event = Event("pty.output", output, session.cell, session.number, self.name, patient=True)
            posted = self._emit(event)
            while posted is Posted.FULL and not session.closed.wait(PATIENCE):
                posted = self._emit(event)
            if posted is Posted.GONE and not session.persist:
                break
        log.debug("terminal ended", cell=session.cell, pty=session.number)
        session.process.poll()

    def _session(self, call: CellCall, number: int) -> Session:
        session = self._sessions.get(number)
        if session is None or session.cell != call.cell.id:
            raise Refused(NO_SESSION, f"no terminal {number}")
        return session

    def write(self, call: CellCall, number: int, pointer: int, length: int) -> int:
        """Type bytes; 4 when the terminal is gone, 6 when it never was."""
        session = self._session(call, number)
        data = call.instance.read(pointer, length)
        try:
            session.write(data, call.check)
        except OSError as error:
            raise Refused(memory.FAILED, str(error)) from None
        return memory.OK

    def resize(self, call: CellCall, number: int, columns: int, rows: int) -> int:
        """Change the size, in characters."""
        session = self._session(call, number)
        try:
            session.resize(columns, rows)
        except (OSError, struct.error) as error:
            raise Refused(memory.FAILED, str(error)) from None
        return memory.OK

    def close(self, call: CellCall, number: int) -> int:
        """End a terminal."""
        self._drop(self._session(call, number))
        return memory.OK

    def alive(self, call: CellCall, number: int) -> int:
        """Answer 1 while the program runs, 0 when it has ended or is not the cell's."""
        session = self._sessions.get(number)
        return int(session is not None and session.cell == call.cell.id and session.alive)

    def _drop(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.number, None)
        session.close()

    def release(self, cell: Cell) -> None:
        """End the cell's terminals, but for those that are to outlive a reload."""
        for session in [s for s in self._sessions.values() if s.cell == cell.id and not s.persist]:
            self._drop(session)

    def teardown(self) -> None:
        """End all terminals."""
        for session in list(self._sessions.values()):
            self._drop(session)
