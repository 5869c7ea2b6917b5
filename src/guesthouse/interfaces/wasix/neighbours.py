"""Guests of other interfaces as processes of the bus (docs/calls.md).

They know nothing of buses.  A call to one runs it in an instance of its own: the topic is the entry, the
payload the input, the output the response.  Spawned with streams, it runs once: standard input is its input,
read to the end, standard output its output.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from guesthouse.calls import Call, Result, Terms
from guesthouse.calls.crossing import Callee, Failure, NotAllowed, failure_of
from guesthouse.errors import CallError, CallRefused, NotFound
from guesthouse.interfaces.contract import LoadedGuest
from guesthouse.interfaces.wasix.bus import BusError, BusErrorCode, BusInvocation, hash_of
from guesthouse.interfaces.wasix.localbus import LocalCall

#: Topics that mean the guest's own entry.
OWN_ENTRY = frozenset({"", "_start", "run"})
#: Exit code of a process that ended without one of its own, as a shell reports an abort.
ABORTED = 128 + 6

#: Signals that end a program that does not catch them.
ENDING_SIGNALS = frozenset({1, 2, 3, 6, 9, 15})

#: What a caller is told of an invocation that failed.
FAULTS = {
    Failure.NOT_FOUND: BusErrorCode.INVALID_TOPIC,
    Failure.NOT_ALLOWED: BusErrorCode.ACCESS_DENIED,
    Failure.LOAD: BusErrorCode.ACCESS_DENIED,
    Failure.CODE: BusErrorCode.INVOKE_FAILED,
    Failure.LIMIT: BusErrorCode.INVOKE_FAILED,
    Failure.TRAP: BusErrorCode.ABORTED,
    Failure.DEADLINE: BusErrorCode.ABORTED,
    Failure.CANCELLED: BusErrorCode.ABORTED,
    Failure.REFUSED: BusErrorCode.INTERNAL_ERROR,
    Failure.INTERNAL: BusErrorCode.INTERNAL_ERROR,
}


class Neighbour:
    """A guest of another interface as a process.

    Args:
        caller: the guest whose program opened it.
        call: that program's call, which becomes the parent.
        name: the name by which it was opened.
        callee: what that means.
    """

    def __init__(self, caller: LoadedGuest, call: Call, name: str, callee: Callee) -> None:
        self._caller, self._call, self._name, self._callee = caller, call, name, callee
        self._ends: Sequence[int | None] = (None, None, None)
        self._code: int | None = None
        self._ended = threading.Event()
        self._running: Call | None = None

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Call the guest; how it ends is the answer.

        Raises:
            BusError: it has no entry of that name, or cannot be called now.
        """
        made = LocalCall(topic, format, data)

        def answer(result: Result) -> None:
            failure = failure_of(result)
            with contextlib.suppress(BusError):  # the caller has closed it
                if failure is None:
                    made.reply(format, bytes(result.output))
                else:
                    made.fault(FAULTS[failure])

        try:
            found = self._caller.callee(self._name, self._entry(topic))
            self._submit(found, data, Terms(found.guest, None, True, answer))
        except NotAllowed as error:
            raise BusError(BusErrorCode.ACCESS_DENIED, str(error)) from None
        except NotFound as error:
            raise BusError(BusErrorCode.INVALID_TOPIC, str(error)) from None
        except CallRefused as error:
            raise BusError(BusErrorCode.INTERNAL_ERROR, str(error)) from None
        return made

    def _submit(self, callee: Callee, data: bytes, terms: Terms) -> Call:
        guest = callee.guest
        return self._call.scheduler.submit(
            guest.name, data, parent=self._call, tenant=guest.tenant, entry=callee.entry,
            capabilities=self._caller.granted, linked=True, terms=terms,
        )  # fmt: skip

    def _entry(self, topic: str) -> str | None:
        """The entry that a topic means: its name, or the name whose hash it is.

        Raises:
            NotFound: there is none.
        """
        guest = self._callee.guest
        exports = guest.info.exports
        with contextlib.suppress(ValueError):
            names = {hash_of(name): name for name in (*OWN_ENTRY, *exports, *guest.provides)}
            topic = names.get(bytes.fromhex(topic), topic)
        if topic in OWN_ENTRY and topic not in exports:
            return None
        if not guest.owner.accepts(topic):
            raise NotFound("entry that can be called", topic, guest=guest.name)
        return topic

    # -- as a program

    def run(self, ends: Sequence[int | None], stdin: Any, stdout: Any, theirs: Sequence[int]) -> None:
        """Run the guest's own entry once, from one stream to the other.

        Args:
            ends: the program's ends of the pipes, to be handed out.
            stdin: bytes, or the descriptor that they are read from.
            stdout: a descriptor, or a callable that takes bytes.
            theirs: descriptors to close in the end.
        """
        self._ends = ends

        def work() -> None:
            try:
                data = stdin if isinstance(stdin, bytes) else _read(stdin)
                terms = Terms(self._callee.guest)
                self._running = self._submit(self._callee, data, terms)
                result = self._running.scheduler.wait(self._running)
                self._code = result.code if result.error is None else ABORTED
                if result.error is None:
                    _write(stdout, result.output)
            except (CallError, OSError):
                self._code = ABORTED
            finally:
                for end in theirs:
                    with contextlib.suppress(OSError):
                        os.close(end)
                self._ended.set()

        # A thread that waits for a call runs it itself, so that no worker of the scheduler is taken.
        threading.Thread(target=work, name="guest-process", daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal: what ends a program ends its run, the others do nothing."""
        if number in ENDING_SIGNALS and self._running is not None:
            self._running.scheduler.cancel(self._running, f"signal {number}")

    def exit_code(self) -> int | None:
        """Return how it ended, ``None`` while it can be called."""
        return self._code

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say whether it has ended."""
        return self._ended.wait(timeout)

    def stdin_fd(self) -> int | None:
        """Hand over what feeds its input."""
        return self._ends[0]

    def stdout_fd(self) -> int | None:
        """Hand over what its output comes from."""
        return self._ends[1]

    def stderr_fd(self) -> int | None:
        """Hand over what stays empty: a guest of another interface has no second output."""
        return self._ends[2]


def _read(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _write(stdout: int | Callable[[bytes], object], data: bytes) -> None:
    if callable(stdout):
        stdout(data)
        return
    view = memoryview(data)
    while view:
        view = view[os.write(stdout, view) :]
