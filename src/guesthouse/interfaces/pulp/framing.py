"""Frames of the control socket, and how to ask through it (spec/pulp.md 5.10).

A frame is a length (u32, little-endian) and so many bytes of MessagePack; one request per connection.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp import codec

FRAME_LIMIT = 1 << 20
_LENGTH = struct.Struct("<I")


class BadFrame(ValueError):
    """What came is no frame: too long, empty, cut off, or not a map."""


def send_frame(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one frame.

    Raises:
        BadFrame: the message is larger than a frame may be.
        OSError: the connection failed.
    """
    data = codec.encode(message)
    if len(data) > FRAME_LIMIT:
        raise BadFrame(f"a frame holds at most {FRAME_LIMIT} bytes, this one would have {len(data)}")
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_frame(connection: socket.socket) -> dict[str, Any]:
    """Receive one frame.

    Raises:
        BadFrame: what came is none.
        OSError: the connection failed, or nothing came in time.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if not 1 <= length <= FRAME_LIMIT:
        raise BadFrame(f"a frame holds 1 to {FRAME_LIMIT} bytes, not {length}")
    try:
        message = codec.decode(_exactly(connection, length))
    except codec.DecodeError as error:
        raise BadFrame(f"the frame is no MessagePack: {error}") from None
    if not isinstance(message, dict):
        raise BadFrame("the frame holds no map")
    return message


def ask(path: Path, message: Mapping[str, Any], *, timeout: float = 60.0) -> dict[str, Any]:
    """Send a request to a host's control socket and return the reply.

    Args:
        path: the socket.
        message: ``op`` and, where it needs one, ``cell``.
        timeout: seconds to wait for the reply.

    Raises:
        BadFrame: the reply is malformed.
        OSError: nobody listens there, or no reply came.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        send_frame(connection, message)
        return receive_frame(connection)


def _exactly(connection: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = connection.recv(size - len(pieces))
        if not piece:
            raise BadFrame("the connection ended within a frame")
        pieces += piece
    return bytes(pieces)
