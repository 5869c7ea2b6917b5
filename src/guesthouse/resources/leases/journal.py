"""An append-only file of records that survives crashes at any byte.

Each record is framed by its length and CRC.  A crash can only tear the end, so a bad frame at the end is
cut off; a bad frame with good ones behind it is damage that nobody may guess about, and is refused.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.errors import ResourceError

_FRAME = struct.Struct("<II")  # payload length, CRC-32 of the payload
_LONGEST = 1 << 16
_MAGIC = b"GHJ1"
#: What a mapped file grows by.
_ROOM = 1 << 20


class Journal:
    """Records, as tuples of plain values, in one file.

    Args:
        path: the file; its directory must exist.
        durable: flush to the device before `append` returns, so that records outlive the machine. Otherwise
            the file is mapped and they outlive the process, at a tenth of a system call's price.

    Attributes:
        records: how many the file holds.

    Raises:
        ResourceError: the file is damaged, or no journal.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = True) -> None:
        self.path = Path(path)
        self.durable = durable
        self.records = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._map: mmap.mmap | None = None
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size < len(_MAGIC):
            os.pwrite(self._fd, _MAGIC, 0)
            self._size = len(_MAGIC)
            _flush_directory(self.path.parent)

    def replay(self) -> Iterator[tuple[Any, ...]]:
        """Yield every record in order, and cut a torn one off the end; comes before any `append`."""
        data = self.path.read_bytes()
        if data[: len(_MAGIC)] != _MAGIC:
            raise ResourceError(f"{self.path} is no lease journal; move it away", resource="leases")
        data = data.rstrip(b"\0") + bytes(_FRAME.size + 4)  # room behind the end of a mapped file
        decode = msgspec.msgpack.Decoder().decode
        at = len(_MAGIC)
        while (payload := _frame_at(data, at)) is not None:
            yield tuple(decode(payload))
            self.records += 1
            at += _FRAME.size + len(payload)
        if any(_frame_at(data, later) is not None for later in range(at + 1, len(data) - _FRAME.size)):
            raise ResourceError(
                f"{self.path} is damaged at byte {at}: restore it from a copy, or move it away "
                "to start empty (all leases are then unknown)",
                resource="leases",
            )
        self._cut(at)

    def append(self, record: tuple[Any, ...], *, flush: bool = True) -> None:
        """Add a record; with `flush` it outlives a crash once this returns.

        Raises:
            ResourceError: it could not be written; the journal is as before.
        """
        frame = self._frame(record)
        try:
            if self.durable:
                _write(self._fd, frame, self._size)
                if flush:
                    os.fdatasync(self._fd)
            else:
                self._store(frame)
        except OSError as error:  # leave no half frame for later ones to stand behind
            self._cut(self._size)
            raise ResourceError(f"cannot write {self.path}: {error}", resource="leases") from error
        self._size += len(frame)
        self.records += 1

    def rewrite(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Replace all records at once: a crash leaves either the old ones or the new ones."""
        frames = [self._frame(record) for record in records]
        data = _MAGIC + b"".join(frames)
        fresh = self.path.with_name(self.path.name + ".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, data, 0)
            if self.durable:
                os.fdatasync(fd)
            fresh.replace(self.path)
        except BaseException:
            os.close(fd)
            raise
        _flush_directory(self.path.parent)
        self._unmap()
        os.close(self._fd)
        self._fd, self._size, self.records = fd, len(data), len(frames)

    def close(self) -> None:
        """Flush and close the file."""
        if self._fd >= 0:
            self._cut(self._size)
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _frame(self, record: tuple[Any, ...]) -> bytes:
        payload = self._encode(record)
        return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload

    def _store(self, frame: bytes) -> None:
        """Put a frame into the mapped file; what is in there outlives this process, however it ends."""
        end = self._size + len(frame)
        if self._map is None or end > len(self._map):
            self._unmap()
            length = -(-end // _ROOM) * _ROOM
            # Space is taken now: a full disk must not show as a fault when the page is written back.
            os.posix_fallocate(self._fd, 0, length)
            self._map = mmap.mmap(self._fd, length)
        self._map[self._size : end] = frame

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _cut(self, size: int) -> None:
        self._unmap()
        os.ftruncate(self._fd, size)
        self._size = size


def _frame_at(data: bytes, at: int) -> bytes | None:
    """The payload of the frame that begins at an offset, or ``None`` when none does."""
    if at + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, at)
    payload = data[at + _FRAME.size : at + _FRAME.size + length]
    if not 0 < length <= _LONGEST or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return payload


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _flush_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
