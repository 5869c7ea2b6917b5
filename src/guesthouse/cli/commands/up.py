"""``guesthouse up``: serve an application until interrupted."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter
from starlette.routing import BaseRoute

from guesthouse import application, manifest
from guesthouse.cli import options, output
from guesthouse.cli.commands.run import interruptible
from guesthouse.engine.threads import require_threads
from guesthouse.errors import ManifestError, ResourceError
from guesthouse.host import Host
from guesthouse.interfaces import available
from guesthouse.limits import format_duration, format_size, parse_duration
from guesthouse.observe import configure, log
from guesthouse.server import DEFAULT_LISTEN, Gateway

#: What serving cannot do without, with a few to spare.
FEWEST_FILES = 64
FEWEST_THREADS = 16


def command(
    *manifests: Path,
    listen: Annotated[
        str | None,
        Parameter(
            help=f"HOST:PORT of the HTTP side ({DEFAULT_LISTEN}; for Pulp's manifests HTTP_PORT, where cells "
            "listen themselves); other than loopback needs a token."
        ),
    ] = None,
    token: Annotated[
        str | None, Parameter(env_var="GUESTHOUSE_TOKEN", help="Token that every request must carry.")
    ] = None,
    state: Annotated[
        str | None, Parameter(help="Where state is kept: memory://, sqlite:///PATH, nats://….")
    ] = None,
    fabric: Annotated[
        str | None, Parameter(help="Directory that leased blocks and the journals of leases are kept in.")
    ] = None,
    uploads: Annotated[
        Sequence[str] | None,
        options.repeatable("Accept uploads, granting at most this capability ('' for none)"),
    ] = None,
    workers: Annotated[
        int | None, Parameter(help="Calls that run at once; one per processor by default.")
    ] = None,
    grace: Annotated[str, Parameter(help="How long what runs may go on once an end was asked for.")] = "1s",
    log_level: Annotated[
        str, Parameter(name="--log", help="Least level of the log: debug, info, warning, error.")
    ] = "info",
    json: options.Json = False,
) -> int:
    """Serve an application until interrupted.

    Args:
        manifests: guesthouse.toml, or Pulp's pulp.cell.toml, pulp.app.toml or pulp.host.toml; or several.
    """
    if not manifests:
        raise ManifestError("no manifest given; name a guesthouse.toml or a pulp.cell.toml")
    time_left = parse_duration(grace)
    kinds = {path: manifest.kind_of(path) for path in manifests}
    # Pulp's users read its log on standard output (spec/pulp.md 5.6).
    pulp = any(kind != "guesthouse" for kind in kinds.values())
    configure(log_level, as_json=json, stream=sys.stdout if pulp else None)
    _require_room()
    ours = [manifest.load(path) for path, kind in kinds.items() if kind == "guesthouse"]
    theirs = [path for path, kind in kinds.items() if kind != "guesthouse"]
    resources: dict[str, Any] = {"state": state} if state else {}
    if fabric:
        resources["fabric"] = fabric
    # Until everything runs, SIGTERM ends the start as ctrl-C does: what runs by then is shut down in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Host(workers=workers, **resources) as host:
        # Beside the main thread: a module that compiles would hold signals back until it is done.
        interruptible(lambda: [application.load(host, app) for app in ours], host)
        granted = None if uploads is None else [name for name in uploads if name]
        mounted = listen is not None or bool(ours)
        with ExitStack() as cells:
            routes = cells.enter_context(_cells(host, theirs, mounted, time_left))
            asked = Asked()  # before anybody can know that it serves
            if not mounted:
                asked.wait()
                return 0
            gateway = Gateway(host, listen or DEFAULT_LISTEN, tokens=token, uploads=granted, mounts=routes)
            with gateway:
                _announce(host, gateway)
                asked.wait()
                # Those who wait for an answer get one before their connections end.
                gateway.refuse()
                _wind_down(host, time_left, asked)
                cells.close()
    return 0


def _wind_down(host: Host, grace: float, asked: Asked) -> None:
    """Take no more calls, and end those that run once ``grace`` seconds are over or somebody is impatient."""
    until = time.monotonic() + grace
    while not host.scheduler.drain(0.05):
        if time.monotonic() >= until or asked.times > 1:
            break
    for call in host.scheduler.live():
        host.scheduler.cancel(call, "the host is shutting down")


def _require_room() -> None:
    """Refuse to serve with so little that the HTTP server would end the process instead of failing.

    Raises:
        ResourceError: this process may open too few files, or start too few threads.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEWEST_FILES:
        raise ResourceError(
            f"this process may have {files} files open, and serving needs {FEWEST_FILES} at least; raise the "
            "limit (`ulimit -n`)"
        )
    require_threads(FEWEST_THREADS, "serving")


class Asked:
    """Takes note of being asked to end (SIGINT, SIGTERM), from when it is made.

    Attributes:
        times: how often that has happened.
    """

    def __init__(self) -> None:
        self.times = 0
        self._first = threading.Event()
        self._name = ""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self._name = self._name or signal.Signals(number).name
        self.times += 1
        self._first.set()

    def wait(self) -> None:
        """Return once it has happened."""
        # In pieces: a plain wait() would keep a signal handler from running on some systems.
        while not self._first.wait(0.5):
            pass
        log.info("signal received", signal=self._name)


def _cells(
    host: Host, paths: Sequence[Path], mounted: bool, grace: float
) -> AbstractContextManager[Sequence[BaseRoute]]:
    """Return what serves Pulp's manifests while it is entered, and gives a gateway its routes."""
    if not paths:
        return nullcontext(())
    for interface in available():
        serve = getattr(interface, "serve_manifests", None)
        if serve is not None:
            return cast(
                AbstractContextManager[Sequence[BaseRoute]], serve(host, paths, mounted=mounted, grace=grace)
            )
    raise ManifestError("this installation has no interface that serves it", file=str(paths[0]))


def _announce(host: Host, gateway: Gateway) -> None:
    rows = [
        {
            "guest": guest.name,
            "interface": guest.interface,
            "may use": ", ".join(sorted(guest.granted)) or "-",
            "memory": format_size(guest.limits.memory),
            "wall": "none" if guest.limits.wall is None else format_duration(guest.limits.wall),
        }
        for guest in host.guests
    ]
    output.print_table(rows, ("guest", "interface", "may use", "memory", "wall"))
    output.console().print(f"\nserving at {gateway.url}; ctrl-C ends it")
