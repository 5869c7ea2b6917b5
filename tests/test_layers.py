"""The layers hold: import-linter's contracts, and the same rules for the Cython files that it cannot read."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w.]+))", re.MULTILINE)

#: Which packages a Cython file may draw on, by the package it lies in.
MAY_USE = {
    "engine": {"engine", "errors"},
    "resources": {"resources", "errors", "limits"},
    "calls": {"calls", "errors", "limits", "observe"},
    "interfaces": {"interfaces", "engine", "resources", "calls", "errors", "limits", "observe"},
    "testing": {"testing", "engine", "resources", "errors"},
    "bench": {"bench", "engine", "errors"},
}


#: Interfaces that build on WASI's descriptor table.
ON_WASI = {"wasix", "faasm"}

#: Files that may be longer than 500 lines, and up to where: C functions that are inlined into one another
#: have to share a file.
CEILINGS = {
    "src/guesthouse/engine/core.pyx": 540,
}


def imported(path):
    return {first or second for first, second in IMPORT.findall(path.read_text())}


def cython_files():
    return [
        pytest.param(path, id=str(path.relative_to(SOURCE / "guesthouse")))
        for path in sorted(SOURCE.rglob("*.p[yx][xdi]"))
        if path.suffix in {".pyx", ".pxd"}
    ]


def test_contracts_of_the_configuration_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    # It sets up a logging of its own, which silences all other loggers: tests after this one need ours.
    monkeypatch.setattr(logging.getLogger("guesthouse"), "disabled", False)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", cython_files())
def test_cython_files_keep_to_the_layers(path):
    parts = path.relative_to(SOURCE / "guesthouse").parts
    for name in imported(path):
        top, _, rest = name.partition(".")
        assert top != "wasmtime" or parts[0] == "engine", f"{path} imports {name}"
        if top == "guesthouse" and rest:
            steps = rest.split(".")
            assert steps[0] in MAY_USE[parts[0]], f"{path} imports {name}"
            if parts[0] == steps[0] == "interfaces" and len(steps) > 1:
                allowed = {parts[1], "contract"} | ({"wasi"} if parts[1] in ON_WASI else set())
                assert steps[1] in allowed, f"{path} imports {name}"


def test_no_module_is_too_long_to_live_in():
    for path in SOURCE.rglob("*"):
        if path.suffix in {".py", ".pyx", ".pxd"}:
            name = str(path.relative_to(ROOT))
            assert len(path.read_text().splitlines()) <= CEILINGS.get(name, 500), name


def test_nothing_below_the_top_leans_on_the_public_face():
    face = re.compile(r"^\s*(?:import guesthouse$|from guesthouse import (.*))", re.MULTILINE)
    modules = {path.stem for path in (SOURCE / "guesthouse").iterdir()}
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE / "guesthouse").parts[0] not in {"cli", "server", "__init__.py"}:
            for names in face.findall(path.read_text()):
                assert names and set(names.replace(" ", "").split(",")) <= modules, path
