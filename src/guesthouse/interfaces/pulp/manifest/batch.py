"""A set of cell manifests that start together: checks and boot order (spec/pulp.md 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest.cell import CellManifest


def load_batch(paths: Iterable[str | Path], *, strict_links: bool = False) -> tuple[CellManifest, ...]:
    """Read several cell manifests and return them in boot order.

    Args:
        paths: the manifest files.
        strict_links: the later permission rule, see `check_links`.

    Raises:
        ManifestError: any of them is malformed, or they do not fit together.
    """
    return boot_order([CellManifest.load(path) for path in paths], strict_links=strict_links)


def boot_order(cells: Sequence[CellManifest], *, strict_links: bool = False) -> tuple[CellManifest, ...]:
    """Check that manifests fit together and order them by ``depends_on``.

    Cells that may start at the same time keep the order they were given in.

    Raises:
        ManifestError: no manifests, a name twice, an unknown, own or cyclic dependency, a broken link.
    """
    if not cells:
        raise ManifestError("no manifests; name at least one pulp.cell.toml")
    by_name: dict[str, CellManifest] = {}
    for cell in cells:
        other = by_name.setdefault(cell.name, cell)
        if other is not cell:
            raise ManifestError(
                f"duplicate cell name {cell.name!r}: declared by {other.path} and {cell.path}; rename one",
                file=str(cell.path),
                key="name",
            )
    for cell in cells:
        _check_dependencies(cell, by_name)
    ordered = _sorted(cells)
    check_links(cells, strict=strict_links)
    return ordered


def check_links(cells: Sequence[CellManifest], *, strict: bool = False) -> None:
    """Check that every ``consumes`` entry has somebody behind it.

    Args:
        cells: all cells of the set.
        strict: the later rule: exactly one cell provides the exact name. Without it, the name of a cell
            or of anything it provides will do (Pulp v0.2.0).

    Raises:
        ManifestError: nobody provides the name, or (strict) several do.
    """
    names = {cell.name for cell in cells}
    providers: dict[str, list[str]] = {}
    for cell in cells:
        for name in cell.provides:
            providers.setdefault(name, []).append(cell.name)
    for cell in cells:
        for name in cell.consumes:
            found = providers.get(name, [])
            if strict and len(found) > 1:
                raise _link(cell, name, f"ambiguous providers ({', '.join(found)}); leave exactly one")
            if not found and (strict or name not in names):
                raise _link(
                    cell, name, "no cell provides that exact provider; add it to the `provides` of one"
                )


def _link(cell: CellManifest, name: str, message: str) -> ManifestError:
    return ManifestError(
        f"cell {cell.name!r} consumes {name!r}: {message}", file=str(cell.path), key="consumes"
    )


def _check_dependencies(cell: CellManifest, by_name: dict[str, CellManifest]) -> None:
    for name in cell.depends_on:
        if name == cell.name:
            raise ManifestError(
                f"cell {cell.name!r} depends on itself; remove the entry",
                file=str(cell.path),
                key="depends_on",
            )
        if name not in by_name:
            raise ManifestError(
                f"cell {cell.name!r} depends on {name!r}, which is not among the manifests; "
                f"there are: {', '.join(sorted(by_name))}",
                file=str(cell.path),
                key="depends_on",
            )


def _sorted(cells: Sequence[CellManifest]) -> tuple[CellManifest, ...]:
    """Order by Kahn's algorithm, declaration order among equals."""
    done: set[str] = set()
    ordered: list[CellManifest] = []
    waiting = list(cells)
    while waiting:
        ready = [cell for cell in waiting if done.issuperset(cell.depends_on)]
        if not ready:
            names = ", ".join(sorted(cell.name for cell in waiting))
            raise ManifestError(
                f"dependency cycle involving: {names}", file=str(waiting[0].path), key="depends_on"
            )
        ordered += ready
        done.update(cell.name for cell in ready)
        waiting = [cell for cell in waiting if cell.name not in done]
    return tuple(ordered)
