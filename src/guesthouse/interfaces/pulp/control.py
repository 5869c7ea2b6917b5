"""The control socket: status, reload, shutdown of a running set of cells (spec/pulp.md 5.10).

A Unix socket of mode 0600. One request per connection; frames are a u32 length (little-endian) and as
many bytes of MessagePack, 1 byte to 1 MiB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.errors import Error, NotFound, ResourceError
from guesthouse.interfaces.pulp import codec
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.runtime import Runtime

DEFAULT_CONTROL_SOCKET = "./pulp.ctl"
LARGEST_FRAME = 1 << 20
SECONDS = 5.0
RELOAD_SECONDS = 120.0

_LENGTH = struct.Struct("<I")


def terminate() -> None:
    """Ask this process to end, as SIGTERM does."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def control_socket(
    runtime: Runtime, where: str, shut_down_all: Callable[[], object] = terminate
) -> Iterator[None]:
    """Serve the control socket of a runtime while entered.

    Args:
        runtime: what is controlled.
        where: path of the socket; an empty one serves none. A path that cannot be bound is only a warning.
        shut_down_all: what the request of that name does.
    """
    if not where:
        yield
        return
    try:
        listening = _bound(Path(where))
    except OSError as error:
        log.warning("control socket not available", path=where, error=str(error))
        yield
        return
    server = _Server(runtime, listening, shut_down_all)
    thread = threading.Thread(target=server.run, name="pulp-control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(SECONDS)
        with contextlib.suppress(OSError):
            Path(where).unlink()


def ask(where: str | Path, operation: str, cell: str = "") -> dict[str, Any]:
    """Send one request to a control socket and return the reply.

    Args:
        where: path of the socket.
        operation: ``status``, ``reload``, ``shutdown`` or ``shutdown_all``.
        cell: the cell, where the operation needs one.

    Raises:
        ResourceError: nobody answers there, or the answer is none.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(RELOAD_SECONDS)
            connection.connect(str(where))
            send_frame(connection, {"op": operation, **({"cell": cell} if cell else {})})
            reply = receive_frame(connection)
    except (OSError, codec.DecodeError) as error:
        raise ResourceError(
            f"no answer at {where}: {error}; is `guesthouse up` running here, or PULP_CTL_SOCK set?",
            resource="control socket",
        ) from None
    if not isinstance(reply, dict):
        raise ResourceError(f"the answer of {where} is no map", resource="control socket")
    return reply


def send_frame(connection: socket.socket, value: Any) -> None:
    """Send one frame."""
    data = codec.encode(value)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_frame(connection: socket.socket) -> Any:
    """Receive one frame.

    Raises:
        DecodeError: its length is beyond the limits, it is cut short, or it is no MessagePack.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, 4))
    if not 1 <= length <= LARGEST_FRAME:
        raise codec.DecodeError(f"a frame has 1 to {LARGEST_FRAME} bytes, not {length}")
    return codec.decode(_exactly(connection, length))


class _Server:
    def __init__(
        self, runtime: Runtime, listening: socket.socket, shut_down_all: Callable[[], object]
    ) -> None:
        self._runtime = runtime
        self._listening = listening
        self._shut_down_all = shut_down_all
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve one connection after the other until stopped."""
        self._listening.settimeout(0.2)
        while not self._stopping.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:
                break
            with connection:
                connection.settimeout(SECONDS)
                with contextlib.suppress(OSError):
                    self._serve(connection)
        self._listening.close()

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()

    def _serve(self, connection: socket.socket) -> None:
        try:
            request = receive_frame(connection)
        except codec.DecodeError as error:
            send_frame(connection, {"error": str(error)})
            return
        if not isinstance(request, dict):
            send_frame(connection, {"error": "a request is a map"})
            return
        try:
            reply = self._answer(request)
        except NotFound as error:
            reply = {"error": str(error)}
        except Error as error:
            log.error("control request failed", op=str(request.get("op")), error=str(error))
            reply = {"error": str(error)}
        send_frame(connection, reply)
        if request.get("op") == "shutdown_all" and reply.get("ok"):
            self._shut_down_all()

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        cell = str(request.get("cell") or "")
        match request.get("op"):
            case "status":
                return {"ok": True, "cells": self._runtime.status()}
            case "reload" | "shutdown" if not cell:
                return {"error": f"{request['op']} needs a cell"}
            case "reload":
                self._runtime.reload(cell)
            case "shutdown":
                self._runtime.shut_down(cell)
            case "shutdown_all":
                pass
            case other:
                return {"error": f"unknown op {other!r}; there are: status, reload, shutdown, shutdown_all"}
        return {"ok": True}


def _bound(path: Path) -> socket.socket:
    """Bind the socket with its mode; one that nobody listens at any more is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _alive(path):
            path.unlink()
        listening.bind(str(path))
        path.chmod(0o600)  # before anybody can connect
        listening.listen(8)
    except OSError:
        listening.close()
        raise
    return listening


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise codec.DecodeError("the frame is cut short")
        data += piece
    return data
