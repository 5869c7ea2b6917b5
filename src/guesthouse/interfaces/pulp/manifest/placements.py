"""Where the cells of an application are placed: ``[[cell_placements]]`` (spec/pulp.md 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp.manifest import tables
from guesthouse.interfaces.pulp.manifest.cell import CellManifest
from guesthouse.interfaces.pulp.manifest.tables import Kind

PRIMARY = "primary"

_KEYS = {
    "cell": Kind.STRING,
    "instances": Kind.COUNT_OR_STRINGS,
    "count": Kind.INTEGER,
    "aliases": Kind.STRINGS,
    "config": Kind.TABLE,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """One instance of a cell in an application.

    Attributes:
        manifest: the cell.
        instance: name of the instance.
        address: what siblings call it by: the cell's name, or ``cell@instance`` when it has several.
        config: the cell's configuration with the placement's own laid over it.
    """

    manifest: CellManifest
    instance: str
    address: str
    config: Mapping[str, Any] = field(default_factory=dict)


def placed(
    cells: Sequence[CellManifest], given: Sequence[Mapping[str, Any]], path: Path
) -> tuple[Placement, ...]:
    """Place cells as an application says; those it does not mention get one instance.

    Args:
        cells: the application's cells.
        given: its ``[[cell_placements]]``.
        path: the application manifest.

    Raises:
        ManifestError: an unknown or repeated cell, bad or repeated instance names, equal addresses.
    """
    for cell in cells:
        tables.directory(cell.name, cell.path, "name")
    known = {cell.name: cell for cell in cells}
    chosen: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {}
    for index, table in enumerate(given):
        prefix = f"cell_placements[{index}]."
        tables.check(table, _KEYS, path, prefix)
        name = tables.required(table, "cell", path, prefix)
        if name not in known:
            tables.invalid(
                f"{prefix}cell {name!r} is not a cell of the application; there are: {', '.join(known)}",
                path,
                f"{prefix}cell",
            )
        if name in chosen:
            tables.invalid(f"cell {name!r} is placed more than once; merge the tables", path, f"{prefix}cell")
        chosen[name] = _instances(table, path, prefix), table.get("config", {})
    placements = []
    for cell in cells:
        names, config = chosen.get(cell.name, ((PRIMARY,), {}))
        for name in names:
            address = cell.name if len(names) == 1 else f"{cell.name}@{name}"
            placements.append(Placement(cell, name, address, laid_over(cell.config, config)))
    _check_addresses(placements, path)
    return tuple(placements)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configurations: the upper one wins, tables are merged key by key."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = (
            laid_over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
        )
    return merged


def _instances(table: Mapping[str, Any], path: Path, prefix: str) -> tuple[str, ...]:
    """Return the names of a placement's instances; ``instances`` may be the names or their count."""
    instances, key = table.get("instances"), f"{prefix}instances"
    counts = [table["count"]] if "count" in table else []
    if isinstance(instances, int):
        counts.append(instances)
    if isinstance(instances, list) and "aliases" in table:
        tables.invalid(f"{prefix}aliases repeat what {key} says; keep one of them", path, f"{prefix}aliases")
    if len(counts) == 2 and counts[0] != counts[1]:
        tables.invalid(f"{key} and {prefix}count contradict one another; keep one of them", path, key)
    named = instances if isinstance(instances, list) else table.get("aliases")
    if counts and counts[0] < 1:
        tables.invalid(f"{key} must be at least 1, not {counts[0]}", path, key)
    if named is None:
        return tuple(str(number + 1) for number in range(counts[0])) if counts else (PRIMARY,)
    return _names(named, counts, path, key)


def _names(named: Sequence[str], counts: Sequence[int], path: Path, key: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in named)
    if counts and counts[0] != len(names):
        tables.invalid(
            f"{key}: count {counts[0]} must equal the number of names given, {len(names)}", path, key
        )
    if not names:
        tables.invalid(f"{key} must name at least one instance", path, key)
    for index, name in enumerate(names):
        if not name:
            tables.invalid(f"{key}[{index}] is blank; name the instance or remove it", path, key)
        if "@" in name:
            tables.invalid(f"{key}: the name {name!r} must not contain '@'", path, key)
        tables.directory(name, path, key)
        if name in names[:index]:
            tables.invalid(f"{key}: duplicate instance {name!r}; rename one", path, key)
    return names


def _check_addresses(placements: Sequence[Placement], path: Path) -> None:
    seen: dict[str, Placement] = {}
    for placement in placements:
        other = seen.setdefault(placement.address, placement)
        if other is not placement:
            tables.invalid(
                f"the address {placement.address!r} is given to {other.manifest.name!r} and to "
                f"{placement.manifest.name!r}; rename a cell or an instance",
                path,
                "cell_placements",
            )
