"""The host manifest, ``pulp.host.toml``: several applications under one roof (spec/pulp.md 4.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from guesthouse.interfaces.pulp.manifest import tables
from guesthouse.interfaces.pulp.manifest.application import ApplicationManifest
from guesthouse.interfaces.pulp.manifest.routing import Route, routes
from guesthouse.interfaces.pulp.manifest.tables import Kind

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,62}")

_KEYS = {
    "schema_version": Kind.INTEGER,
    "name": Kind.STRING,
    "applications": Kind.TABLES,
    "routes": Kind.TABLES,
}
_APPLICATION_KEYS = {
    "id": Kind.STRING,
    "manifest": Kind.STRING,
    "instances": Kind.INTEGER,
    "aliases": Kind.STRINGS,
    "storage_namespace": Kind.STRING,
    "event_namespace": Kind.STRING,
    "depends_on": Kind.STRINGS,
}
MOST_INSTANCES = 1024


@dataclass(frozen=True, slots=True)
class HostedApplication:
    """One ``[[applications]]`` table.

    Attributes:
        id: identifier, as cross-application calls name it.
        manifest: the application.
        instances: names of its instances.
        storage_namespace, event_namespace: what keeps its files and events from those of others.
        depends_on: ids of applications that start before and that its cells may call.
    """

    id: str
    manifest: ApplicationManifest
    instances: tuple[str, ...]
    storage_namespace: str
    event_namespace: str
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostManifest:
    """Several applications and the routes of their gateway.

    Attributes:
        path: the manifest file.
        name: as declared.
        applications: in boot order.
        routes: as declared.
    """

    path: Path
    name: str
    applications: tuple[HostedApplication, ...]
    routes: tuple[Route, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> HostManifest:
        """Read a host with its applications and all that they name.

        Raises:
            ManifestError: with the file, the key and what would mend it.
        """
        path = Path(path)
        table = tables.read(path)
        tables.check(table, _KEYS, path)
        tables.schema_version(table, path)
        name = tables.required(table, "name", path)
        if not table.get("applications"):
            tables.invalid("applications must hold at least one application", path, "applications")
        applications = [_application(own, index, path) for index, own in enumerate(table["applications"])]
        _check_unique(applications, path)
        ordered = _ordered(applications, path)
        _check_host_consumes(ordered)
        return cls(
            path,
            name,
            ordered,
            routes(table.get("routes", ()), {each.id: each.instances for each in ordered}, path),
        )


def _application(table: Mapping[str, Any], index: int, path: Path) -> HostedApplication:
    prefix = f"applications[{index}]."
    tables.check(table, _APPLICATION_KEYS, path, prefix)
    name = _identifier(table, "id", path, prefix)
    manifest = tables.required(table, "manifest", path, prefix)
    if PurePosixPath(manifest).is_absolute():
        tables.invalid(
            f"{prefix}manifest {manifest!r} must be relative to the manifest's directory",
            path,
            f"{prefix}manifest",
        )
    return HostedApplication(
        id=name,
        manifest=ApplicationManifest.load(path.parent / manifest),
        instances=_instances(table, name, path, prefix),
        storage_namespace=_identifier(table, "storage_namespace", path, prefix),
        event_namespace=_identifier(table, "event_namespace", path, prefix),
        depends_on=tables.names(table, "depends_on"),
    )


def _identifier(table: Mapping[str, Any], key: str, path: Path, prefix: str) -> str:
    return _checked(tables.required(table, key, path, prefix), path, prefix + key)


def _checked(value: str, path: Path, key: str) -> str:
    if not _IDENTIFIER.fullmatch(value):
        tables.invalid(
            f"{key} {value!r} must begin with a lower-case letter and hold at most 63 of a-z, 0-9, _ and -",
            path,
            key,
        )
    return value


def _instances(table: Mapping[str, Any], name: str, path: Path, prefix: str) -> tuple[str, ...]:
    """Return the names of an application's instances: its aliases, then ``{id}-{n}``."""
    count = table.get("instances", 1)
    if not 1 <= count <= MOST_INSTANCES:
        tables.invalid(
            f"{prefix}instances {count} must be between 1 and {MOST_INSTANCES}", path, f"{prefix}instances"
        )
    aliases = [_checked(alias.strip(), path, f"{prefix}aliases") for alias in table.get("aliases", ())]
    if len(aliases) > count:
        tables.invalid(
            f"{prefix}aliases are {len(aliases)} for {count} instances; remove some or raise `instances`",
            path,
            f"{prefix}aliases",
        )
    names = (*aliases, *(f"{name}-{number}" for number in range(len(aliases) + 1, count + 1)))
    for index, alias in enumerate(names):
        if alias in names[:index]:
            tables.invalid(
                f"{prefix}aliases: duplicate instance {alias!r}; rename one", path, f"{prefix}aliases"
            )
    return names


def _check_unique(applications: Sequence[HostedApplication], path: Path) -> None:
    for key, problem in (("id", "duplicate"), ("storage_namespace", "shared"), ("event_namespace", "shared")):
        seen: dict[str, str] = {}
        for index, application in enumerate(applications):
            value = getattr(application, key)
            if value in seen:
                tables.invalid(
                    f"{problem} {key} {value!r}: used by {seen[value]} and by {application.id}; rename one",
                    path,
                    f"applications[{index}].{key}",
                )
            seen[value] = application.id


def _ordered(applications: Sequence[HostedApplication], path: Path) -> tuple[HostedApplication, ...]:
    """Order applications after those they depend on, declaration order otherwise."""
    known = {application.id: application for application in applications}
    for index, application in enumerate(applications):
        for need in application.depends_on:
            if need not in known:
                tables.invalid(
                    f"application {application.id!r} depends on {need!r}, which is unknown; "
                    f"there are: {', '.join(known)}",
                    path,
                    f"applications[{index}].depends_on",
                )
    ordered: list[HostedApplication] = []

    def visit(application: HostedApplication, above: tuple[str, ...]) -> None:
        if application.id in above:
            cycle = " -> ".join([*above[above.index(application.id) :], application.id])
            tables.invalid(f"application dependency cycle: {cycle}", path, "applications.depends_on")
        if application not in ordered:
            for need in application.depends_on:
                visit(known[need], (*above, application.id))
            ordered.append(application)

    for application in applications:
        visit(application, ())
    return tuple(ordered)


def _check_host_consumes(applications: Sequence[HostedApplication]) -> None:
    """Check that every cross-application provider is offered by exactly one cell in reach."""
    known = {application.id: application for application in applications}
    for application in applications:
        reach = [
            (need, cell)
            for need in dict.fromkeys(application.depends_on)
            for cell in known[need].manifest.cells
        ]
        for cell in application.manifest.cells:
            for wanted in cell.host_consumes:
                found = [f"{need}/{other.name}" for need, other in reach if wanted in other.provides]
                if len(found) == 1:
                    continue
                problem = (
                    f"ambiguous among direct dependencies ({', '.join(found)}); leave exactly one"
                    if found
                    else f"not provided by a direct dependency of application {application.id!r}; "
                    "add it to `provides` of a cell there, or the application to `depends_on`"
                )
                tables.invalid(
                    f"cell {cell.name!r} host_consumes {wanted!r}: {problem}", cell.path, "host_consumes"
                )
