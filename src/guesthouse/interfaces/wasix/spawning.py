"""Starts other guests of the host as processes of the bus."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from guesthouse.calls import Call, Terms
from guesthouse.calls.crossing import ANY_ENTRY, NotAllowed
from guesthouse.errors import CallError, Error, NotFound
from guesthouse.interfaces.contract import Command, LoadedGuest
from guesthouse.interfaces.wasix.bus import BusError, BusErrorCode, BusProcess, SpawnOptions, StdioMode
from guesthouse.interfaces.wasix.localbus import Launch, Launched, LocalBus
from guesthouse.interfaces.wasix.neighbours import Neighbour
from guesthouse.interfaces.wasix.program import Program
from guesthouse.observe import log


class GuestProcess:
    """A guest that runs as a process: a child call, and our ends of its pipes."""

    def __init__(self, call: Call, ends: Sequence[int | None], theirs: Sequence[int]) -> None:
        self._call = call
        self.stdin, self.stdout, self.stderr = ends
        self._theirs = theirs
        self._code: int | None = None
        self._ended = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        # A thread that waits for a call runs it itself, so that no worker of the scheduler is taken.
        threading.Thread(target=self._run, name="guest-process", daemon=True).start()

    def _run(self) -> None:
        code = 1
        try:
            result = self._call.scheduler.wait(self._call)
            code = result.code if result.error is None else 128 + 6
        except Error:
            code = 128 + 6
        finally:
            for end in self._theirs:
                with contextlib.suppress(OSError):
                    os.close(end)
            with self._lock:
                self._code = code
                callbacks, self._callbacks = self._callbacks, []
            self._ended.set()
            for callback in callbacks:
                callback()

    def exit_code(self) -> int | None:
        """Return how it ended, or ``None``."""
        return self._code

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have a callable called when it has ended, at once if it has."""
        with self._lock:
            if self._code is None:
                self._callbacks.append(callback)
                return
        callback()

    def signal(self, number: int) -> None:
        """Send a signal: what ends a program ends this one, the others do nothing."""
        if number in (1, 2, 3, 6, 9, 15):
            self._call.scheduler.cancel(self._call, f"signal {number}")


def launcher(guest: LoadedGuest, call: Call, program: Sequence[Program]) -> Launch:
    """Return what starts guests on behalf of a running program.

    Args:
        guest: the guest that starts them, whose tenant they belong to.
        call: its call, which becomes their parent.
        program: holds the running program once it exists; its streams are what children inherit.
    """

    def launch(name: str, options: SpawnOptions, bus: LocalBus) -> Launched | BusProcess:
        silent = options.stdin_mode == options.stdout_mode == StdioMode.NULL
        try:
            found = guest.callee(name, ANY_ENTRY if silent else None)
            if not silent and not found.guest.owner.accepts(found.entry):
                raise NotFound("entry that can be called", found.entry or "", guest=found.guest.name)
        except NotAllowed as error:
            raise BusError(BusErrorCode.ACCESS_DENIED, str(error)) from None
        except CallError as error:
            raise BusError(BusErrorCode.FETCH_FAILED, str(error)) from None
        program_of_ours = found.guest.interface in {"wasi", "wasix"}
        if silent and found.guest.interface != "wasix":
            return Neighbour(guest, call, name, found)
        ours: list[int | None] = []
        theirs: list[int] = []
        streams = [
            _stream(mode, number, name, program[0], ours, theirs)
            for number, mode in enumerate((options.stdin_mode, options.stdout_mode, options.stderr_mode))
        ]
        if not program_of_ours:
            neighbour = Neighbour(guest, call, name, found)
            neighbour.run(ours, streams[0], streams[1], theirs)
            return neighbour
        command = Command(
            args=options.args,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            options={"bus": bus},
        )
        try:
            child = call.scheduler.submit(
                found.guest.name, parent=call, tenant=found.guest.tenant, payload=command,
                entry=None if silent else found.entry,
                capabilities=guest.granted, linked=True, terms=Terms(found.guest),
            )  # fmt: skip
        except Error as error:
            for end in (*theirs, *(end for end in ours if end is not None)):
                os.close(end)
            raise BusError(BusErrorCode.INTERNAL_ERROR, str(error)) from None
        return GuestProcess(child, ours, theirs)

    return launch


def _stream(
    mode: StdioMode, number: int, name: str, program: Program, ours: list[int | None], theirs: list[int]
) -> Any:
    """Return what a child's standard stream is; pipes leave one end with us."""
    if mode is StdioMode.PIPED:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        mine, other = (writer, reader) if number == 0 else (reader, writer)
        ours.append(mine)
        theirs.append(other)
        return other
    ours.append(None)
    if number == 0:
        return b""
    if mode is StdioMode.INHERIT:
        return lambda data: program.process.emit(number, data)
    if mode is StdioMode.LOG:
        return lambda data: log.info("guest_output", guest=name, stream=number, data=data)
    return _swallow


def _swallow(_data: bytes) -> None:
    """Take what is written to nowhere."""
