"""Writes applications and hosts to a folder, as their authors would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCRIPT = "-- the orchestrator's script\n"
DIGEST = hashlib.sha256(SCRIPT.encode()).hexdigest()


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return "'" + str(value) + "'"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value)


def table(keys: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())


def cell(folder: Path, name: str, built: Path, **keys: Any) -> Path:
    path = folder / f"{name}.cell.toml"
    path.write_text(table({"name": name, "version": "1", "wasm": built, **keys}))
    return path


def application(
    folder: Path,
    name: str,
    cells: Sequence[Path],
    *,
    placements: Sequence[Mapping[str, Any]] = (),
    **keys: Any,
) -> Path:
    """Write ``pulp.app.toml`` for cells of the same folder; the first one is the orchestrator."""
    (folder / "main.lua").write_text(SCRIPT)
    text = table({"name": name, "version": "1", "cells": [each.name for each in cells], **keys})
    text += "[orchestrator]\n" + table({"manifest": cells[0].name, "script": "main.lua", "sha256": DIGEST})
    for placement in placements:
        text += "[[cell_placements]]\n" + table(placement)
    path = folder / "pulp.app.toml"
    path.write_text(text)
    return path


def host(
    folder: Path, applications: Sequence[Mapping[str, Any]], routes: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write ``pulp.host.toml`` for applications in folders named after their ids."""
    text = table({"name": "house"})
    for keys in applications:
        name = keys["id"]
        own = {
            "manifest": f"{name}/pulp.app.toml",
            "storage_namespace": f"{name}-files",
            "event_namespace": name,
        }
        text += "[[applications]]\n" + table({**own, **keys})
    for keys in routes:
        text += "[[routes]]\n" + table(keys)
    path = folder / "pulp.host.toml"
    path.write_text(text)
    return path
