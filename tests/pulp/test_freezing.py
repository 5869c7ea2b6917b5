"""Cells that are frozen after ``pulp_init``, and those that better are not (docs/snapshots.md)."""

from __future__ import annotations

import json

import pytest

import guesthouse
import guesthouse.pulp as face
from guesthouse import snapshots
from guesthouse.cli import main
from guesthouse.engine import read
from guesthouse.engine.snapshot import MARK, SnapshotRefused, mark
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.freezing import OtherConfiguration, digest
from guesthouse.interfaces.pulp.spec import CellSpec

CONFIG = {"entries": 1000, "mode": "none"}


@pytest.fixture
def host():
    with guesthouse.Host(workers=1) as made:
        yield made


@pytest.fixture
def freeze(host, build):
    def freeze(source="prepared.c", config=CONFIG, **options):
        return snapshots.take(host, build(source).read_bytes(), "cell", config=config, **options)

    return freeze


@pytest.fixture
def load(surroundings):
    def load(wasm, config=CONFIG, **options):
        return face.Cell.load(CellSpec("cell", wasm, config=config, **options), face.registry())

    return load


def test_a_cell_begins_after_its_initialisation(freeze, load):
    taken = freeze()
    assert (taken.after, taken.short_of) == ("pulp_init", None)
    with load(taken.wasm) as cell:
        cell.init()
        assert cell.call("state") == b"1 1 0 1000 998001 0"
        cell.step()
        cell.reload()  # a fresh instance begins there, too
        assert cell.call("state") == b"1 1 0 1000 998001 0"
        cell.shutdown()


def test_only_the_configuration_that_it_has_seen_is_taken(freeze, load):
    wasm = freeze().wasm
    with load(wasm, {"mode": "none", "entries": 1000}) as cell:  # the order of keys means nothing
        cell.init()
        with pytest.raises(OtherConfiguration, match="frozen after pulp_init with another configuration"):
            cell.init({"entries": 1001, "mode": "none"})
        with pytest.raises(OtherConfiguration):
            cell.init({})
        with pytest.raises(OtherConfiguration):
            cell.init(b"no MessagePack")
        cell.init(codec.encode(CONFIG))
        assert cell.call("state") == b"1 1 0 1000 998001 0"
    bare = freeze(config={}).wasm
    with load(bare, {}) as cell:
        cell.init()
        assert cell.call("state") == b"1 1 0 0 0 0"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("route", "pulp_init calls pulp.http_register, whose effect no file can keep"),
        ("random", "pulp_init draws random bytes, which all instances would have in common"),
        ("fail", "pulp_init returned 7"),
        ("trap", "pulp_init failed: "),
        ("leave", "pulp_init left with code 0"),
    ],
)
def test_what_a_file_cannot_keep_is_done_at_every_start_and_said(freeze, load, mode, reason):
    config = {"entries": 3, "mode": mode}
    taken = freeze(config=config)
    assert taken.after == "its constructors"
    assert taken.short_of is not None and taken.short_of.startswith(reason)
    with load(taken.wasm, config, capabilities=("transport.http.inbound",)) as cell:
        cell.init({"entries": 5})  # any configuration: it has not seen one
        assert cell.call("state") == b"1 1 0 5 16 0"
    with pytest.raises(SnapshotRefused, match=reason):
        freeze(config=config, initialiser="pulp_init")


def test_lines_in_the_log_and_the_clock_do_not_matter(freeze, load):
    for mode, logged in (("log", 1), ("clock", 0)):
        config = {"entries": 1, "mode": mode}
        taken = freeze(config=config, grant=["log"])
        assert taken.short_of is None
        assert ("the time it read" in taken.fixed) is (mode == "clock")
        with load(taken.wasm, config, capabilities=("log",)) as cell:
            cell.init()
            assert cell.call("state") == b"1 1 0 1 0 %d" % logged


def test_a_go_cell_of_five_megabytes_begins_with_its_dictionary(freeze, load):
    taken = freeze("goprepared", {"name": "go"})
    assert (taken.after, taken.short_of) == ("pulp_init", None)
    assert len(taken.wasm) > 5 << 20
    for config in ({"name": "go"}, {"name": "other"}):
        with load(taken.wasm, config) as cell:
            if config["name"] == "other":
                with pytest.raises(OtherConfiguration):
                    cell.init()
                continue
            cell.init()
            for number in (7, 49_999):
                said = cell.call("look", b"word%d" % number)
                assert said == b"word%d is %d of 50000, initialised 1x" % (number, number)


