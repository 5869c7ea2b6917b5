"""The guest builder: right modules, cached, safe under several processes, honest about failures."""

from __future__ import annotations

import multiprocessing

import pytest

from guesthouse.engine import read
from guesthouse.errors import InvalidModule
from guesthouse.testing import guests

ADD = """
__attribute__((export_name("add"))) int add(int a, int b) { return a + b; }
"""


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GUESTHOUSE_GUEST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "add.c"
    path.write_text(ADD)
    return path


def test_c_source_becomes_a_module_and_is_found_again(source):
    first = guests.build(source, flavour="bare")
    stamp = first.stat().st_mtime_ns
    assert first.read_bytes().startswith(b"\0asm")
    assert guests.build(source, flavour="bare") == first
    assert first.stat().st_mtime_ns == stamp


def test_another_flag_source_or_header_is_another_module(source):
    built = {guests.build(source, flavour="bare"), guests.build(source, flavour="bare", flags=["-DX"])}
    source.write_text(ADD + "\n")
    built.add(guests.build(source, flavour="bare"))
    source.with_name("extra.h").write_text("#define Y 1\n")
    built.add(guests.build(source, flavour="bare"))
    assert len(built) == 4


def test_compiler_output_is_in_the_error(source):
    source.write_text("int broken( {")
    with pytest.raises(guests.BuildError, match="expected") as caught:
        guests.build(source, flavour="bare")
    assert "add.c" in str(caught.value) and "ziglang" in str(caught.value)
    assert not list(guests.cache_dir().glob("*/*.wasm"))


def test_directive_in_the_source_chooses_the_flavour(source):
    source.write_text("// build: bare -DZERO=0\n" + ADD.replace("a + b", "a + b + ZERO"))
    assert guests.build(source) == guests.build(source, flavour="bare")


def test_a_main_makes_a_command_and_everything_else_a_reactor(source):
    exports = read(guests.build(source).read_bytes()).exports
    assert "_start" not in exports and "add" in exports
    source.write_text(ADD + "int main(void) { return 3; }\n")
    assert "_start" in read(guests.build(source).read_bytes()).exports


def test_a_module_keeps_the_name_of_its_source(source):
    assert guests.build(source, flavour="bare").stem == "add"


def test_unknown_flavour_names_the_known_ones(source):
    with pytest.raises(guests.BuildError, match="reactor"):
        guests.build(source, flavour="cake")


def test_missing_source_is_named(tmp_path):
    with pytest.raises(guests.BuildError, match=r"nothing\.c"):
        guests.build(tmp_path / "nothing.c")


def test_text_format_in_place_and_from_a_file(tmp_path):
    path = tmp_path / "empty.wat"
    path.write_text("(module)")
    assert guests.build(path).read_bytes() == guests.wat("(module)") == b"\0asm\x01\0\0\0"
    with pytest.raises(InvalidModule, match="expected"):
        guests.wat("(modul)")


def _build_it(path):
    return str(guests.build(path, flavour="bare"))


def test_many_processes_at_once_build_it_once(source):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        paths = pool.map(_build_it, [source] * 4)
    assert len(set(paths)) == 1
    assert len(list(guests.cache_dir().glob("*/*.wasm"))) == 1
    assert not list(guests.cache_dir().glob(".build-*"))


def test_all_sources_are_single_files_and_folders_that_are_go_modules(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    for name in ("a/one.c", "a/two.go", "a/note.md", "b/go.mod", "b/main.go", "b/more.go", "c.wat"):
        path = tmp_path / "guests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    found = [str(path.relative_to(tmp_path / "guests")) for path in guests._all_sources()]
    assert found == ["a/one.c", "a/two.go", "c.wat", "b"]


def test_outside_of_a_checkout_paths_count_from_here_and_headers_are_those_installed(tmp_path, monkeypatch):
    (tmp_path / "tiny.c").write_text('#include "tiny.h"\n' + ADD)
    (tmp_path / "tiny.h").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(guests, "__file__", str(tmp_path / "site-packages/guesthouse/testing/guests.py"))
    assert guests.build("tiny.c", flavour="bare").read_bytes().startswith(b"\0asm")
    assert guests.headers().parts[-3:] == ("share", "guesthouse", "sdk")
    monkeypatch.undo()
    assert (guests.headers() / "grafos.h").is_file()
