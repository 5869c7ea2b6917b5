"""Large modules in files: what they declare is read without reading the code.

A module of 100 MB is nearly all code and data, which the compile cache makes unnecessary.  So the sections
that declare something are read into a sparse copy, bodies are left out, and the whole file is only read
where somebody really needs it (a first compilation, a snapshot).
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from guesthouse.errors import InvalidModule, LoadError

#: Smaller files are simply read.
LARGE = 1 << 20
#: Sections of which only the beginning is read: custom (0), element (9), code (10) and data (11).
BODIES = frozenset({0, 9, 10, 11})
#: Bytes of such a section that are read: enough for the number of items, and for a small custom section.
BEGINNING = 64 << 10


class ModuleFile:
    """A module in a file that is large.

    Args:
        path: the file.

    Attributes:
        identity: what changes whenever somebody writes to the file.

    Raises:
        OSError: it cannot be opened or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.identity = _identity(file.fileno())
            self.size = self.identity[2]
            self._outline = self._sparse(file.fileno())

    def outline(self) -> mmap.mmap:
        """Return the module with zeros in place of most bodies; good for declarations and nothing else."""
        return self._outline

    def read(self) -> bytes:
        """Return all bytes.

        Raises:
            LoadError: the file cannot be read, or is another one than the outline was taken from.
        """
        try:
            with self.path.open("rb") as file:
                if _identity(file.fileno()) == self.identity:
                    return file.read()
        except OSError as error:
            raise LoadError(f"cannot read {self.path}: {error.strerror}") from error
        raise LoadError(f"{self.path} was changed while it was being loaded; load it again")

    def _sparse(self, fd: int) -> mmap.mmap:
        copy = mmap.mmap(-1, self.size)
        _fill(copy, fd, 0, 8)
        position = 8
        while position < self.size:
            _fill(copy, fd, position, 6)  # id and length
            number = copy[position]
            start, length = _length(copy, position + 1)
            _fill(copy, fd, start, min(length, BEGINNING) if number in BODIES else length)
            position = start + length
        return copy


def _fill(copy: mmap.mmap, fd: int, offset: int, count: int) -> None:
    """Copy bytes of the file to the same place, as far as there are any."""
    end = min(offset + count, len(copy))
    while offset < end:
        data = os.pread(fd, min(end - offset, 1 << 20), offset)
        if not data:
            raise InvalidModule("the file became shorter while it was read", offset=offset)
        copy[offset : offset + len(data)] = data
        offset += len(data)


def _length(copy: mmap.mmap, position: int) -> tuple[int, int]:
    """Read an unsigned LEB128; the strict reader refuses what is wrong with it, afterwards."""
    value = shift = 0
    for _ in range(5):
        if position >= len(copy):
            break
        byte = copy[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return position, value


def _identity(fd: int) -> tuple[int, ...]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
