"""Whatever stands in a manifest, the answer is a manifest or a `ManifestError` (spec/pulp.md 4)."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pulp import folders

import guesthouse.pulp as face
from guesthouse.errors import LoadError, ManifestError
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, CellManifest, HostManifest, routing
from guesthouse.interfaces.pulp.manifest import application as application_module
from guesthouse.interfaces.pulp.manifest import cell as cell_module
from guesthouse.interfaces.pulp.manifest import host as host_module
from guesthouse.interfaces.pulp.manifest import placements as placements_module
from guesthouse.interfaces.pulp.spec import CellSpec

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DIGEST = hashlib.sha256(folders.SCRIPT.encode()).hexdigest()

scalars = st.one_of(
    st.sampled_from(
        ["", " ", "a", "lead", "worker", "lead.cell.toml", "../x", "/etc/passwd", "a@b", "a/b", "..", "\0"]
    ),
    st.sampled_from(
        ["never", "storage.sqlite", DIGEST, "0" * 64, "sha256:zz", "main.lua", "pulp.app.toml", "/a/../b"]
    ),
    st.text(max_size=6),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([-1, 0, 1, 2, 65_536, 1 << 40]),
    st.booleans(),
    st.floats(allow_nan=True),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def tables(keys, *, needed=()):
    """Tables of a manifest's own keys and sometimes another, with fitting and unfitting values."""
    sound = st.fixed_dictionaries({key: st.just(value) for key, value in needed})
    wild = st.dictionaries(st.sampled_from([*keys, "unknown", ""]), values, max_size=5)
    return st.builds(lambda base, over: {**base, **over}, sound, wild)


def accepted(load):
    """Return what is loaded, or nothing where it is refused with the file that is to blame."""
    try:
        return load()
    except ManifestError as error:
        if not error.file:
            raise
        return None


@QUICK
@given(tables(cell_module._KEYS, needed=[("name", "a"), ("version", "1")]))
def test_cells(table) -> None:
    manifest = accepted(lambda: CellManifest.from_table(table, Path("pulp.cell.toml")))
    assert manifest is None or CellSpec.of(manifest).name == manifest.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("lead", "worker"):
        folders.cell(tmp_path, name, tmp_path / "cell.wasm")
    (tmp_path / "cell.wasm").write_bytes(b"\0asm")
    folders.application(tmp_path, "shop", [tmp_path / "lead.cell.toml", tmp_path / "worker.cell.toml"])
    return tmp_path


ORCHESTRATOR = {"manifest": "lead.cell.toml", "script": "main.lua", "sha256": DIGEST}
placements = st.lists(tables(placements_module._KEYS, needed=[("cell", "worker")]), max_size=2)
applications = tables(
    application_module._KEYS,
    needed=[
        ("name", "a"),
        ("version", "1"),
        ("cells", ["lead.cell.toml", "worker.cell.toml"]),
        ("orchestrator", ORCHESTRATOR),
    ],
)
numbers = itertools.count()


@QUICK
@given(
    table=applications,
    placed=st.none() | placements,
    own=st.none() | tables(application_module._ORCHESTRATOR_KEYS),
)
def test_applications(folder, monkeypatch, table, placed, own) -> None:
    if placed is not None:
        table["cell_placements"] = placed
    if own is not None:
        table["orchestrator"] = {**ORCHESTRATOR, **own}
    monkeypatch.setattr(application_module.tables, "read", reading(table, folder / "wild.app.toml"))
    manifest = accepted(lambda: ApplicationManifest.load(folder / "wild.app.toml"))
    if manifest is None:
        return
    addresses = [CellSpec.placed(placement, manifest.name).name for placement in manifest.placements]
    assert len(set(addresses)) == len(addresses) >= 1


@QUICK
@given(
    own=st.lists(
        tables(
            host_module._APPLICATION_KEYS,
            needed=[
                ("manifest", "pulp.app.toml"),
                ("id", "a"),
                ("storage_namespace", "s"),
                ("event_namespace", "e"),
            ],
        ),
        max_size=2,
    ),
    routes=st.lists(tables(routing.ROUTE_KEYS, needed=[("path", "/a"), ("application", "a")]), max_size=2),
    table=tables(["name", "schema_version"], needed=[("name", "house")]),
)
def test_hosts(folder, monkeypatch, own, routes, table) -> None:
    table |= {"applications": own, "routes": routes}
    monkeypatch.setattr(host_module.tables, "read", reading(table, folder / "wild.host.toml"))
    manifest = accepted(lambda: HostManifest.load(folder / "wild.host.toml"))
    if manifest is None:
        return
    assert manifest.applications
    known = {(each.id, instance) for each in manifest.applications for instance in each.instances}
    assert all((route.application, route.instance) in known for route in manifest.routes)


def reading(table, wild: Path):
    """Stand in for the parser: the wild manifest is this table, all others are read from their files."""
    from guesthouse.interfaces.pulp.manifest import tables as module

    real = _real_read.setdefault("read", module.read)
    return lambda path: table if path == wild else real(path)


_real_read: dict[str, object] = {}


def test_a_nul_in_a_path_is_refused(folder) -> None:
    for key in ("script", "manifest"):
        text = folders.table({"name": "a", "version": "1", "cells": ["lead.cell.toml"]})
        text += "[orchestrator]\n" + folders.table({**ORCHESTRATOR, key: "x"}).replace("'x'", '"a\\u0000b"')
        (folder / "wild.app.toml").write_text(text)
        with pytest.raises(ManifestError):
            ApplicationManifest.load(folder / "wild.app.toml")
    (folder / "nul.cell.toml").write_text('name = "a"\nversion = "1"\nwasm = "a\\u0000b"')
    with pytest.raises(LoadError, match="read wasm"):
        face.Cell.load(folder / "nul.cell.toml")


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"a = ", b"[[[", b"a = 1\na = 2", b"x = " + b"[" * 5000, b"\0", b""]
)
@pytest.mark.parametrize("kind", [CellManifest, ApplicationManifest, HostManifest])
def test_files_that_are_no_toml(tmp_path, kind, data) -> None:
    path = tmp_path / "wild.toml"
    path.write_bytes(data)
    with pytest.raises(ManifestError) as caught:
        kind.load(path)
    assert caught.value.file == str(path)
    with pytest.raises(ManifestError, match="read manifest"):
        kind.load(tmp_path)
