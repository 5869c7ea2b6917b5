"""The application manifest: what is read, and that each refusal names file, line, key and cure."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse import manifest
from guesthouse.errors import ManifestError

FULL = """\
[app]
name = "shop"
tenant = "acme"

[guests.counter]
wasm = "bin/counter.wasm"
capabilities = [" Faasm.State ", "faasm.chain", "faasm.state"]
depends_on = ["stock"]
consumes = ["stock.count"]
restart = "never"
dirs = { "/data" = "files" }

[guests.counter.limits]
memory = "32MiB"
wall = "500ms"
fuel = 1000

[guests.counter.config]
greeting = "hello"
nested = { deep = [1, 2] }

[guests.stock]
wasm = "stock.wasm"
provides = ["stock.count"]
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="guesthouse.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_full_manifest(write, tmp_path):
    app = manifest.load(write(FULL))
    assert (app.app.name, app.app.tenant) == ("shop", "acme")
    assert [g.name for g in app.guests] == ["stock", "counter"]
    counter = app.guests[1]
    assert counter.wasm == tmp_path / "bin/counter.wasm"
    assert counter.capabilities == ("faasm.state", "faasm.chain")
    assert (counter.limits.memory, counter.limits.wall, counter.limits.fuel) == (32 << 20, 0.5, 1000)
    assert counter.config == {"greeting": "hello", "nested": {"deep": [1, 2]}}
    assert counter.dirs == {"/data": str(tmp_path / "files")}
    assert app.guests[0].limits.wall == 2.0


REFUSALS = [
    ('name = "x"\n', "name", "unknown key", 1),
    ("[app]\n", "app", "`name` is missing", 1),
    ('[app]\nname = ""\n', "app.name", "must not be blank", 2),
    ('[guests.a]\nwasm = "a"\n', None, "no [app] table", None),
    ('[app]\nname = "x"\n', None, "has no guests", None),
    ('[app]\nname = "x"\nnmae = 1\n', "app.nmae", "did you mean 'name'?", 3),
    ('[app]\nname = "x"\n[guest.a]\nwasm = "a"\n', "guest", "did you mean 'guests'?", 3),
    (
        '[app]\nname = "x"\n[guests.a]\nwasm = "a"\ncapabilites = []\n',
        "guests.a.capabilites",
        "'capabilities'",
        5,
    ),
    ('[app]\nname = "x"\n[guests.a]\nwasm = 7\n', "guests.a.wasm", "Expected str, got int", 4),
    ('[app]\nname = "x"\n[guests.a]\n\nprovides = []\n', "guests.a", "`wasm` is missing", 3),
    ('[app]\nname = "x"\n[guests.a]\nwasm = "a"\nsha256 = "abc"\n', "guests.a.sha256", "64 hex digits", 5),
    (
        '[app]\nname = "x"\n[guests.a]\nwasm = "a"\nrestart = "maybe"\n',
        "guests.a.restart",
        "never, on_crash, always",
        5,
    ),
    ('[app]\nname = "x"\n[guests."a b"]\nwasm = "a"\n', "guests.a b", "no space", 3),
    (
        '[app]\nname = "x"\n[guests.a]\nwasm = "a"\n[guests.a.limits]\nwall = "5 parsecs"\n',
        "guests.a.limits.wall",
        "is not a duration",
        6,
    ),
    (
        '[app]\nname = "x"\n[guests.a]\nwasm = "a"\nlimits.memroy = "5"\n',
        "guests.a.limits.memroy",
        "did you mean 'memory'?",
        5,
    ),
    (
        '[app]\nname = "x"\n[guests.web]\nwasm = "a"\ndepends_on = ["wbe"]\n[guests.b]\nwasm = "b"\n',
        "guests.web.depends_on",
        "no guest 'wbe'; did you mean 'web'?",
        5,
    ),
    ('[app]\nname = "x"\n[guests.a]\nwasm = "a"\ndepends_on = ["a"]\n', "guests.a.depends_on", "itself", 5),
    (
        '[app]\nname = "x"\n[guests.a]\nwasm = "a"\nconsumes = ["z"]\n',
        "guests.a.consumes",
        "no guest provides",
        5,
    ),
    (
        '[app]\nname = "x"\n[guests]\na={wasm = "a", depends_on = ["b"]}\nb={wasm="b", depends_on=["a"]}\n',
        "guests.a.depends_on",
        "dependency cycle among a, b",
        4,
    ),
]


