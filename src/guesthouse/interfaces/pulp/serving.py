"""``guesthouse up`` for Pulp's own manifests (spec/pulp.md 5.2, 5.6, 5.10)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.surroundings import Neighbour, Surroundings
from guesthouse.observe import log
from guesthouse.registry import Registry

#: What guests see of the host's environment, where it is set (spec/pulp.md 2.9).
FORWARDED = ("HTTP_PORT", "TZ")
STORAGE_ROOT = "PULP_STORAGE_ROOT"


@contextlib.contextmanager
def serving(host: Any, paths: Sequence[Path]) -> Iterator[Runtime]:
    """Run cells on a host's engine, with the capabilities that the host knows, while entered.

    Args:
        host: a `guesthouse.Host`.
        paths: cell manifests.

    Raises:
        ManifestError: they are malformed, or do not fit together.
        LoadError: a capability could not be set up, or every cell failed.
    """
    settings = dict(os.environ)
    catalogue = Catalogue()
    runtime = Runtime(
        [CellManifest.load(path) for path in paths],
        with_strangers(catalogue.registry(), host.registry),
        Surroundings(host.engine, _neighbours(), options={"env": forwarded(settings)}),
        storage_root=Path(settings.get(STORAGE_ROOT) or "data"),
        settings=settings,
        strict_links=settings.get("PULP_STRICT_LINKS") == "1",
    )
    with runtime:
        yield runtime
    log.info("pulp exit clean")


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
