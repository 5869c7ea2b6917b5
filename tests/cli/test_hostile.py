"""Whatever is wrong with a command line, a file or the machine: one clear message, the right exit code."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import guesthouse
from guesthouse.cli import main
from guesthouse.engine import Engine, cache, wat_to_wasm
from guesthouse.engine import compile as compiling

START = '(module (func (export "_start")))'
APPLICATION = '[app]\nname = "x"\n[guests.a]\nwasm = "ok.wat"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "ok.wat": START.encode(),
        "bad.wat": b"(module\n  (fun))",
        "bytes.wat": b"\xff\xfe",
        "text.wasm": b"hello",
        "empty.wasm": b"",
        "component.wasm": b"\0asm\x0d\0\1\0",
        "empty.toml": b"",
        "good.toml": APPLICATION.encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture
def told(capfd):
    """Run a command that is refused, and return what it says."""

    def told(*words, code=125):
        assert main(list(words)) == code
        said = capfd.readouterr().err
        assert said.count("guesthouse: ") == 1
        assert "Traceback" not in said
        return said

    return told


FILES = {
    "absent.wasm": "cannot read absent.wasm: No such file or directory",
    "folder": "cannot read folder: Is a directory",
    "empty.wasm/x": "cannot read empty.wasm/x: Not a directory",
    "/dev/zero": "cannot read /dev/zero: it has more than 1073741824 bytes",
    "empty.wasm": "it does not begin with the bytes 00 61 73 6d (at byte offset 0x0)",
    "text.wasm": "it does not begin with the bytes",
    "component.wasm": "this is a component; Guesthouse runs core modules",
    "bad.wat": "--> bad.wat:2:4",
    "bytes.wat": "bytes.wat is not text",
}


@pytest.mark.parametrize("command", ["run", "inspect", "snapshot"])
@pytest.mark.parametrize("path", FILES)
def test_files_that_are_no_modules(folder, told, command, path):
    more = ["-o", "out.wasm"] if command == "snapshot" else []
    assert FILES[path] in told(command, path, *more)
    assert not (folder / "out.wasm").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--input", "absent"], "absent: No such file or directory"),
        (["--stdin", "folder"], "folder: Is a directory"),
        (["--input", "/dev/zero"], "/dev/zero: it has more than"),
        (["--dir", ""], "there is no directory ''"),
        (["--dir", ":/x"], "there is no directory ''"),
        (["--memory", "99999999999TiB"], "limit 'memory': '99999999999TiB' is more than a host can count to"),
        (["--disk", "99999999999TiB"], "limit 'disk'"),
        (["--wall", "999999999999d"], "limit 'wall'"),
        (["--fuel", str(1 << 64)], "limit 'fuel'"),
        (["--interface", "pulp"], "missing required exports"),
    ],
)
def test_options_of_run(folder, told, words, says):
    assert says in told("run", "ok.wat", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["upload", "absent.wasm"], "absent.wasm: No such file or directory"),
        (["call", "x", "--url", "http://127.0.0.1:99999"], "write it as http://HOST:PORT"),
        (["call", "x", "--url", "http://[::1"], "write it as http://HOST:PORT"),
        (["call", "x", "--url", "http://no.such.host.invalid:80"], "no host answers at http://no.such"),
        (["ctl", "--socket", "a" * 300], "no host listens at"),
        (["check", "folder"], "folder: cannot be read: Is a directory"),
        (["up", "empty.toml"], "neither an application"),
        (["up", "/dev/zero"], "it has more than 16777216 bytes"),
        (["up", "good.toml", "--workers", "0"], "workers: a whole number of at least 1 is needed"),
        (["up", "good.toml", "--log", "loud"], "there are: debug, info, warning, error, critical"),
    ],
)
def test_other_commands(folder, told, words, says):
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert says in told(*words)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_output_that_is_no_file_is_written_to_and_never_replaced(folder, told):
    (folder / "device").symlink_to("/dev/full")
    assert "device: cannot be written: No space left" in told("snapshot", "ok.wat", "-o", "device")
    assert (folder / "device").is_char_device()
    assert "folder: cannot be written: Is a directory" in told("snapshot", "ok.wat", "-o", "folder")
    assert "No such file" in told("snapshot", "ok.wat", "-o", "nowhere/out.wasm")
    assert not list(folder.glob("**/*.part"))


def test_an_output_is_left_alone_where_the_disk_is_full(folder, told, monkeypatch):
    (folder / "out.wasm").write_bytes(b"earlier")

    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "out.wasm: cannot be written: No space left" in told("snapshot", "ok.wat", "-o", "out.wasm")
    assert (folder / "out.wasm").read_bytes() == b"earlier"
    assert not (folder / "out.wasm.part").exists()


def process(*words, limits=(), **how):
    """Run a command as a process of its own, under limits."""

    def limit():
        for which, value in limits:
            resource.setrlimit(which, (value, value))

    return subprocess.run(
        [sys.executable, "-m", "guesthouse", *words], preexec_fn=limit, check=False, timeout=120,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **how},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ([(resource.RLIMIT_STACK, 256 << 10)], b"the thread's stack is too small (ulimit -s)"),
        ([(resource.RLIMIT_FSIZE, 0)], b"the system does not let it start: File too large"),
        ([(resource.RLIMIT_AS, 400 << 20)], b"no address space for guests"),
    ],
)
def test_a_machine_that_gives_too_little(folder, limits, says):
    ended = process("run", "ok.wat", limits=limits)
    assert ended.returncode == 125
    assert says in ended.stderr and b"Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [["imports"], ["imports", "--json"], ["--help"], ["inspect", "ok.wat"]])
def test_readers_that_go_away_and_disks_that_are_full(folder, words):
    reader, writer = os.pipe()
    os.close(reader)
    gone = process(*words, stdout=writer)
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        filled = process(*words, stdout=full)
    assert filled.returncode == 125
    assert filled.stderr.strip() == b"guesthouse: the output cannot be written: No space left on device"


def test_serving_says_what_it_lacks(folder, told, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))
    assert "may have 20 files open, and serving needs 64" in told("up", "good.toml")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    assert "threads: serving needs 16, and the system starts no more" in told("up", "good.toml")


def refuse_thread(self):
    raise RuntimeError("can't start new thread")


def test_threads_that_the_engine_would_end_the_process_for_are_asked_for_first(tmp_path, monkeypatch):
    compiling._ready_to_compile.cache_clear()
    engine = Engine(tmp_path)
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    with pytest.raises(guesthouse.ResourceError, match="threads: compiling needs"):
        engine.compile(wat_to_wasm(START))
    monkeypatch.undo()
    engine.compile(wat_to_wasm(START))
    engine.close()


def test_a_cache_that_cannot_be_written_is_still_read_and_done_without(tmp_path, monkeypatch):
    first = Engine(tmp_path)
    first.compile(wat_to_wasm(START))
    plain = os.open

    def read_only(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR) and named.get("dir_fd") is not None:
            raise OSError(errno.EROFS, "Read-only file system")
        return plain(path, flags, *more, **named)

    monkeypatch.setattr(cache.os, "open", read_only)
    second = Engine(tmp_path)
    assert second.compile(wat_to_wasm(START)).cached
    assert not second.compile(wat_to_wasm('(module (func (export "other")))')).cached
    for engine in (first, second):
        engine.close()


def test_a_cache_that_was_named_and_cannot_be_used_is_refused(folder, told, monkeypatch):
    monkeypatch.setenv("GUESTHOUSE_CACHE", str(folder / "ok.wat"))
    assert "cannot be used: File exists" in told("run", "ok.wat")
    monkeypatch.setenv("GUESTHOUSE_CACHE", str(folder / "folder"))
    (folder / "folder").chmod(0o777)
    assert "is writable by others; loading from it would run their code" in told("run", "ok.wat")
    assert main(["doctor"]) == 1


def test_processes_that_meet_a_module_at_once_all_run_it(folder, monkeypatch):
    monkeypatch.setenv("GUESTHOUSE_CACHE", str(folder / "cache"))
    functions = "".join(
        f"(func (param i32) (result i32) local.get 0 i32.const {n} i32.add)" for n in range(2000)
    )
    (folder / "large.wat").write_text(f'(module {functions} (func (export "_start")))')
    ends = []
    threads = [
        threading.Thread(target=lambda: ends.append(process("run", "large.wat").returncode)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [0, 0, 0]
    assert len(list((folder / "cache").glob("*.code"))) == 1
    assert not [path for path in (folder / "cache").iterdir() if path.name.startswith(".")]


def test_a_message_that_nobody_can_read_changes_nothing(folder):
    with Path("/dev/full").open("wb") as full:
        assert process("run", "absent.wasm", stderr=full).returncode == 125
