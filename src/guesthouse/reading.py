"""Reading files that somebody names: whole, but bounded, whatever they turn out to be."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

#: Most bytes of a module or an input.
MOST = 1 << 30
#: Most bytes of a manifest.
MOST_TEXT = 16 << 20

_PIECE = 1 << 20


def read_whole(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Return all bytes of a file.

    Args:
        path: the file; a pipe will do.
        most: how many bytes it may have.

    Raises:
        OSError: it cannot be read, or is larger; ``strerror`` says so.
    """
    with Path(path).open("rb") as file:
        return drain(file, str(path), most)


def drain(file: BinaryIO, name: str, most: int = MOST) -> bytes:
    """Return all that can be read from an open file.

    Args:
        file: the file.
        name: what it is called in the error.
        most: how many bytes it may give.

    Raises:
        OSError: as :func:`read_whole`.
    """
    pieces, size = [], 0
    while piece := file.read(_PIECE):
        size += len(piece)
        if size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", name)
        pieces.append(piece)
    return b"".join(pieces)
