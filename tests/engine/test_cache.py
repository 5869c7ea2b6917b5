"""The compile cache: once, privately, and never from what somebody else could have written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from guesthouse.engine import Engine, wat_to_wasm, wheel
from guesthouse.errors import InvalidModule, LoadError, ResourceError

WASM = wat_to_wasm('(module (func (export "f") (result i32) i32.const 41))')

#: One function of type () -> (), whose body leaves a number on the stack.
WRONG_BODY = bytes.fromhex("0061736d01000000010401600000030201000a0601040041000b")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


def fresh(directory) -> Engine:
    return Engine(directory)


def run(engine: Engine) -> int:
    with engine.compile(WASM).link({}).open() as instance:
        instance.start()
        return instance.invoke("f")


def code_file(directory):
    (path,) = directory.glob("*.code")
    return path


def test_a_second_engine_takes_it_from_disk(directory):
    assert run(fresh(directory)) == 41
    second = fresh(directory)
    assert second.compile(WASM).cached
    assert second.compilations == 0
    assert run(second) == 41


def test_the_directory_is_private(directory):
    run(fresh(directory))
    assert directory.stat().st_mode & 0o777 == 0o700
    assert code_file(directory).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720])
def test_a_directory_that_others_can_write_to_is_refused(directory, mode):
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(LoadError, match="writable by others"):
        Engine(directory)


def test_a_place_where_no_directory_can_be_is_refused(directory):
    directory.write_bytes(b"")
    with pytest.raises(LoadError, match="cannot be used"):
        Engine(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(directory):
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    with pytest.raises(LoadError, match="belongs to another user"):
        Engine(directory)


@pytest.mark.parametrize("damage", ["truncate", "garbage", "flip", "empty", "no note", "bad note"])
def test_a_damaged_entry_is_compiled_again(directory, damage):
    run(fresh(directory))
    path = code_file(directory)
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(os.urandom(5000))
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no note":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text("[]")
    again = fresh(directory)
    assert run(again) == 41
    assert again.compilations == 1
    assert fresh(directory).compile(WASM).cached


def test_a_link_in_place_of_an_entry_is_not_followed(directory, tmp_path):
    run(fresh(directory))
    path = code_file(directory)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    again = fresh(directory)
    assert run(again) == 41
    assert again.compilations == 1


def test_an_entry_that_others_can_write_to_is_thrown_away(directory):
    run(fresh(directory))
    code_file(directory).chmod(0o666)
    again = fresh(directory)
    assert run(again) == 41
    assert again.compilations == 1


def test_a_copied_cache_is_checked_by_digest_and_kept(directory, tmp_path):
    run(fresh(directory))
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for path in directory.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(0o600)
    assert fresh(copy).compile(WASM).cached


def test_many_waiters_share_one_compilation(directory):
    engine = fresh(directory)
    modules: list[object] = []
    threads = [threading.Thread(target=lambda: modules.append(engine.compile(WASM))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.compilations == 1
    assert len(set(map(id, modules))) == 1


def test_metered_code_is_another_entry(directory):
    engine = fresh(directory)
    engine.compile(WASM)
    assert not engine.compile(WASM, metered=True).cached


def test_without_a_cache_everything_works(tmp_path):
    assert run(Engine(False)) == 41


def test_progress_is_reported_while_compiling(directory):
    functions = "".join(
        f'(func (export "f{i}") (param i32) (result i32)' + "(i32.mul (local.get 0) (i32.const 3))" * 40
        + "(drop)" * 39 + ")" for i in range(4000)
    )  # fmt: skip
    reports: list[float] = []
    fresh(directory).compile(wat_to_wasm(f"(module {functions})"), progress=reports.append)
    assert reports == sorted(reports)
    assert reports


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("(module (func (result i32)))", 24, "type mismatch: expected i32 but nothing on stack"),
        ("(module (func call 7))", 23, "unknown function 7"),
        ("(module (memory i64 1))", 11, "memory64 must be enabled"),
        ("(module (memory 1 1 shared))", 11, "threads must be enabled"),
    ],
)
def test_what_the_engine_refuses_is_told_in_its_words_and_with_its_offset(engine, text, offset, words):
    with pytest.raises(InvalidModule, match=words) as caught:
        engine.compile(wat_to_wasm(text))
    assert caught.value.offset == offset
    assert str(caught.value).endswith(f"(at byte offset {offset:#x})")
    assert str(caught.value).count("offset") == 1


def test_a_module_too_large_for_the_pool_runs_outside_it(engine):
    module = engine.compile(
        wat_to_wasm('(module (table 300000 funcref) (func (export "f") (result i32) i32.const 1))')
    )
    assert "table" in module.misfit
    with module.link({}).open() as instance:
        instance.start()
        assert instance.invoke("f") == 1


@pytest.mark.parametrize("version", ["49.0.0", "51.0.0", "x"])
def test_an_unknown_wheel_is_refused_with_what_is_needed(version):
    with pytest.raises(ImportError, match="wasmtime>=50,<51"):
        wheel.check_version(version)


def test_an_absent_symbol_is_refused_with_what_is_needed():
    with pytest.raises(ImportError, match="does not export wasmtime_no_such"):
        wheel.symbols(["wasmtime_no_such"])


def test_a_full_pool_is_told_and_empties_again():
    engine = Engine(False, slots=16)
    template = engine.compile(WASM).link({})
    held = [template.open() for _ in range(17)]
    for instance in held[:16]:
        instance.start()
    with pytest.raises(ResourceError, match="all 16 places for instances are taken"):
        held[16].start()
    for instance in held:
        instance.close()
    assert run(engine) == 41


def test_hosts_that_fill_the_address_space_do_without_a_pool_and_nothing_aborts(tmp_path):
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (24 << 40, 24 << 40))
from guesthouse.engine import Engine, wat_to_wasm
wasm = wat_to_wasm('(module (memory 1) (func (export "f") (result i32) i32.const 7))')
engines, pooled = [], []
for number in range(10):
    engines.append(Engine(False))
    for metered in (False, True):
        module = engines[-1].compile(wasm, metered=metered)
        with module.link({}).open() as instance:
            instance.start()
            assert instance.invoke("f") == 7
        pooled.append(module.misfit is None)
assert pooled[0], pooled
assert pooled == sorted(pooled, reverse=True), pooled
engines[0].close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
