"""``guesthouse up`` for Pulp's own manifests (spec/pulp.md 5.2, 5.6, 5.10)."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.control import ControlSocket
from guesthouse.interfaces.pulp.fleet import SQL, Fleet
from guesthouse.interfaces.pulp.http.mounting import CellRoutes
from guesthouse.interfaces.pulp.leaving import STOP_GRACE
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, CellManifest, HostManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import Neighbour, Surroundings
from guesthouse.manifest import kind_of
from guesthouse.observe import log
from guesthouse.registry import Registry

#: What guests see of the host's environment, where it is set (spec/pulp.md 2.9).
FORWARDED = ("HTTP_PORT", "TZ")
STORAGE_ROOT = "PULP_STORAGE_ROOT"
STRICT_LINKS = "PULP_STRICT_LINKS"
CONTROL_SOCKET = "PULP_CTL_SOCK"


@contextlib.contextmanager
def serving(
    host: Any, paths: Sequence[Path], *, mounted: bool = False, grace: float = STOP_GRACE
) -> Iterator[CellRoutes]:
    """Run cells on a host's engine, with the capabilities that the host knows, while entered.

    Args:
        host: a `guesthouse.Host`.
        paths: cell manifests, or one application manifest, or one host manifest.
        mounted: another server will answer for the cells, so their own listener takes any free port, unless
            ``HTTP_PORT`` says which.
        grace: seconds that steps and calls may go on at the end, before they are interrupted.

    Yields:
        What that server mounts.

    Raises:
        ManifestError: they are malformed, or do not fit together.
        LoadError: a capability could not be set up, or nothing could be started.
    """
    settings = dict(os.environ)
    if mounted and not settings.get("HTTP_PORT"):
        settings["HTTP_PORT"] = "0"
    served, routes = _made(host, paths, settings, grace)
    with served, _controlled(served, settings):
        yield routes
    log.info("pulp exit clean")


def _made(
    host: Any, paths: Sequence[Path], settings: Mapping[str, str], grace: float
) -> tuple[Runtime | Fleet, CellRoutes]:
    kinds = {path: kind_of(path) for path in paths}
    if len(paths) > 1 and set(kinds.values()) != {"pulp.cell"}:
        odd = next(path for path, kind in kinds.items() if kind != "pulp.cell")
        raise ManifestError(
            f"a {kinds[odd]} manifest runs alone; start another host for the others", file=str(odd)
        )
    registered = functools.partial(with_strangers, known=host.registry)
    surroundings = Surroundings(host.engine, _neighbours(), options={"env": forwarded(os.environ)})
    root = Path(settings.get(STORAGE_ROOT) or "data")
    kind = next(iter(kinds.values()))
    strict = settings.get(STRICT_LINKS, "0" if kind == "pulp.cell" else "1") == "1"
    if kind == "pulp.host":
        fleet = Fleet(
            HostManifest.load(paths[0]),
            surroundings,
            storage_root=root,
            settings=settings,
            strict_links=strict,
            registered=registered,
            grace=grace,
        )
        return fleet, CellRoutes(lambda: fleet.front, lambda: fleet.threads)
    together = kind == "pulp.app"
    cells = (
        _placed(ApplicationManifest.load(paths[0]))
        if together
        else [CellManifest.load(path) for path in paths]
    )
    catalogue = Catalogue(sql=settings.get(SQL) or "sqlite")
    runtime = Runtime(
        cells,
        registered(catalogue.registry()),
        surroundings,
        storage_root=root,
        settings=settings,
        strict_links=strict,
        together=together,
        grace=grace,
    )
    return runtime, CellRoutes(lambda: catalogue.http.site, lambda: catalogue.threads)


def forwarded(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that guests see."""
    return {name: settings[name] for name in FORWARDED if settings.get(name)}


def with_strangers(own: Registry, known: Registry) -> Registry:
    """Add the capabilities that others registered with the host, such as installed packages.

    What has the name of one of ours is added as its rival, if it says who provides it: cells that declare
    the name then have to pin one of the two.
    """
    from guesthouse.interfaces import available

    others = {interface.name for interface in available()}
    for name in [capability.name for capability in known]:
        for capability in known.offers(name):
            elsewhere = capability.interface in others and capability.interface != "pulp"
            taken = {"", *(each.provider for each in own.offers(name))}
            if elsewhere or name in others or (name in own and capability.provider in taken):
                continue
            register = own.always if known.is_always(name) else own.gated
            register(capability)
    return own


def _placed(manifest: ApplicationManifest) -> list[CellSpec]:
    return [CellSpec.placed(placement, manifest.name) for placement in manifest.placements]


def _neighbours() -> tuple[Neighbour, ...]:
    from guesthouse.interfaces import available

    return tuple(interface for interface in available() if interface.name == "wasi")


@contextlib.contextmanager
def _controlled(served: Runtime | Fleet, settings: Mapping[str, str]) -> Iterator[None]:
    """Listen for ``guesthouse ctl`` meanwhile; not being able to is only worth a warning."""
    path = settings.get(CONTROL_SOCKET, "pulp.ctl")
    if not path:
        yield
        return
    try:
        control = ControlSocket(Path(path), served, lambda: os.kill(os.getpid(), signal.SIGTERM))
    except OSError as error:
        log.warning("no control socket", path=path, error=str(error))
        yield
        return
    with control:
        yield
