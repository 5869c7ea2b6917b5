"""An append-only file of records that survives crashes at any byte.

Each record is framed by its length and CRC.  A crash can only tear the end, so a bad frame at the end is
cut off; a bad frame with good ones behind it is damage that nobody may guess about, and is refused.
"""

from __future__ import annotations

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


class Journal:
    """Records, as tuples of plain values, in one file.

    Args:
        path: the file; its directory must exist.
        durable: flush to the device before `append` returns, so records outlive the machine, not only
            the process.

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
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < len(_MAGIC):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, _MAGIC)
            _flush_directory(self.path.parent)
        self._size = os.lseek(self._fd, 0, os.SEEK_END)

    def replay(self) -> Iterator[tuple[Any, ...]]:
        """Yield every record in order, and cut a torn one off the end."""
        data = self.path.read_bytes()
        if data[: len(_MAGIC)] != _MAGIC:
            raise ResourceError(f"{self.path} is no lease journal; move it away", resource="leases")
        decode = msgspec.msgpack.Decoder().decode
        at = len(_MAGIC)
        while (payload := _frame_at(data, at)) is not None:
            yield tuple(decode(payload))
            self.records += 1
            at += _FRAME.size + len(payload)
        if at < len(data):
            if any(_frame_at(data, later) is not None for later in range(at + 1, len(data) - _FRAME.size)):
                raise ResourceError(
                    f"{self.path} is damaged at byte {at}: restore it from a copy, or move it away "
                    "to start empty (all leases are then unknown)",
                    resource="leases",
                )
            os.ftruncate(self._fd, at)
        self._size = os.lseek(self._fd, 0, os.SEEK_END)

    def append(self, record: tuple[Any, ...], *, flush: bool = True) -> None:
        """Add a record; with `flush` it outlives a crash once this returns.

        Raises:
            ResourceError: it could not be written; the journal is as before.
        """
        try:
            _write(self._fd, self._frame(record))
            if flush and self.durable:
                os.fdatasync(self._fd)
        except OSError as error:  # leave no half frame for later ones to stand behind
            os.ftruncate(self._fd, self._size)
            raise ResourceError(f"cannot write {self.path}: {error}", resource="leases") from error
        self._size = os.lseek(self._fd, 0, os.SEEK_CUR)
        self.records += 1

    def rewrite(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Replace all records at once: a crash leaves either the old ones or the new ones."""
        frames = [self._frame(record) for record in records]
        fresh = self.path.with_name(self.path.name + ".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, _MAGIC + b"".join(frames))
            if self.durable:
                os.fdatasync(fd)
            fresh.replace(self.path)
        except BaseException:
            os.close(fd)
            raise
        _flush_directory(self.path.parent)
        os.close(self._fd)
        self._fd, self.records = fd, len(frames)
        self._size = os.lseek(fd, 0, os.SEEK_END)

    def close(self) -> None:
        """Flush and close the file."""
        if self._fd >= 0:
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _frame(self, record: tuple[Any, ...]) -> bytes:
        payload = self._encode(record)
        return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frame_at(data: bytes, at: int) -> bytes | None:
    """The payload of the frame that begins at an offset, or ``None`` when none does."""
    if at + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, at)
    payload = data[at + _FRAME.size : at + _FRAME.size + length]
    if not 0 < length <= _LONGEST or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return payload


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _flush_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
