"""How the host and a session's process talk: small messages on a socket, bulk data in shared memory."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

#: Bytes that one copy moves at a time.
STAGING: Final = 8 << 20
#: What staging is cleared with.
ZEROS: Final = memoryview(bytes(STAGING))
_LENGTH = struct.Struct("<I")
#: Seconds between two looks at whether the caller still wants the answer.
_SLICE: Final = 0.01


class Closed(Exception):
    """The other side is gone."""


class Late(Exception):
    """No answer came in time."""


def send(link: socket.socket, message: Any) -> None:
    """Send one message.

    Raises:
        Closed: nobody is there to take it.
    """
    data = msgspec.msgpack.encode(message)
    try:
        link.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        raise Closed from error


def receive(
    link: socket.socket, deadline: float | None = None, check: Callable[[], object] | None = None
) -> Any:
    """Wait for one message.

    Args:
        link: a blocking socket.
        deadline: monotonic seconds.
        check: called about every 10 ms; what it raises ends the wait.

    Raises:
        Closed: the other side is gone.
        Late: the deadline passed.
    """
    (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size, deadline, check))
    return msgspec.msgpack.decode(_exactly(link, length, deadline, check))


def ready(link: socket.socket) -> bool:
    """Whether a message, or the end, has come."""
    return bool(select.select([link], [], [], 0)[0])


def _exactly(
    link: socket.socket, length: int, deadline: float | None, check: Callable[[], object] | None
) -> bytes:
    data = bytearray()
    while len(data) < length:
        while deadline is not None and not select.select([link], [], [], _SLICE)[0]:
            if check is not None:
                check()
            if time.monotonic() >= deadline:
                raise Late
        try:
            piece = link.recv(length - len(data))
        except OSError as error:
            raise Closed from error
        if not piece:
            raise Closed
        data += piece
    return bytes(data)
