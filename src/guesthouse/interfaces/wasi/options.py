"""What a program gets to see of the host: arguments, environment, directories, standard streams."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.errors import LoadError
from guesthouse.interfaces.wasi.state import Process, Root, Strings

#: A standard output: captured (``"capture"``), the host's own (``"inherit"``), nothing, a descriptor or
#: a callable that takes bytes.
Output = str | int | None | Callable[[bytes], object]

#: A directory of the host (``:ro`` behind it for read-only), or files that exist in memory only.
Directory = str | os.PathLike[str] | Mapping[str, bytes] | Root


@dataclass(frozen=True, slots=True, kw_only=True)
class WasiOptions:
    """What one program is given; nothing of the host's own gets in unless it is said here.

    Attributes:
        args: argv, the program's name first.
        env: its environment.
        dirs: guest path to directory; a mapping of names to bytes becomes a directory in memory.
        stdin: bytes, a host descriptor, an object with ``fileno``, ``"inherit"``, or ``None`` for nothing.
        stdout, stderr: see :data:`Output`.
        terminal: the standard streams are character devices to the program, whatever they are.
        sockets: host descriptors of listening sockets, given after the directories.
        output_limit: most bytes that each captured stream may hold.
        descriptors: most descriptors the program may have open.
        disk: most bytes by which its files may grow; ``None`` for no bound.
    """

    args: Sequence[str | bytes] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    dirs: Mapping[str, Directory] = field(default_factory=dict)
    stdin: Any = b""
    stdout: Output = "capture"
    stderr: Output = "capture"
    terminal: bool = False
    sockets: Sequence[int] = ()
    output_limit: int = 1 << 26
    descriptors: int = 1024
    disk: int | None = None

    def process(self) -> Process:
        """Return a new process with all of this, not running yet.

        Raises:
            LoadError: a directory cannot be opened, an argument holds a NUL byte, or a stream is nothing of
                the kinds above.
        """
        process = Process(output_limit=self.output_limit, descriptors=self.descriptors, disk=self.disk)
        if self.args or self.env:
            process.set_strings(_strings(tuple(self.args)), environment(self.env))
        self._connect(process)
        for name, where in self.dirs.items():
            process.preopen(open_directory(where, name))
        for host in self.sockets:
            process.add_descriptor(host, socket=True, borrowed=True)
        return process

    def maker(self) -> Callable[[], Process]:
        """Return what makes any number of such processes, faster than :meth:`process` where it can.

        That is where they share all they are given: nothing has to be opened for each, or is its own.

        Raises:
            LoadError: as :meth:`process`.
        """
        if self.sockets or not all(isinstance(where, Root) for where in self.dirs.values()):
            return self.process
        return self.process().another

    def _connect(self, process: Process) -> None:
        stdin = 0 if self.stdin == "inherit" else self.stdin
        if hasattr(stdin, "fileno"):
            stdin = stdin.fileno()
        if stdin != b"":
            process.set_stream(0, stdin)
        for number, output in ((1, self.stdout), (2, self.stderr)):
            if output == "capture":
                continue
            if isinstance(output, str) and output != "inherit":
                raise LoadError(f"an output can be 'capture' or 'inherit', not {output!r}")
            process.set_stream(number, number if output == "inherit" else output)
        if self.terminal:
            process.make_terminal()


def environment(env: Mapping[str, str]) -> Strings:
    """Return an environment as the guest gets it.

    Raises:
        LoadError: a name is empty or holds ``=``, or something holds a NUL byte.
    """
    return _environment(tuple(env.items()))


# Most calls of a guest get the same strings, and laid out they are never changed.


@functools.lru_cache(maxsize=64)
def _strings(items: tuple[str | bytes, ...]) -> Strings:
    try:
        return Strings(items)
    except ValueError as error:
        raise LoadError(str(error)) from None


@functools.lru_cache(maxsize=64)
def _environment(items: tuple[tuple[str, str], ...]) -> Strings:
    for name, _ in items:
        if not name or "=" in name:
            raise LoadError(f"environment variable {name!r}: a name is not empty and holds no '='")
    try:
        return Strings([f"{name}={value}" for name, value in items])
    except ValueError as error:
        raise LoadError(str(error)) from None


def open_directory(where: Directory, name: str) -> Root:
    """Open a directory for guests.

    Args:
        where: see :data:`Directory`; one that is opened already is taken as it is.
        name: the name that guests see.

    Raises:
        LoadError: it cannot be opened, or is no directory.
    """
    if isinstance(where, Root):
        return where
    if isinstance(where, Mapping):
        return _in_memory(where, name)
    path, writable = os.fspath(where), True
    if path.endswith((":ro", ":rw")):
        path, writable = path[:-3], not path.endswith(":ro")
    try:
        return Root(path, name, writable=writable)
    except OSError as error:
        raise LoadError(f"directory {path!r} (guest path {name!r}): {error.strerror}") from error


#: Where files in memory live, as long as a program uses them.
_MEMORY = Path("/dev/shm")  # noqa: S108 - every directory made there is private to this user


def _in_memory(files: Mapping[str, bytes], name: str) -> Root:
    """Put files into a directory of the memory file system that goes when the last user does."""
    base = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="guesthouse-", dir=base))
    try:
        for relative, data in files.items():
            if relative.startswith("/") or ".." in relative.split("/"):
                raise LoadError(f"in-memory file {relative!r} lies outside of its directory {name!r}")
            target = path / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return Root(path, name, cleanup=lambda: shutil.rmtree(path, ignore_errors=True))
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
