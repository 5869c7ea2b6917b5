"""Applications of placed cells, alone or several in one process (spec/pulp.md 4.3, 4.4, 5.2, 5.4, 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.crossing import Applications
from guesthouse.interfaces.pulp.http.gateway import PrefixGateway
from guesthouse.interfaces.pulp.http.server import LoopThread, listen_address
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, HostedApplication, HostManifest
from guesthouse.interfaces.pulp.runtime import SHUTDOWN_SECONDS, Runtime
from guesthouse.interfaces.pulp.scopes import DEFAULT
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.observe import log
from guesthouse.registry import Registry

#: Completes the registry of an application's own capabilities, such as with those of other packages.
Complete = Callable[[Registry], Registry]


@dataclass(slots=True, eq=False)
class ApplicationInstance:
    """A running instance of an application.

    Attributes:
        id: the application.
        name: which instance of it.
        catalogue: its own capabilities, with its own listener.
        runtime: its cells.
        applications: those that can call it, in host mode.
        ready: whether it takes requests and calls.
    """

    id: str
    name: str
    catalogue: Catalogue
    runtime: Runtime
    applications: Applications | None = None
    ready: bool = False

    def start(self) -> None:
        """Boot all cells; raises what the first failure was, after stopping the others."""
        self.runtime.start()
        self.ready = True
        if self.applications is not None:
            self.applications.register(self.id, self.name, self.runtime)

    def stop(self) -> None:
        """Refuse new calls, wait for those that run, stop."""
        if self.applications is not None and self.ready:
            self.applications.revoke(self.id, self.name, SHUTDOWN_SECONDS)
        self.ready = False
        self.runtime.stop()

    @property
    def url(self) -> str | None:
        """Where its HTTP listener answers; ``None`` without one."""
        return self.catalogue.http.url if self.ready and self.catalogue.http.ready else None


def open_application(
    manifest: ApplicationManifest,
    surroundings: Surroundings,
    *,
    storage_root: Path,
    settings: Mapping[str, str],
    complete: Complete = lambda registry: registry,
    hosted: HostedApplication | None = None,
    instance: str = DEFAULT,
    applications: Applications | None = None,
) -> ApplicationInstance:
    """Prepare one instance of an application; nothing runs yet.

    Args:
        manifest: the application.
        surroundings: engine and neighbouring interfaces.
        storage_root: where files lie.
        settings: environment for capabilities.
        complete: adds capabilities to the application's registry.
        hosted: its entry in a host manifest, in host mode.
        instance: name of the instance.
        applications: the applications of the host, in host mode.

    Raises:
        ValueError: a name cannot be part of a scope.
    """
    name = hosted.id if hosted is not None else manifest.name
    namespace = hosted.storage_namespace if hosted is not None else ""
    specs = [CellSpec.placed(placement, name, instance, namespace) for placement in manifest.placements]
    catalogue = Catalogue()
    runtime = Runtime(
        specs,
        complete(catalogue.registry()),
        surroundings,
        storage_root=storage_root,
        settings=settings,
        strict_links=True,
        together=True,
        applications=applications,
    )
    return ApplicationInstance(name, instance, catalogue, runtime, applications)


class ApplicationHost:
    """Several applications in one process, each with its own capabilities, behind one address.

    A context manager: entering starts everything in order, or nothing; leaving stops in reverse.

    Args:
        manifest: the host.
        surroundings: engine and neighbouring interfaces.
        storage_root: where files lie.
        settings: environment for capabilities; ``HTTP_PORT`` is where the host itself listens.
        complete: adds capabilities to every application's registry.
    """

    def __init__(
        self,
        manifest: HostManifest,
        surroundings: Surroundings,
        *,
        storage_root: Path = Path("data"),
        settings: Mapping[str, str] | None = None,
        complete: Complete = lambda registry: registry,
    ) -> None:
        self.manifest = manifest
        self.applications = Applications({each.id: each.depends_on for each in manifest.applications})
        self._surroundings = surroundings
        self._storage_root = storage_root
        self._settings = dict(settings or {})
        self._complete = complete
        self.instances = {
            (hosted.id, name): self.open(hosted, name)
            for hosted in manifest.applications
            for name in hosted.instances
        }
        self._threads = LoopThread("pulp-gateway")
        self._gateway: PrefixGateway | None = None
        self._started: list[ApplicationInstance] = []

    @property
    def url(self) -> str:
        """Where the host listens."""
        assert self._gateway is not None
        return self._gateway.url

    def open(self, hosted: HostedApplication, instance: str) -> ApplicationInstance:
        """Prepare an instance of one of the applications; nothing runs yet."""
        return open_application(
            hosted.manifest,
            self._surroundings,
            storage_root=self._storage_root,
            settings={**self._settings, "HTTP_PORT": "0"},
            complete=self._complete,
            hosted=hosted,
            instance=instance,
            applications=self.applications,
        )

    def start(self) -> None:
        """Start all applications in order, then the gateway.

        Raises:
            Error: one of them failed; those before it are stopped again.
            OSError: the gateway cannot listen.
        """
        try:
            for instance in self.instances.values():
                self._started.append(instance)
                instance.start()
                log.info("application ready", application=instance.id, instance=instance.name)
            address = listen_address(
                f":{self._settings.get('HTTP_PORT') or '8080'}", self._settings.get("HTTP_HOST")
            )
            self._gateway = PrefixGateway(self.manifest.routes, self._url_of, self._threads, address)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the gateway, then the applications in reverse order."""
        if self._gateway is not None:
            self._gateway.close()
            self._gateway = None
        while self._started:
            self._started.pop().stop()
        self._threads.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def replace(self, application: str, instance: str) -> ApplicationInstance:
        """Stop an instance once nobody is in it any more, and start a fresh one in its place.

        Raises:
            KeyError: there is none of these names.
            Error: the fresh one failed to start.
        """
        former = self.instances[application, instance]
        hosted = next(each for each in self.manifest.applications if each.id == application)
        former.stop()
        if former in self._started:
            self._started.remove(former)
        fresh = self.instances[application, instance] = self.open(hosted, instance)
        self._started.append(fresh)
        fresh.start()
        return fresh

    def _url_of(self, application: str, instance: str) -> str | None:
        return self.instances[application, instance].url
