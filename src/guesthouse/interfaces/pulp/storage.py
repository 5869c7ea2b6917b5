"""Where a cell's files lie, and opening paths that cannot leave it (spec/pulp.md 3.7, 5.8; DESIGN 8.3).

Paths are resolved by the kernel (``openat2`` with ``RESOLVE_BENEATH``): a symbolic link or ``..`` that
leaves the root fails there, whatever happens to the tree in the meantime.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_NAME = re.compile(r"[^/\0]+")
#: Where the cells of tenants other than the default one have their directories.
_TENANTS = ".tenants"
#: Directories that a cell's path may lead through: trees are walked and removed one level per descriptor.
DEEPEST = 128

_libc = ctypes.CDLL(None, use_errno=True)


Held = TypeVar("Held")


class PathRejected(Exception):
    """A path is empty, absolute, holds a NUL, or leaves its root."""


def cell_directory(root: Path, name: str) -> Path:
    """Return the directory of a cell below the storage root, made if it is not there.

    Raises:
        ValueError: the cell's name cannot name a directory.
        OSError: it cannot be made.
    """
    if not _NAME.fullmatch(name) or name in (".", "..", _TENANTS):
        raise ValueError(f"the cell name {name!r} cannot name a directory")
    path = root / name
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def of_tenant(tenant: str, name: str) -> Path:
    """Return the directory of a tenant's cell, relative to the storage root: two tenants never share one."""
    return Path(_TENANTS, *(quote(part, safe=" ").replace(".", "%2E") for part in (tenant, name)))


class PerCell(Generic[Held]):
    """What a capability keeps for each cell, shared by the cell's instances and closed with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Held, int]] = {}

    def acquire(self, cell_id: str, make: Callable[[], Held]) -> None:
        """Count one more instance of a cell; the first one makes the thing."""
        with self._lock:
            held = self._held.get(cell_id)
            self._held[cell_id] = (make(), 1) if held is None else (held[0], held[1] + 1)

    def release(self, cell_id: str) -> Held | None:
        """Count one instance less; returns the thing when that was the last one."""
        with self._lock:
            held = self._held.pop(cell_id, None)
            if held is None or held[1] == 1:
                return held[0] if held is not None else None
            self._held[cell_id] = held[0], held[1] - 1
            return None

    def get(self, cell_id: str) -> Held | None:
        """Return the thing, if the cell has it."""
        held = self._held.get(cell_id)
        return held[0] if held is not None else None

    def clear(self) -> list[Held]:
        """Forget and return everything."""
        with self._lock:
            things = [thing for thing, _ in self._held.values()]
            self._held.clear()
            return things


class Root:
    """A directory that paths are opened beneath.

    Args:
        path: the directory.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open a path and return a descriptor.

        Raises:
            PathRejected: the path is malformed or leaves the root.
            OSError: as ``open``.
        """
        return _open_beneath(self._fd, checked(path), flags | os.O_CLOEXEC, mode)

    @contextmanager
    def opened(self, path: bytes, flags: int, mode: int = 0) -> Iterator[int]:
        """Hold a descriptor of a path while entered; raises as `open`."""
        fd = self.open(path, flags, mode)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Hold the directory that a path names an entry of; yields it and the entry's name.

        Raises:
            PathRejected: the path is malformed, leaves the root, or names the root itself.
            OSError: the directory cannot be opened.
        """
        clean = checked(path)
        directory, _, name = clean.rpartition(b"/")
        if name in (b".", b".."):
            raise PathRejected("the root itself, or a directory named by dots")
        with self.opened(directory or b".", os.O_DIRECTORY | os.O_RDONLY) as fd:
            yield fd, name

    def real(self, path: bytes) -> bytes:
        """Return the path, beneath the root, of what a path leads to; raises as `open`."""
        with self.opened(path, os.O_PATH) as fd:
            target, own = (Path(f"/proc/self/fd/{number}").readlink() for number in (fd, self._fd))
        if not target.is_relative_to(own):
            raise PathRejected("it was moved out of the root meanwhile")
        return os.fsencode(target.relative_to(own))

    def make_directories(
        self,
        path: bytes,
        mode: int = 0o755,
        counted: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Make a directory and those above it.

        Args:
            path: the directory.
            mode: permissions of those that are made.
            counted: held while one is made.

        Raises:
            PathRejected, OSError: as `open`.
        """
        clean = checked(path)
        done = b""
        for part in clean.split(b"/"):
            done = done + b"/" + part if done else part
            if part in (b".", b".."):
                continue
            try:
                with self.parent(done) as (fd, name), counted():
                    os.mkdir(name, mode, dir_fd=fd)
            except FileExistsError:
                continue
        with self.opened(clean, os.O_DIRECTORY | os.O_RDONLY):
            pass


def checked(path: bytes) -> bytes:
    """Return a path without repeated and trailing slashes; raises `PathRejected` for a malformed one."""
    if not path or b"\0" in path or path.startswith(b"/"):
        raise PathRejected("empty, absolute, or with a NUL")
    depth = 0
    parts = [part for part in path.split(b"/") if part]
    for part in parts:
        depth += -1 if part == b".." else 0 if part == b"." else 1
        if depth < 0:
            raise PathRejected("leaves the root")
    if len(parts) > DEEPEST:
        raise PathRejected(f"more than {DEEPEST} directories deep")
    return b"/".join(parts)


def _open_beneath(root: int, path: bytes, flags: int, mode: int) -> int:
    how = struct.pack(
        "=QQQ", flags, mode if flags & os.O_CREAT else 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
    )
    while True:
        fd: int = _libc.syscall(_SYS_OPENAT2, root, path, how, len(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            continue
        if code in (errno.EXDEV, errno.ELOOP):
            raise PathRejected("a symbolic link leaves the root, or there are too many")
        raise OSError(code, os.strerror(code), os.fsdecode(path))