def test_in_a_host_a_cell_is_frozen_as_it_is_loaded(host, build):
    cell = host.load(build("prepared.c"), name="p", config=CONFIG, snapshot=True)
    assert cell.call(entry="state") == b"1 1 0 1000 998001 0"
    assert mark(cell.info)["pulp_init"] == digest(codec.encode(CONFIG))
    routed = host.load(
        build("prepared.c"),
        name="r",
        config={"mode": "route"},
        snapshot=True,
        grant=["transport.http.inbound"],
    )
    assert "pulp_init" not in mark(routed.info)


def test_other_hosts_get_a_cell_that_initialises_no_second_time(freeze, load):
    """Whoever does not know of the mark calls ``pulp_init``; it answers 0, and does nothing."""
    wasm = freeze().wasm
    info = read(wasm)
    assert (info.exports["pulp_init"].params, info.exports["pulp_init"].results) == ("ii", "i")
    section = next(
        each for each in info.sections if each.id == 0 and MARK in info.custom and each.name == MARK
    )
    stripped = wasm[: section.offset] + wasm[section.start + section.size :]
    assert MARK not in read(stripped).custom
    with load(stripped) as cell:
        cell.init({"mode": "trap"})
        assert cell.call("state") == b"1 1 0 1000 998001 0"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pulp_init": 5}', b"\xff\xfe", b"7" * 5000])
def test_a_mark_that_nobody_wrote_means_nothing(build, load, content):
    name = MARK.encode()
    size = len(name) + 1 + len(content)
    header = bytes([size & 0x7F | 0x80, size >> 7]) if size > 127 else bytes([size])
    wasm = build("prepared.c").read_bytes() + b"\0" + header + bytes([len(name)]) + name + content
    with load(wasm) as cell:
        cell.init()
        assert cell.call("state") == b"1 1 0 1000 998001 0"


MANIFEST = """schema_version = 1
name = "prepared"
version = "1"
wasm = "{wasm}"
capabilities = ["log"]
[config]
entries = 9
mode = "log"
"""


def test_the_command_line_freezes_what_a_manifest_describes(build, tmp_path, capsys):
    manifest, frozen = tmp_path / "pulp.cell.toml", tmp_path / "frozen.wasm"
    manifest.write_text(MANIFEST.format(wasm=build("prepared.c")))
    assert main(["snapshot", str(manifest), "-o", str(frozen), "--init", "pulp_init"]) == 0
    assert "begins after pulp_init" in capsys.readouterr().out
    manifest.write_text(MANIFEST.format(wasm="frozen.wasm"))
    with face.Cell.load(manifest, face.registry()) as cell:
        cell.init()
        assert cell.call("state") == b"1 1 0 9 64 1"
    assert main(["check", str(manifest)]) == 0
    manifest.write_text(MANIFEST.format(wasm="frozen.wasm").replace("9", "8"))
    assert main(["check", str(manifest)]) == 125
    assert "another configuration" in capsys.readouterr().err
    with face.Cell.load(manifest, face.registry()) as cell, pytest.raises(OtherConfiguration):
        cell.init()


def test_the_command_line_says_why_it_went_no_further(build, tmp_path, capsys):
    (tmp_path / "config.toml").write_text('mode = "route"\n')
    given = [
        str(build("prepared.c")),
        "-o",
        str(tmp_path / "out.wasm"),
        "--config",
        str(tmp_path / "config.toml"),
    ]
    assert main(["snapshot", *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["after"] == "its constructors" and "http_register" in told["short_of"]
    assert main(["snapshot", *given]) == 0
    assert "not further, because pulp_init calls pulp.http_register" in capsys.readouterr().out
    assert main(["snapshot", *given, "--init", "pulp_init"]) == 125
    assert "http_register" in capsys.readouterr().err
    (tmp_path / "config.toml").write_text("mode = \n")
    assert main(["snapshot", *given]) == 125
    assert "config.toml" in capsys.readouterr().err


def test_a_manifest_that_pins_another_module_is_not_frozen(build, tmp_path, capsys):
    manifest = tmp_path / "pulp.cell.toml"
    pin = f'wasm_sha256 = "{"0" * 64}"\n[config]'
    manifest.write_text(MANIFEST.format(wasm=build("prepared.c")).replace("[config]", pin))
    assert main(["snapshot", str(manifest), "-o", str(tmp_path / "out.wasm")]) == 125
    assert "is pinned" in capsys.readouterr().err
