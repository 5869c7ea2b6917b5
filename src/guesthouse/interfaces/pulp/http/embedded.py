"""granian inside this process; imported when the first address is listened on."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

#: Leaves the logging of the embedding program alone: only the level of granian's own logger is set.
_QUIET: dict[str, Any] = {"incremental": True, "handlers": {}, "loggers": {}}

#: Connections that are served at once; idle WebSockets and event streams count as well.
CONNECTIONS = 16_384


def most_connections() -> int:
    """Return how many connections one address may have: others wait, and leave descriptors for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(16, min(CONNECTIONS, soft // 2))


class EmbeddedServer(Server):
    """granian on a socket that is bound already, so that a taken port is an error here and now.

    Args:
        application: an ASGI application.
        descriptor: a listening socket; the server owns it from here on and closes it in the end.
        backlog: connections that may wait to be accepted.
        certificate: PEM files of certificate and key for TLS.
    """

    def __init__(
        self, application: Any, descriptor: int, backlog: int, certificate: tuple[Path, Path] | None
    ) -> None:
        cert, key = certificate or (None, None)
        super().__init__(
            application,
            interface=Interfaces.ASGINL,
            backlog=backlog,
            backpressure=most_connections(),
            log_level=LogLevels.error,
            log_dictconfig=_QUIET,
            ssl_cert=cert,
            ssl_key=key,
        )
        self._holder = SocketHolder(descriptor, False, backlog)  # type: ignore[call-arg]  # its stub lacks them

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd: Any = self._holder
