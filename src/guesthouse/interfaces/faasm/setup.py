"""How a function finds its WASI part: arguments, environment, directories, streams (spec 2.7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.interfaces.contract import Command
from guesthouse.interfaces.faasm.message import Message
from guesthouse.interfaces.faasm.session import Session

#: What every guest finds in its environment; nothing of the host's leaks in.
ENVIRONMENT = {
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHON_PATH": "/",
    "PYTHONHOME": "/",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "on",
    "PYTHONWASM": "1",
}

#: ``argv[0]`` of every function.
PROGRAM = "function.wasm"

Sink = int | Callable[[bytes], object] | None


class Setup:
    """Makes the commands of one guest.

    Args:
        directories: what it is given of the file system.
        prints: whether what it prints is captured for its output.

    Attributes:
        plain: the command of a call without arguments, where nobody wants what it prints.
    """

    def __init__(self, directories: Mapping[str, Any], prints: bool) -> None:
        self._directories = directories
        self._prints = prints
        self.plain = self._make((), {}, {}, None, None)

    def command(self, payload: object, message: Message, session: Session) -> Command:
        """Return how the WASI part of one call is set up, and tell the session its arguments and sinks.

        Args:
            payload: the call's; a `Command` when the guest is run as one.
            message: the fields of the call.
            session: the call's session.
        """
        if isinstance(payload, Command):
            session.args = tuple(payload.args)
            session.stdout = session.printed.append if payload.stdout is None else as_sink(payload.stdout)
            session.stderr = session.errors.append if payload.stderr is None else as_sink(payload.stderr)
            return self._make(
                session.args, payload.env, payload.dirs,
                session.stdout if payload.stdout is None else payload.stdout,
                session.stderr if payload.stderr is None else payload.stderr,
            )  # fmt: skip
        session.args = tuple(message.cmdline.split(" ")) if message.cmdline else ()
        if self._prints:
            session.stdout = session.stderr = session.printed.append
        return self._make(session.args, {}, {}, session.stdout, session.stderr)

    def _make(
        self,
        args: tuple[str, ...],
        env: Mapping[str, str],
        dirs: Mapping[str, Any],
        stdout: Sink,
        stderr: Sink,
    ) -> Command:
        return Command(
            args=args,
            env={**ENVIRONMENT, **env},
            dirs={**self._directories, **dirs},
            stdout=stdout,
            stderr=stderr,
            options={"program": PROGRAM, "terminal": True},
        )


def as_sink(where: Sink) -> Callable[[bytes], object] | None:
    """Return what takes printed bytes for a descriptor or a callable."""
    if not isinstance(where, int):
        return where
    descriptor = where

    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write


class Printed(bytes):
    """What a function that was run as a command printed and put out, with its standard error beside it."""

    stderr: bytes = b""

    @classmethod
    def of(cls, session: Session, output: bytes) -> Printed:
        """Return what went to stdout, the output behind it."""
        made = cls(b"".join(session.printed) + output)
        made.stderr = b"".join(session.errors)
        return made
