"""Loads the guests of a ``guesthouse.toml`` into a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse.engine import Progress
from guesthouse.errors import LoadError, ManifestError, UnknownCapability
from guesthouse.guest import Guest
from guesthouse.host import Host
from guesthouse.loading import assemble
from guesthouse.manifest import GuestManifest, Manifest, locate

#: Keys of a guest's table that are arguments of `Host.load`, or options of interfaces, where they are given.
_OPTIONS = ("provides", "consumes", "restart", "entry", "args", "env", "dirs")


def load(
    host: Host, manifest: Manifest, watch: Callable[[str], Progress | None] = lambda _name: None
) -> list[Guest]:
    """Load all guests of an application, dependencies first; when one is refused, none stays loaded.

    Args:
        host: where to.
        manifest: what :func:`guesthouse.manifest.load` returned.
        watch: called with each guest's name; returns what is told how its compilation goes.

    Raises:
        ManifestError: a guest was refused; file and key are named, the reason is its cause.
    """
    tenant = manifest.app.tenant
    loaded: list[Guest] = []
    try:
        for guest in manifest.guests:
            loaded.append(_load(host, guest, tenant, watch(guest.name)))  # noqa: PERF401 - kept on failure
    except BaseException:
        for done in reversed(loaded):
            host.unload(done.name, tenant=tenant)
        raise
    return loaded


def _load(host: Host, guest: GuestManifest, tenant: str, progress: Progress | None) -> Guest:
    wasm = guest.read_module()
    options: dict[str, Any] = {key: value for key in _OPTIONS if (value := getattr(guest, key))}
    try:
        if guest.wasm.suffix == ".wat":
            wasm = assemble(wasm, guest.wasm)
        return host.load(
            wasm, name=guest.name, grant=guest.capabilities, config=guest.config, limits=guest.limits,
            tenant=tenant, interface=guest.interface, progress=progress, **options,
        )  # fmt: skip
    except LoadError as error:
        keys = ("guests", guest.name, "capabilities" if isinstance(error, UnknownCapability) else "wasm")
        line = locate(guest.file, keys)
        where = f" (line {line})" if line else ""
        raise ManifestError(f"{error}{where}", file=str(guest.file), key=".".join(keys)) from error
