"""The application manifest, ``pulp.app.toml`` (spec/pulp.md 4.3)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest import tables
from guesthouse.interfaces.pulp.manifest.batch import boot_order
from guesthouse.interfaces.pulp.manifest.cell import CellManifest
from guesthouse.interfaces.pulp.manifest.placements import Placement, laid_over, placed
from guesthouse.interfaces.pulp.manifest.tables import Kind

SCRIPT = "script"

_KEYS = {
    "schema_version": Kind.INTEGER,
    "name": Kind.STRING,
    "version": Kind.STRING,
    "cells": Kind.STRINGS,
    "require_wasm_sha256": Kind.BOOLEAN,
    "orchestrator": Kind.TABLE,
    "cell_placements": Kind.TABLES,
}
_ORCHESTRATOR_KEYS = {"manifest": Kind.STRING, "script": Kind.STRING, "sha256": Kind.STRING}


@dataclass(frozen=True, slots=True)
class ApplicationManifest:
    """One application: cells that belong together, and the script that its orchestrator runs.

    Attributes:
        path: the manifest file.
        name, version: as declared.
        cells: the cells in boot order, pins checked.
        placements: their instances in boot order, configuration and script laid in.
        orchestrator: name of the cell that gets the script.
        require_wasm_sha256: whether every cell has to pin its module.
    """

    path: Path
    name: str
    version: str
    cells: tuple[CellManifest, ...]
    placements: tuple[Placement, ...]
    orchestrator: str
    require_wasm_sha256: bool = False

    @classmethod
    def load(cls, path: str | Path) -> ApplicationManifest:
        """Read an application with its cells, its script and their digests.

        Raises:
            ManifestError: with the file, the key and what would mend it.
        """
        path = Path(path)
        table = tables.read(path)
        tables.check(table, _KEYS, path)
        tables.schema_version(table, path)
        name = tables.directory(tables.required(table, "name", path), path, "name")
        version = tables.required(table, "version", path)
        files = _cell_files(table, path)
        pinned = table.get("require_wasm_sha256", False)
        cells = [_cell(path.parent / file, pinned) for file in files]
        manifest, script = _orchestrator(table, path)
        if manifest not in files:
            tables.invalid(
                f"orchestrator.manifest {manifest!r} must be one of `cells`: {', '.join(files)}",
                path,
                "orchestrator.manifest",
            )
        ordered = boot_order(cells, strict_links=True)
        conductor = cells[files.index(manifest)].name
        placements = placed(ordered, table.get("cell_placements", ()), path)
        own = [placement for placement in placements if placement.manifest.name == conductor]
        if len(own) != 1:
            tables.invalid(
                f"the orchestrator {conductor!r} must have exactly one placement, not {len(own)}",
                path,
                "cell_placements",
            )
        return cls(
            path=path,
            name=name,
            version=version,
            cells=ordered,
            placements=tuple(_scripted(each, script) if each is own[0] else each for each in placements),
            orchestrator=conductor,
            require_wasm_sha256=pinned,
        )


def _cell_files(table: Mapping[str, Any], path: Path) -> list[str]:
    """Return the paths of the cell manifests, as written but without detours such as ``./``."""
    files = [file.strip() for file in table.get("cells", ())]
    if not files:
        tables.invalid("cells must name at least one cell manifest", path, "cells")
    clean = [_relative(file, path, f"cells[{index}]") for index, file in enumerate(files)]
    for index, file in enumerate(clean):
        if file in clean[:index]:
            tables.invalid(f"cells[{index}] {file!r} is a duplicate; remove one", path, f"cells[{index}]")
    return clean


def _relative(file: str, path: Path, key: str) -> str:
    if not file:
        tables.invalid(f"{key} is blank; name a file or remove it", path, key)
    if PurePosixPath(file).is_absolute():
        tables.invalid(f"{key} {file!r} must be relative to the manifest's directory", path, key)
    return str(PurePosixPath(file))


def _cell(path: Path, pinned: bool) -> CellManifest:
    """Read a cell manifest and compare its module with the digest that it pins."""
    cell = CellManifest.load(path)
    if not cell.wasm_sha256:
        if pinned:
            tables.invalid(
                "wasm_sha256 is required by the application (require_wasm_sha256); pin the module",
                path,
                "wasm_sha256",
            )
        return cell
    try:
        found = tables.sha256(cell.wasm)
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"read wasm: {cell.wasm}: {tables.reason(error)}", file=str(path), key="wasm"
        ) from None
    if found != cell.wasm_sha256:
        tables.invalid(
            f"wasm_sha256 does not match {cell.wasm.name}, whose digest is {found}; rebuild or pin that one",
            path,
            "wasm_sha256",
        )
    return cell


def _orchestrator(table: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Return the orchestrator's manifest path and the script, whose digest has been compared."""
    own = table.get("orchestrator", {})
    tables.check(own, _ORCHESTRATOR_KEYS, path, "orchestrator.")
    manifest, script, pin = (
        tables.required(own, key, path, "orchestrator.") for key in ("manifest", "script", "sha256")
    )
    wanted = tables.digest(pin, path, "orchestrator.sha256")
    file = path.parent / _relative(script, path, "orchestrator.script")
    try:
        data = file.read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"read script: not UTF-8 at byte {error.start}", file=str(file)) from None
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"read script: {tables.reason(error)}", file=str(file), key="orchestrator.script"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        tables.invalid(
            f"orchestrator.sha256 does not match {file.name}, whose digest is {found}; "
            "restore the script or pin that one",
            path,
            "orchestrator.sha256",
        )
    return _relative(manifest, path, "orchestrator.manifest"), text


def _scripted(placement: Placement, script: str) -> Placement:
    return dataclasses.replace(placement, config=laid_over(placement.config, {SCRIPT: script}))
