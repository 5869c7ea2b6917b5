"""Large modules in files: the same declarations as from all bytes, and the file only where it is needed."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse.engine import Engine, outline, read, read_file, wat_to_wasm
from guesthouse.errors import InvalidModule, LoadError

TEXT = '(module (memory (export "memory") 40) (data (i32.const 0) "{data}") (func (export "f") (result i32) i32.const 9))'


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "large.wasm"
    path.write_bytes(wat_to_wasm(TEXT.format(data="x" * (2 << 20))))
    return path


def run(engine, info) -> int:
    with engine.compile(info).link({}).open() as instance:
        instance.start()
        return instance.invoke("f")


def test_the_outline_declares_what_the_bytes_declare(path):
    info, whole = read_file(path), read(path.read_bytes())
    assert info.file is not None
    assert (info.exports, info.memories, info.sections) == (whole.exports, whole.memories, whole.sections)
    assert info.sha256 == whole.sha256
    assert bytes(info.source) == path.read_bytes()


def test_a_second_start_reads_only_the_outline(path, tmp_path, monkeypatch):
    assert run(Engine(tmp_path / "cache"), read_file(path)) == 9
    monkeypatch.setattr(outline.ModuleFile, "read", lambda self: pytest.fail("the whole file was read"))
    second = Engine(tmp_path / "cache")
    assert run(second, read_file(path)) == 9
    assert second.compilations == 0


def test_a_changed_file_is_another_module(path, tmp_path):
    assert run(Engine(tmp_path / "cache"), read_file(path)) == 9
    path.write_bytes(path.read_bytes().replace(b"\x41\x09\x0b", b"\x41\x0a\x0b"))
    assert run(Engine(tmp_path / "cache"), read_file(path)) == 10


def test_a_file_that_changes_while_it_is_loaded_is_refused(path):
    info = read_file(path)
    os.truncate(path, 100)
    with pytest.raises(LoadError, match="was changed while"):
        Engine(False).compile(info)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_the_same_way(path, monkeypatch, data):
    monkeypatch.setattr("guesthouse.engine.modules.LARGE", 0)
    sound = bytearray(wat_to_wasm(TEXT.format(data="y" * 100)))
    for _ in range(data.draw(st.integers(1, 4))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    del sound[data.draw(st.integers(1, len(sound))) :]
    path.write_bytes(sound)
    outcomes = []
    for reader in (lambda: read_file(path), lambda: read(bytes(sound))):
        try:
            outcomes.append(reader().exports)
        except InvalidModule as error:
            outcomes.append((error.message, error.offset))
    assert outcomes[0] == outcomes[1]
