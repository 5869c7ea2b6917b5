"""An append-only file of records that survives crashes at any byte.

Each record is framed by its length and CRC.  A crash can only tear the end, so a bad frame at the end is
cut off; a bad frame with good ones behind it is damage that nobody may guess about, and is refused.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.errors import ResourceError
from guesthouse.resources.leases.log import Log

_FRAME = struct.Struct("<II")  # payload length, CRC-32 of the payload
_LONGEST = 1 << 16
_MAGIC = b"GHJ1"


class Journal(Log):
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
        super().__init__(_open(self.path), durable=durable)
        if self.size < len(_MAGIC):
            self.path.write_bytes(_MAGIC)
            self.cut(len(_MAGIC))
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
        self.cut(at)

    def append(self, record: tuple[Any, ...], *, flush: bool = True) -> None:
        """Add a record; with `flush` it outlives a crash once this returns.

        Raises:
            ResourceError: it could not be written; the journal is as before.
        """
        try:
            self.add(msgspec.msgpack.encode(record), flush)
        except OSError as error:
            raise ResourceError(f"cannot write {self.path}: {error.strerror}", resource="leases") from error

    @contextmanager
    def rewriting(self) -> Iterator[Journal]:
        """Yield an empty journal that takes the place of this one when the block ends without an error.

        A crash leaves either the old records or the new ones.
        """
        fresh = Journal.__new__(Journal)
        fresh.path = self.path.with_name(self.path.name + ".new")
        # Mapped: nothing has to last before all of it does.
        Log.__init__(fresh, _open(fresh.path, os.O_TRUNC), durable=False)
        fresh.path.write_bytes(_MAGIC)
        fresh.cut(len(_MAGIC))
        try:
            yield fresh
            if self.durable:
                fresh.cut(fresh.size)
                fresh.flush()
            fresh.path.replace(self.path)
        except BaseException:
            fresh.close()
            fresh.path.unlink(missing_ok=True)
            raise
        _flush_directory(self.path.parent)
        self.take_over(fresh)


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)


def _frame_at(data: bytes, at: int) -> bytes | None:
    """The payload of the frame that begins at an offset, or ``None`` when none does."""
    if at + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, at)
    payload = data[at + _FRAME.size : at + _FRAME.size + length]
    if not 0 < length <= _LONGEST or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return payload


def _flush_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
