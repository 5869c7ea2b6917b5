"""The command line with guests of the real interfaces, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guesthouse.engine import wat_to_wasm
from guesthouse.testing import guests

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def guesthouse(*words, **options):
    options = {"input": b"", "timeout": 60, **options}
    return subprocess.run(
        [sys.executable, "-m", "guesthouse.cli", *map(str, words)],
        capture_output=True, env=ENVIRONMENT, check=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tour():
    return guests.build("guests/wasi/tour.c")


@pytest.mark.parametrize(
    ("options", "arguments", "code", "out"),
    [
        ([], ["args", "a", "b c"], 0, b"[a][b c]"),
        (["--env", "GREETING=hi there"], ["env", "GREETING"], 0, b"hi there"),
        ([], ["env", "HOME"], 1, b""),
        ([], ["exit", "42"], 42, b""),
        ([], ["cat"], 0, b"standard input"),
        ([], ["trap"], 134, b""),
        (["--wall", "200ms"], ["spin"], 124, b""),
        (["--memory", "1MiB"], ["args"], 134, b""),
    ],
)
def test_commands(tour, options, arguments, code, out):
    ended = guesthouse("run", tour, *options, "--", *arguments, input=b"standard input")
    assert (ended.returncode, ended.stdout) == (code, out), ended.stderr


def test_the_package_can_be_run_as_a_module():
    ended = subprocess.run(
        [sys.executable, "-m", "guesthouse", "imports", "--json"],
        capture_output=True, env=ENVIRONMENT, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_streams_that_are_closed_are_nothing_rather_than_a_file_of_the_host(tour, closed, tmp_path):
    shut = " ".join(f"{number}>&-" for number in closed)
    command = [
        sys.executable,
        "-m",
        "guesthouse.cli",
        "run",
        str(tour),
        "--dir",
        f"{tmp_path}:/d",
        "--",
        "cat",
    ]
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {shut}', "sh", *command],
        input=b"words", capture_output=True, env=ENVIRONMENT, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (b"" if closed[0] < 2 else b"words")
    assert ended.stderr == b""


def test_directories_are_there_only_when_named(tour, tmp_path):
    (tmp_path / "note").write_text("hello")
    assert guesthouse("run", tour, "--", "read", "/data/note").returncode == 1
    read = guesthouse("run", tour, "--dir", f"{tmp_path}:/data", "--", "read", "/data/note")
    assert (read.returncode, read.stdout) == (0, b"hello")
    assert (
        guesthouse("run", tour, "--dir", f"{tmp_path}:/data", "--", "read", "/data/../etc/passwd").returncode
        == 1
    )
    assert (
        guesthouse("run", tour, "--dir", f"{tmp_path}:/data:ro", "--", "write", "/data/new").returncode == 1
    )
    assert not (tmp_path / "new").exists()
    assert guesthouse("run", tour, "--dir", f"{tmp_path}:/data", "--", "write", "/data/new").returncode == 0
    assert (tmp_path / "new").read_text() == "written"


def test_output_arrives_while_the_command_runs(tour):
    process = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli", "run", str(tour), "--wall", "20s", "--", "cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        process.stdin.write(b"ping")
        process.stdin.flush()
        assert process.stdout.read(4) == b"ping"
    finally:
        process.stdin.close()
        assert process.wait(20) == 0
        process.stdout.close()


def test_ctrl_c_ends_a_command_at_once(tour):
    process = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli", "run", str(tour), "--wall", "60s", "--", "ready-spin"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.read(5) == b"ready"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert b"Traceback" not in errors


def test_inspect_knows_the_interface(tour):
    report = json.loads(guesthouse("inspect", tour, "--json").stdout)
    assert report["interface"] == "wasi" and report["runs"] is True
    assert {"name": "wasi.files", "interface": "wasi"}.items() <= report["capabilities"][0].items()


def test_imports_cover_the_interfaces():
    rows = json.loads(guesthouse("imports", "--json").stdout)
    names = {(row["module"], row["name"]) for row in rows}
    assert ("wasi_snapshot_preview1", "fd_write") in names
    assert all(row["interface"] and row["summary"] and row["type"] for row in rows)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_up_serves_an_application_to_call(tmp_path, tour):
    manifest = tmp_path / "guesthouse.toml"
    manifest.write_text(
        f'[app]\nname = "demo"\n[guests.tour]\nwasm = "{tour}"\nargs = ["cat"]\n[guests.tour.limits]\nwall = "5s"\n'
    )
    url = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli", "up", str(manifest), "--listen", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        end = time.monotonic() + 30
        called = guesthouse("call", "tour", "--input", "-", "--url", f"http://{url}", input=b"over http")
        while called.returncode == 125 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
            called = guesthouse("call", "tour", "--input", "-", "--url", f"http://{url}", input=b"over http")
    finally:
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=20)
    assert (called.returncode, called.stdout) == (0, b"over http"), (called, errors.decode())
    assert process.returncode == 0
    assert f"serving at http://{url}".encode() in out
    assert b"Traceback" not in errors and b"experimental" not in errors


def test_ctrl_c_ends_a_compilation_at_once(tmp_path):
    body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 7)) (local.get 1)))" * 400
    path = tmp_path / "slow.wasm"
    path.write_bytes(wat_to_wasm("(module" + f"(func (param i32 i32) {body})" * 6000 + ")"))
    process = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli", "run", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    modules = tmp_path / "guesthouse" / "modules"
    while process.poll() is None and not list(modules.glob(".*.lock")):  # held while it compiles
        time.sleep(0.02)
    time.sleep(0.2)
    assert process.poll() is None, "compiled too quickly to show anything"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - begun < 4
    assert errors == b"guesthouse: interrupted\n"


def slow_module():
    """A module that takes many seconds to compile: large functions that compute and store."""

    def sized(data):
        size, length = b"", len(data)
        while length >= 0x80:
            size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
        return size + bytes([length]) + data

    def listed(items):
        count = sized(bytes(len(items)))[: -len(items)]
        return sized(count + b"".join(items))

    # local.get 0; i32.load; i32.const 7; i32.mul; local.set 0, over and over
    body = sized(b"\0" + b"\x20\0\x28\2\0\x41\7\x6c\x21\0" * 6000 + b"\x20\0\x0b")
    return (
        b"\0asm\1\0\0\0\1\6\1\x60\1\x7f\1\x7f" + b"\3" + listed([b"\0"] * 300) + b"\5\3\1\0\1"
        + b"\x0a" + listed([body] * 300)
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_can_be_ended_while_it_compiles(tmp_path, number):
    (tmp_path / "slow.wasm").write_bytes(slow_module())
    (tmp_path / "app.toml").write_text('[app]\nname = "x"\n[guests.slow]\nwasm = "slow.wasm"\n')
    command = [
        sys.executable,
        "-m",
        "guesthouse",
        "up",
        str(tmp_path / "app.toml"),
        "--listen",
        "127.0.0.1:0",
    ]
    environment = {**ENVIRONMENT, "GUESTHOUSE_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        patience = time.monotonic() + 30
        while not list((tmp_path / "cache").glob(".*.lock")) and time.monotonic() < patience:
            time.sleep(0.02)
        time.sleep(0.3)
        asked = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert time.monotonic() - asked < 4
    assert not list((tmp_path / "cache").glob("*.code"))
