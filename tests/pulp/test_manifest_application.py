"""Application manifests (spec/pulp.md 4.3, acceptance case 8)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest import ApplicationManifest

SCRIPT = "return 'ünïcode'\n"
DIGEST = hashlib.sha256(SCRIPT.encode()).hexdigest()
HEAD = 'name = "shop"\nversion = "1"\ncells = ["lead.toml", "cells/worker.toml"]\n'
LEAD = f'[orchestrator]\nmanifest = "lead.toml"\nscript = "main.lua"\nsha256 = "{DIGEST}"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cells").mkdir()
    (tmp_path / "main.lua").write_text(SCRIPT)
    cell(tmp_path / "lead.toml", "lead", '[config]\nmode = "fast"\n[config.limits]\nlow = 1\n')
    cell(
        tmp_path / "cells" / "worker.toml",
        "worker",
        '[config]\nkeep = 1\n[config.db]\nhost = "a"\nport = 5\n',
    )
    return tmp_path


def cell(path: Path, name: str, extra: str = "") -> None:
    path.write_text(f'name = "{name}"\nversion = "1"\n{extra}')
    (path.parent / "cell.wasm").write_bytes(b"\0asm")


def load(folder: Path, text: str = HEAD + LEAD) -> ApplicationManifest:
    path = folder / "pulp.app.toml"
    path.write_text(text)
    return ApplicationManifest.load(path)


def test_case_08_the_script_is_injected_without_losing_other_configuration(folder) -> None:
    app = load(folder)
    assert [each.address for each in app.placements] == ["lead", "worker"]
    assert app.placements[0].config == {"mode": "fast", "limits": {"low": 1}, "script": SCRIPT}
    assert app.placements[1].config == {"keep": 1, "db": {"host": "a", "port": 5}}
    assert {each.instance for each in app.placements} == {"primary"}
    assert (app.name, app.version, app.orchestrator) == ("shop", "1", "lead")


def test_case_08_placements_have_addresses_and_configuration_of_their_own(folder) -> None:
    app = load(
        folder,
        HEAD
        + LEAD
        + '[[cell_placements]]\ncell = "worker"\ninstances = ["a", "b"]\nconfig = {db = {host = "z"}}\n',
    )
    assert [each.address for each in app.placements] == ["lead", "worker@a", "worker@b"]
    assert app.placements[1].config == {"keep": 1, "db": {"host": "z", "port": 5}}


@pytest.mark.parametrize(
    ("keys", "addresses"),
    [
        ("instances = 3", ["worker@1", "worker@2", "worker@3"]),
        ("count = 2", ["worker@1", "worker@2"]),
        ('instances = 2\naliases = ["x", "y"]', ["worker@x", "worker@y"]),
        ('count = 2\naliases = ["x", "y"]', ["worker@x", "worker@y"]),
        ('count = 2\ninstances = ["x", "y"]', ["worker@x", "worker@y"]),
        ('instances = ["only"]', ["worker"]),
        ("", ["worker"]),
    ],
)
def test_instances_are_counted_or_named(folder, keys, addresses) -> None:
    app = load(folder, HEAD + LEAD + f'[[cell_placements]]\ncell = "worker"\n{keys}\n')
    assert [each.address for each in app.placements[1:]] == addresses


PLACED = HEAD + LEAD + '[[cell_placements]]\ncell = "worker"\n'


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("name = 'a'\nversion = '1'\n" + LEAD, "cells", "at least one cell manifest"),
        ("version = '1'\ncells = ['lead.toml']\n" + LEAD, "name", "name is required"),
        ("name = 'a'\ncells = ['lead.toml']\n" + LEAD, "version", "version is required"),
        ("schema_version = 2\n" + HEAD + LEAD, "schema_version", "newer than host supports"),
        ("color = 1\n" + HEAD + LEAD, "color", "unknown manifest fields: color"),
        (HEAD.replace("cells/worker", "./lead") + LEAD, "cells[1]", "'lead.toml' is a duplicate"),
        (HEAD.replace("cells/worker", "/cells/worker") + LEAD, "cells[1]", "must be relative"),
        (HEAD.replace("cells/worker.toml", " ") + LEAD, "cells[1]", "is blank"),
        (HEAD, "orchestrator.manifest", "orchestrator.manifest is required"),
        (HEAD + LEAD.replace("script =", "scrypt ="), "orchestrator.scrypt", "did you mean scrypt -> script"),
        (HEAD + "[orchestrator]\nmanifest = 'lead.toml'\nscript = 'main.lua'", "orchestrator.sha256", "is required"),
        (HEAD + LEAD.replace("main.lua", "/main.lua"), "orchestrator.script", "must be relative"),
        (HEAD + LEAD.replace("main.lua", "none.lua"), "orchestrator.script", "read script: No such file"),
        (HEAD + LEAD.replace(DIGEST, "0" * 64), "orchestrator.sha256", f"whose digest is {DIGEST}"),
        (HEAD + LEAD.replace(DIGEST, "abc"), "orchestrator.sha256", "64 hexadecimal digits"),
        (HEAD + LEAD.replace('"lead.toml"', '"other.toml"'), "orchestrator.manifest", "must be one of `cells`"),
        (PLACED + 'instances = ["a", "a"]', "cell_placements[0].instances", "duplicate instance 'a'"),
        (PLACED + 'instances = ["a@b"]', "cell_placements[0].instances", "must not contain '@'"),
        (PLACED + 'instances = [" "]', "cell_placements[0].instances", "is blank"),
        (PLACED + "instances = []", "cell_placements[0].instances", "at least one"),
        (PLACED + "instances = 0", "cell_placements[0].instances", "at least 1"),
        (PLACED + "instances = 1.5", "cell_placements[0].instances", "an integer or an array of strings"),
        (PLACED + 'instances = 3\naliases = ["a"]', "cell_placements[0].instances", "count 3 must equal"),
        (PLACED + 'count = 3\ninstances = ["a"]', "cell_placements[0].instances", "count 3 must equal"),
        (PLACED + 'instances = ["a"]\naliases = ["b"]', "cell_placements[0].aliases", "keep one"),
        (PLACED + "instances = 1\ncount = 2", "cell_placements[0].instances", "contradict"),
        (PLACED + "sise = 1", "cell_placements[0].sise", "unknown manifest fields"),
        (PLACED + '[[cell_placements]]\ncell = "worker"', "cell_placements[1].cell", "placed more than once"),
        (HEAD + LEAD + '[[cell_placements]]\ncell = "ghost"', "cell_placements[0].cell", "lead, worker"),
        (HEAD + LEAD + "[[cell_placements]]\n", "cell_placements[0].cell", "is required"),
        (HEAD + LEAD + '[[cell_placements]]\ncell = "lead"\ninstances = 2', "cell_placements", "exactly one placement"),
    ],
)  # fmt: skip
def test_case_08_every_fault_names_the_file_the_key_and_the_cure(folder, text, key, message) -> None:
    with pytest.raises(ManifestError) as caught:
        load(folder, text)
    assert message in str(caught.value)
    assert caught.value.key == key
    assert caught.value.file is not None


def test_case_08_duplicate_cell_names_and_addresses_are_rejected(folder) -> None:
    cell(folder / "cells" / "worker.toml", "lead")
    with pytest.raises(ManifestError, match="duplicate cell name 'lead'"):
        load(folder)
    cell(folder / "cells" / "worker.toml", "worker")
    cell(folder / "cells" / "third.toml", "worker@a")
    text = HEAD.replace('"cells/worker.toml"', '"cells/worker.toml", "cells/third.toml"') + LEAD
    with pytest.raises(ManifestError, match="address 'worker@a' is given to 'worker' and to 'worker@a'"):
        load(folder, text + '[[cell_placements]]\ncell = "worker"\ninstances = ["a", "b"]\n')


def test_case_08_a_pinned_module_must_be_what_was_pinned(folder) -> None:
    wasm = folder / "cells" / "cell.wasm"
    pin = hashlib.sha256(wasm.read_bytes()).hexdigest()
    cell(folder / "cells" / "worker.toml", "worker", f'wasm_sha256 = "SHA256:{pin.upper()}"\n')
    assert load(folder).cells[1].wasm_sha256 == pin
    wasm.write_bytes(b"\0asm tampered")
    with pytest.raises(ManifestError, match="wasm_sha256 does not match cell.wasm") as caught:
        load(folder)
    assert (Path(caught.value.file or "").name, caught.value.key) == ("worker.toml", "wasm_sha256")
    wasm.unlink()
    with pytest.raises(ManifestError, match="read wasm"):
        load(folder)


def test_case_08_pins_can_be_required(folder) -> None:
    with pytest.raises(ManifestError, match="wasm_sha256 is required by the application") as caught:
        load(folder, "require_wasm_sha256 = true\n" + HEAD + LEAD)
    assert caught.value.key == "wasm_sha256"
    for path in (folder / "lead.toml", folder / "cells" / "worker.toml"):
        pin = hashlib.sha256((path.parent / "cell.wasm").read_bytes()).hexdigest()
        path.write_text(f'wasm_sha256 = "{pin}"\n' + path.read_text())
    assert load(folder, "require_wasm_sha256 = true\n" + HEAD + LEAD).require_wasm_sha256


def test_links_between_cells_follow_the_later_rule(folder) -> None:
    cell(folder / "cells" / "worker.toml", "worker", 'consumes = ["lead"]\n')
    with pytest.raises(ManifestError, match="no cell provides that exact provider"):
        load(folder)
