"""Routes of a host's gateway: ``[[routes]]`` (spec/pulp.md 4.4)."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp.manifest import tables
from guesthouse.interfaces.pulp.manifest.tables import Kind

ROUTE_KEYS = {"path": Kind.STRING, "application": Kind.STRING, "instance": Kind.STRING}


@dataclass(frozen=True, slots=True)
class Route:
    """One ``[[routes]]`` table: which instance answers below a path of the gateway."""

    path: str
    application: str
    instance: str


def routes(
    given: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[str]], path: Path
) -> tuple[Route, ...]:
    """Read the routes of a host.

    Args:
        given: its ``[[routes]]``.
        known: for every application the names of its instances.
        path: the manifest, for messages.

    Raises:
        ManifestError: a path that is not canonical or stands twice, an unknown or unclear target.
    """
    found: list[Route] = []
    for index, table in enumerate(given):
        prefix = f"routes[{index}]."
        tables.check(table, ROUTE_KEYS, path, prefix)
        target = _route_path(tables.required(table, "path", path, prefix), path, f"{prefix}path")
        if target in (route.path for route in found):
            tables.invalid(f"{prefix}path {target!r} is a duplicate; remove one", path, f"{prefix}path")
        name = tables.required(table, "application", path, prefix)
        if name not in known:
            tables.invalid(
                f"{prefix}application {name!r} is unknown; there are: {', '.join(known)}",
                path,
                f"{prefix}application",
            )
        instances = known[name]
        instance = table.get("instance", "").strip() or (instances[0] if len(instances) == 1 else "")
        if not instance:
            tables.invalid(
                f"{prefix}instance is required: {name!r} has several: {', '.join(instances)}",
                path,
                f"{prefix}instance",
            )
        if instance not in instances:
            tables.invalid(
                f"{prefix}instance {instance!r} is unknown; {name!r} has: {', '.join(instances)}",
                path,
                f"{prefix}instance",
            )
        found.append(Route(target, name, instance))
    return tuple(found)


def _route_path(value: str, path: Path, key: str) -> str:
    if not value.startswith("/"):
        tables.invalid(f"{key} {value!r} must be absolute: begin it with '/'", path, key)
    if any(sign in value for sign in "?#\\"):
        tables.invalid(f"{key} {value!r} must not contain '?', '#' or '\\'", path, key)
    canonical = posixpath.normpath(value).replace("//", "/")
    if canonical != value:
        tables.invalid(f"{key} {value!r} must be canonical; write {canonical!r}", path, key)
    return value
