"""Every capability of this package, wired with one another, for one runtime."""

from __future__ import annotations

from dataclasses import replace

from guesthouse.capabilities import Capability, Hooks
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.extension import Extension
from guesthouse.interfaces.pulp.extensions.docker import Docker
from guesthouse.interfaces.pulp.extensions.entropy import Entropy
from guesthouse.interfaces.pulp.extensions.files import Files
from guesthouse.interfaces.pulp.extensions.greet import Greet
from guesthouse.interfaces.pulp.extensions.jwt import JWT
from guesthouse.interfaces.pulp.extensions.logs import Log
from guesthouse.interfaces.pulp.extensions.mdns import MDNS
from guesthouse.interfaces.pulp.extensions.postgres import Postgres
from guesthouse.interfaces.pulp.extensions.probe import HTTPProbe
from guesthouse.interfaces.pulp.extensions.process import Process
from guesthouse.interfaces.pulp.extensions.profile import MinecraftProfile
from guesthouse.interfaces.pulp.extensions.pty import PTY
from guesthouse.interfaces.pulp.extensions.s3 import S3
from guesthouse.interfaces.pulp.extensions.sqlite import SQLite
from guesthouse.interfaces.pulp.extensions.stripe import Stripe
from guesthouse.interfaces.pulp.extensions.tools import ToolAcquire, Toolchain
from guesthouse.interfaces.pulp.extensions.udp import UDP
from guesthouse.interfaces.pulp.extensions.workers import Workers
from guesthouse.interfaces.pulp.extensions.wsout import WSOutbound
from guesthouse.interfaces.pulp.http.inbound import HTTPInbound
from guesthouse.interfaces.pulp.http.outbound import HTTPOutbound
from guesthouse.interfaces.pulp.http.server import LoopThread
from guesthouse.interfaces.pulp.http.sse import SSE
from guesthouse.interfaces.pulp.http.websockets import WSInbound
from guesthouse.interfaces.pulp.providers import OWN
from guesthouse.interfaces.pulp.sibling import Sibling
from guesthouse.registry import Registry


class Catalogue:
    """The capabilities of one runtime; they hold its listeners, connections and files.

    Attributes:
        threads: the event loop that they share.
        http: inbound HTTP.
        fetch: outbound HTTP.
        sibling: the one capability that every cell has.
        gated: those that a cell has to declare.
        eventful: names of those that bring events to cells.

    Args:
        threads: the event loop to use; one of its own by default.
        sql: what is behind ``storage.sqlite``: ``sqlite``, ``postgres``, or ``both``, where every cell that
            declares it has to pin one.
    """

    eventful = frozenset(
        {
            "transport.http.inbound",
            "transport.ws.inbound",
            "transport.ws.outbound",
            "network.udp",
            "spawn.pty",
        }
    )

    def __init__(self, threads: LoopThread | None = None, *, sql: str = "sqlite") -> None:
        self._own_threads = threads is None
        self.threads = threads or LoopThread()
        self.fetch = HTTPOutbound(self.threads)
        self.http = HTTPInbound(self.threads, self.fetch.splice)
        self.sibling = Sibling()
        databases = {"sqlite": (SQLite,), "postgres": (Postgres,), "both": (SQLite, Postgres)}
        if sql not in databases:
            raise LoadError(f"storage.sqlite is served by {', '.join(databases)}, not by {sql!r}")
        self.gated: tuple[Extension, ...] = (
            self.http, self.fetch, WSInbound(self.http), SSE(self.http), WSOutbound(self.threads),
            UDP(self.threads), Workers(self.threads),
            Files(), *(each() for each in databases[sql]), Entropy(), Greet(), Log(), JWT(), Process(), PTY(),
            S3(), Docker(), HTTPProbe(), MinecraftProfile(), ToolAcquire(), Toolchain(), MDNS(),
            Stripe(),
        )  # fmt: skip

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """All of them."""
        return (self.sibling, *self.gated)

    def registry(self) -> Registry:
        """Return a registry with all of them (spec/pulp.md 3.1)."""
        # Set up first and so torn down last: the loop that the others' connections live on.
        teardown = self.threads.close if self._own_threads else None
        io = Capability("pulp.io", interface="pulp", hooks=Hooks(teardown=teardown))
        registry = Registry().always(io, self.sibling.capability())
        return registry.gated(*(_owned(extension.capability()) for extension in self.gated))


def _owned(capability: Capability) -> Capability:
    """Say that a capability is ours, so that one of the same name by others can be told from it."""
    return replace(capability, provider=capability.provider or OWN)
