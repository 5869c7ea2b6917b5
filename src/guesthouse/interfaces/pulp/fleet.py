"""Several applications in one process, as a host manifest describes them (spec/pulp.md 4.4, 5.2, 5.8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guesthouse.errors import LoadError, NotFound
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.crossing import Applications
from guesthouse.interfaces.pulp.extension import Environment, Event, Posted
from guesthouse.interfaces.pulp.http.forwarding import TRUSTED_PROXIES, Forwarding
from guesthouse.interfaces.pulp.http.gateway import Gateway, NotReady
from guesthouse.interfaces.pulp.http.inbound import DEFAULT_PORT
from guesthouse.interfaces.pulp.http.server import HTTPServer, LoopThread, listen_address
from guesthouse.interfaces.pulp.http.site import Site
from guesthouse.interfaces.pulp.leaving import STOP_GRACE
from guesthouse.interfaces.pulp.lives import Lives
from guesthouse.interfaces.pulp.manifest import HostedApplication, HostManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability
    from guesthouse.registry import Registry

REVOKE_SECONDS = 5.0
#: Setting that says what is behind ``storage.sqlite``; see `Catalogue`.
SQL = "PULP_SQL"
#: What only the gateway needs to know.
_GATEWAY_ONLY = ("HTTP_CERT", "HTTP_KEY", "HTTP_HOST")


class Member:
    """One instance of an application.

    Attributes:
        application, instance: which one.
        catalogue: its own capabilities: listeners, connections, files.
        runtime: its cells.
    """

    def __init__(
        self, application: HostedApplication, instance: str, catalogue: Catalogue, runtime: Runtime
    ) -> None:
        self.application, self.instance = application, instance
        self.catalogue, self.runtime = catalogue, runtime
        self.ready = False

    @property
    def key(self) -> tuple[str, str]:
        """Application and instance."""
        return self.application.id, self.instance


class Fleet:
    """Runs the applications of a host and the gateway in front of them.  A context manager.

    Args:
        manifest: the host.
        surroundings: engine and neighbouring interfaces.
        storage_root: where capabilities keep files.
        settings: environment for capabilities; ``HTTP_PORT``, ``HTTP_HOST``, ``HTTP_CERT``, ``HTTP_KEY`` and
            ``HTTP_TRUSTED_PROXIES`` are the gateway's.
        strict_links: as of `Runtime`.
        registered: adds what others offer to an application's own registry.
        grace: as of `Runtime`, for all applications together.
    """

    def __init__(
        self,
        manifest: HostManifest,
        surroundings: Surroundings,
        *,
        storage_root: Path = Path("data"),
        settings: Mapping[str, str] | None = None,
        strict_links: bool = True,
        registered: Callable[[Registry], Registry] = lambda own: own,
        grace: float = STOP_GRACE,
    ) -> None:
        self.manifest = manifest
        self.threads = LoopThread()
        self.environment = Environment(
            storage_root,
            settings or {},
            self.post,
            endpoints_now=self._endpoints,
            storage_namespaces={each.id: each.storage_namespace for each in manifest.applications},
        )
        self.lives = Lives(self.environment)
        self.applications = Applications({each.id: each.depends_on for each in manifest.applications})
        self._surroundings = surroundings
        self._strict_links = strict_links
        self._registered = registered
        self._grace = grace
        self._members: dict[tuple[str, str], Member] = {}
        forwarding = Forwarding((settings or {}).get(TRUSTED_PROXIES, ""))
        self.front = Gateway(manifest.routes, self._site, forwarding)
        self._gateway: HTTPServer | None = None
        self._lock = threading.RLock()

    # -- life

    def start(self) -> None:
        """Start the applications one after another, then open the gateway.

        Raises:
            LoadError: one failed to start, so that none runs; or the gateway's address is taken.
        """
        try:
            for application in self.manifest.applications:
                for instance in application.instances:
                    self._start(self._made(application, instance))
            self.lives.poll()
            self._open()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close the gateway and stop the applications, the last one first."""
        with self._lock:
            gateway, self._gateway = self._gateway, None
            if gateway is not None:
                gateway.close()
            end = time.monotonic() + self._grace
            for member in list(self._members.values())[::-1]:
                left = max(0.0, end - time.monotonic())
                self._stop(member, left, left)
        self.lives.stop_polling()
        self.lives.tear_down()
        self.threads.close()

    def replace(self, application: str, instance: str) -> Member:
        """Stop one instance and start a fresh one of it; callers are refused in between.

        Raises:
            NotFound: no such instance.
            LoadError: the fresh one does not start; the instance is gone then.
        """
        with self._lock:
            member = self.member(application, instance)
            self._stop(member, REVOKE_SECONDS, self._grace)
            fresh = self._made(member.application, instance)
            self._start(fresh)
            return fresh

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- use

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        assert self._gateway is not None
        return self._gateway.url

    def member(self, application: str, instance: str) -> Member:
        """Return a running instance; raises `NotFound`."""
        try:
            return self._members[application, instance]
        except KeyError:
            known = ["/".join(key) for key in self._members]
            raise NotFound("application", f"{application}/{instance}", known=known) from None

    def post(self, event: Event) -> Posted:
        """Queue an event of a shared capability for its cell, or for every cell that declares it."""
        outcome = Posted.GONE
        for member in list(self._members.values()):
            posted = member.runtime.post(event)
            outcome = posted if outcome is Posted.GONE else outcome
        return outcome

    # -- for the control socket: cells are ``application/instance/cell``, or the cell where that is clear

    def status(self) -> list[dict[str, Any]]:
        """Return state and counters of every cell of every application."""
        return [
            {**row, "name": f"{application}/{instance}/{row['name']}"}
            for (application, instance), member in list(self._members.items())
            for row in member.runtime.status()
        ]

    def reload(self, name: str) -> None:
        """Replace a cell; as `Runtime.reload`."""
        member, cell = self._named(name)
        member.runtime.reload(cell)

    def shut_down(self, name: str) -> None:
        """Stop a cell; raises `NotFound`."""
        member, cell = self._named(name)
        member.runtime.shut_down(cell)

    def _named(self, name: str) -> tuple[Member, str]:
        found = [
            (member, cell)
            for (application, instance), member in list(self._members.items())
            for cell in member.runtime.units
            if name in (cell, f"{application}/{instance}/{cell}")
        ]
        if len(found) != 1:
            what = "cell" if not found else "single cell"
            raise NotFound(what, name, known=[row["name"] for row in self.status()])
        return found[0]

    # -- inside

    def _made(self, application: HostedApplication, instance: str) -> Member:
        catalogue = Catalogue(self.threads, sql=self.environment.settings.get(SQL) or "sqlite")
        own = catalogue.registry()
        ours = {id(capability) for capability in own}
        registry = self._registered(own)
        specs = [
            CellSpec.placed(placement, application.id, instance, application.storage_namespace)
            for placement in application.manifest.placements
        ]
        settings = {k: v for k, v in self.environment.settings.items() if k not in _GATEWAY_ONLY}
        runtime = Runtime(
            specs,
            registry,
            self._surroundings,
            storage_root=self.environment.storage_root,
            settings={**settings, "HTTP_PORT": "0"},
            strict_links=self._strict_links,
            together=True,
            applications=self.applications,
            shared=self.lives,
        )
        strangers = [each for each in runtime.wanted() if id(each) not in ours]
        _check_scoped(strangers, application)
        self.lives.set_up(strangers)
        return Member(application, instance, catalogue, runtime)

    def _start(self, member: Member) -> None:
        self._members[member.key] = member
        application, instance = member.key
        try:
            member.runtime.start()
        except BaseException:
            self._members.pop(member.key, None)
            raise
        member.ready = True
        self.applications.register(application, instance, member.runtime)
        log.info("application ready", application=application, instance=instance)

    def _stop(self, member: Member, wait: float, grace: float) -> None:
        """Stop an application: ``wait`` seconds for calls of others into it, ``grace`` for its own."""
        member.ready = False
        if not self.applications.revoke(*member.key, wait):
            log.warning("calls into an application are cut off", application=member.application.id)
        member.runtime.stop(grace)
        self._members.pop(member.key, None)

    def _open(self) -> None:
        """Open the gateway where the manifest has routes."""
        if not self.manifest.routes:
            return
        settings = self.environment.settings
        cert, key = settings.get("HTTP_CERT"), settings.get("HTTP_KEY")
        try:
            address = listen_address(
                f":{settings.get('HTTP_PORT') or DEFAULT_PORT}", settings.get("HTTP_HOST")
            )
            self._gateway = HTTPServer(
                self.front,
                self.threads,
                address,
                (Path(cert), Path(key)) if cert and key else None,
            )
        except (OSError, ValueError) as error:
            raise LoadError(f"the gateway cannot listen: {error}; set HTTP_PORT to a free port") from error
        log.info("gateway started", url=self._gateway.url, routes=len(self.manifest.routes))

    def _endpoints(self) -> dict[str, str]:
        members = list(self._members.values())
        return {"/".join(each.key): each.catalogue.http.url for each in members if each.catalogue.http.ready}

    def _site(self, application: str, instance: str) -> Site | None:
        member = self._members.get((application, instance))
        if member is None or not member.ready:
            raise NotReady
        return member.catalogue.http.site


def lets_go(capability: Capability) -> bool:
    """Whether a capability that keeps something for cells can let go of a single one (spec/pulp.md 5.9)."""
    hooks = capability.hooks
    keeps = hooks.setup is not None or hooks.attach is not None or hooks.poll is not None
    return hooks.release is not None or not keeps


def _check_scoped(capabilities: Sequence[Capability], application: HostedApplication) -> None:
    for capability in capabilities:
        if len(application.instances) > 1 and not lets_go(capability):
            raise LoadError(
                f"capability {capability.name!r} cannot let go of one cell (it has no `release`), and "
                f"application {application.id!r} runs {len(application.instances)} instances; "
                "give it a `release` hook, or run one instance"
            )
