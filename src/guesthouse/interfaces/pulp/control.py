"""The control socket: look at cells and direct them from outside (spec/pulp.md 5.10).

The socket belongs to the user who runs the host and nobody else may write to it, so it carries no token.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from guesthouse.errors import Error
from guesthouse.interfaces.pulp.framing import BadFrame, receive_frame, send_frame
from guesthouse.observe import log

REQUEST_SECONDS = 5.0
"""How long a client may take to send its request and to read the reply."""

CLIENTS = 16
"""Connections that are served at once; others wait to be accepted."""

#: What a row of the status holds in any case.
_BRIEF = ("name", "state", "steps")
_BACKLOG = 16
_WAIT = 0.2


class Controlled(Protocol):
    """What a control socket directs: a `Runtime` or a `Fleet`."""

    def status(self) -> list[dict[str, Any]]:
        """Return one row per cell."""

    def reload(self, name: str) -> None:
        """Replace a cell; raises `Error`."""

    def shut_down(self, name: str) -> None:
        """Stop a cell; raises `Error`."""


class ControlSocket:
    """Listens for requests; a context manager that stops listening when left.

    Args:
        path: where; what an earlier host left there is replaced.
        served: whom requests are about.
        shut_down_all: called by the request of that name; must return at once.

    Raises:
        OSError: the path cannot be bound, or another host listens there.
    """

    def __init__(self, path: Path, served: Controlled, shut_down_all: Callable[[], object]) -> None:
        self.path = path
        self._served, self._shut_down_all = served, shut_down_all
        self._stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(CLIENTS)
        self._socket = _bound(path)
        self._inode = path.stat().st_ino
        self._thread = threading.Thread(target=self._accept, name="pulp-control", daemon=True)
        self._thread.start()
        log.info("control socket listening", path=str(path))

    def close(self) -> None:
        """Stop listening and remove the socket, unless somebody else has put another there."""
        self._stopping.set()
        self._thread.join(5)
        self._socket.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            if not self._slots.acquire(timeout=_WAIT):
                continue
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                self._slots.release()
                if not isinstance(error, TimeoutError):  # no descriptor is left, for example
                    self._stopping.wait(_WAIT)
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="pulp-control-client", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_SECONDS)
                try:
                    reply = self._answer(receive_frame(connection))
                    self._reply(connection, reply)
                except BadFrame as error:
                    send_frame(connection, {"error": str(error)})
        except OSError as error:
            log.debug("control client went away", error=str(error))
        finally:
            self._slots.release()

    @staticmethod
    def _reply(connection: socket.socket, reply: dict[str, Any]) -> None:
        """Send a reply; of a status that is too large for a frame only the most important is left."""
        try:
            send_frame(connection, reply)
        except BadFrame:
            if "cells" not in reply:
                raise
            brief = [{key: row[key] for key in _BRIEF} for row in reply["cells"]]
            send_frame(connection, {**reply, "cells": brief})

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        op, cell = request.get("op"), request.get("cell")
        if op in ("reload", "shutdown") and not (isinstance(cell, str) and cell):
            return {"error": f"{op} needs the name of a cell"}
        try:
            match op:
                case "status":
                    return {"ok": True, "cells": self._served.status()}
                case "reload":
                    self._served.reload(str(cell))
                case "shutdown":
                    self._served.shut_down(str(cell))
                case "shutdown_all":
                    self._shut_down_all()
                case _:
                    return {"error": f"unknown op {op!r}; there are: status, reload, shutdown, shutdown_all"}
        except Error as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - whoever asked is told, the host goes on
            log.exception("control request failed", op=str(op))
            return {"error": f"{type(error).__name__}: {error}"}
        return {"ok": True}


def _bound(path: Path) -> socket.socket:
    """Bind a socket that nobody else may write to, replacing one that nobody listens at."""
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode has to be right from the first moment on, and `chmod` comes after `bind`: until then
        # the socket lies in a directory that only we can enter.
        private = path.with_name(f".{path.name}.{os.getpid()}")
        private.mkdir(mode=0o700)
        try:
            listening.bind(str(private / "s"))
            (private / "s").chmod(0o600)
            listening.listen(_BACKLOG)
            (private / "s").rename(path)
        finally:
            with contextlib.suppress(OSError):
                (private / "s").unlink()
            private.rmdir()
        listening.settimeout(_WAIT)
    except BaseException:
        listening.close()
        raise
    return listening


def _clear(path: Path) -> None:
    """Remove a socket whose host is gone; anything else that lies there stays.

    Raises:
        OSError: a host listens there, or it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise FileExistsError(f"another host listens at {path}")
