"""``guesthouse up`` for Pulp's own manifests (spec/pulp.md 5.2, 5.6, 5.10)."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.applications import (
    ApplicationHost,
    ApplicationInstance,
    Complete,
    open_application,
)
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.control import DEFAULT_CONTROL_SOCKET, control_socket
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, CellManifest, HostManifest
from guesthouse.interfaces.pulp.runtime import Runtime
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
def serving(host: Any, paths: Sequence[Path]) -> Iterator[object]:
    """Run Pulp's manifests on a host's engine, with the capabilities that the host knows, while entered.

    Args:
        host: a `guesthouse.Host`.
        paths: cell manifests, or one application manifest, or one host manifest.

    Yields:
        The `Runtime`, `ApplicationInstance` or `ApplicationHost` that runs.

    Raises:
        ManifestError: they are malformed, or do not fit together.
        LoadError: a capability could not be set up, or what had to start did not.
    """
    kinds = {kind_of(path) for path in paths}
    if kinds - {"pulp.cell"} and len(paths) > 1:
        raise ManifestError(
            "name cell manifests, or one application, or one host manifest; not several of them"
        )
    settings = dict(os.environ)
    serve = {"pulp.app": _application, "pulp.host": _host}.get(kinds.pop(), _cells)
    surroundings = Surroundings(host.engine, _neighbours(), options={"env": forwarded(settings)})
    with serve(
        paths, surroundings, settings, functools.partial(with_strangers, known=host.registry)
    ) as served:
        yield served
    log.info("pulp exit clean")


@contextlib.contextmanager
def _cells(
    paths: Sequence[Path], surroundings: Surroundings, settings: Mapping[str, str], complete: Complete
) -> Iterator[Runtime]:
    runtime = Runtime(
        [CellManifest.load(path) for path in paths],
        complete(Catalogue().registry()),
        surroundings,
        storage_root=_storage_root(settings),
        settings=settings,
        strict_links=settings.get(STRICT_LINKS) == "1",
    )
    with runtime, control_socket(runtime, settings.get(CONTROL_SOCKET, DEFAULT_CONTROL_SOCKET)):
        yield runtime


@contextlib.contextmanager
def _application(
    paths: Sequence[Path], surroundings: Surroundings, settings: Mapping[str, str], complete: Complete
) -> Iterator[ApplicationInstance]:
    instance = open_application(
        ApplicationManifest.load(paths[0]),
        surroundings,
        storage_root=_storage_root(settings),
        settings=settings,
        complete=complete,
    )
    instance.start()
    try:
        yield instance
    finally:
        instance.stop()


@contextlib.contextmanager
def _host(
    paths: Sequence[Path], surroundings: Surroundings, settings: Mapping[str, str], complete: Complete
) -> Iterator[ApplicationHost]:
    applications = ApplicationHost(
        HostManifest.load(paths[0]),
        surroundings,
        storage_root=_storage_root(settings),
        settings=settings,
        complete=complete,
    )
    with applications:
        log.info("pulp host listens", url=applications.url)
        yield applications


def _storage_root(settings: Mapping[str, str]) -> Path:
    return Path(settings.get(STORAGE_ROOT) or "data")


def forwarded(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that guests see."""
    return {name: settings[name] for name in FORWARDED if settings.get(name)}


def with_strangers(own: Registry, known: Registry) -> Registry:
    """Add the capabilities that others registered with the host, such as installed packages."""
    from guesthouse.interfaces import available

    built_in = {interface.name for interface in available()}
    for capability in known:
        if capability.interface not in built_in and capability.name not in own:
            register = own.always if known.is_always(capability.name) else own.gated
            register(capability)
    return own


def _neighbours() -> tuple[Neighbour, ...]:
    from guesthouse.interfaces import available

    return tuple(interface for interface in available() if interface.name == "wasi")