@pytest.mark.parametrize(("text", "key", "words", "line"), REFUSALS)
def test_refusals_name_file_line_key_and_cure(write, text, key, words, line):
    path = write(text)
    with pytest.raises(ManifestError) as caught:
        manifest.load(path)
    assert (caught.value.file, caught.value.key) == (str(path), key)
    assert words in str(caught.value)
    assert (f"(line {line})" in str(caught.value)) == (line is not None)


def test_broken_toml_says_where(write):
    with pytest.raises(ManifestError, match=r"not valid TOML: .*line 2"):
        manifest.load(write('[app]\nname = "x\n'))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        manifest.load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"[app]\nname = '\xe9'")
    with pytest.raises(ManifestError, match="not UTF-8 at byte 14"):
        manifest.load(tmp_path / "latin.toml")


def test_pins_are_checked_against_the_file(write, tmp_path):
    module = b"\0asm\1\0\0\0"
    (tmp_path / "a.wasm").write_bytes(module)
    text = '[app]\nname = "x"\n[guests.a]\nwasm = "a.wasm"\nsha256 = "{}"\n'
    right = hashlib.sha256(module).hexdigest()
    assert manifest.load(write(text.format(right.upper()))).guests[0].read_module() == module
    wrong = manifest.load(write(text.format("0" * 64))).guests[0]
    with pytest.raises(ManifestError, match="is pinned") as caught:
        wrong.read_module()
    assert caught.value.key == "guests.a.sha256"


def test_a_missing_module_names_the_key(write):
    guest = manifest.load(write('[app]\nname = "x"\n[guests.a]\nwasm = "absent.wasm"\n')).guests[0]
    with pytest.raises(ManifestError, match=r"cannot read .*absent\.wasm") as caught:
        guest.read_module()
    assert caught.value.key == "guests.a.wasm"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("pulp.cell.toml", "", "pulp.cell"),
        ("echo.pulp.cell.toml", "", "pulp.cell"),
        ("pulp.app.toml", "", "pulp.app"),
        ("pulp.host.toml", "", "pulp.host"),
        ("guesthouse.toml", "", "guesthouse"),
        ("a.toml", '[app]\nname = "a"', "guesthouse"),
        ("a.toml", 'name = "a"\nversion = "1"', "pulp.cell"),
        ("a.toml", 'name = "a"\nversion = "1"\ncells = []', "pulp.app"),
        ("a.toml", 'name = "a"\n[[applications]]\nid = "a"', "pulp.host"),
    ],
)
def test_kinds_are_told_apart(write, name, text, kind):
    assert manifest.kind_of(write(text, name)) == kind


def test_what_is_no_manifest(write):
    with pytest.raises(ManifestError, match="neither"):
        manifest.kind_of(write("[tool]\nx = 1", "pyproject.toml"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_edit_raises_anything_but_manifest_error(write, data):
    lines = FULL.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(lines) - 1))
        spoiler = st.sampled_from(
            ["", "x = 1", "[guests]", "[app]", "wasm = [1]", "limits = 5", "env = {a = 1}"]
        )
        lines[where] = data.draw(
            spoiler | st.just(lines[where].replace('"', "")) | st.just(lines[where][::-1])
        )
    path = write("\n".join(lines))
    with contextlib.suppress(ManifestError):
        manifest.load(path)
