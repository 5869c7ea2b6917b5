"""The command line: exit codes, listings, messages; with the interface made for tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time

import pytest
from tests import plain_interface

import guesthouse.cli.commands.imports
import guesthouse.cli.commands.inspect
from guesthouse import Host
from guesthouse.cli import main, options
from guesthouse.server import Gateway


@pytest.fixture(autouse=True)
def interface(monkeypatch):
    plain_interface.install(monkeypatch)
    for command in (guesthouse.cli.commands.imports, guesthouse.cli.commands.inspect):
        monkeypatch.setattr(command, "builtin_registry", guesthouse.host.builtin_registry)
    monkeypatch.setattr(guesthouse.cli.commands.inspect, "available", guesthouse.host.available)
    yield
    plain_interface.AWAKE.set()


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "plain.wasm"
    path.write_bytes(plain_interface.GUEST)
    return str(path)


GRANT = ("--grant", "plain.io")


def test_run_passes_input_and_output(module, tmp_path, capfdbinary):
    (tmp_path / "input").write_bytes(b"bytes \xff\0")
    assert main(["run", module, *GRANT, "--input", str(tmp_path / "input")]) == 0
    assert capfdbinary.readouterr().out == b"bytes \xff\0"


def test_run_reads_standard_input(module, capfdbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    assert main(["run", module, *GRANT, "--input", "-"]) == 0
    assert capfdbinary.readouterr().out == b"from stdin"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--entry", "seven"], 7, "returned 7"),
        (["--entry", "trap"], 134, "unreachable"),
        (["--entry", "spin", "--wall", "100ms"], 124, "deadline of 0.1 s exceeded"),
        (["--entry", "spin", "--fuel", "10000", "--wall", "5s"], 134, "out of fuel"),
        (["--entry", "absent"], 125, "no entry named 'absent'"),
        (["--entry", "boom"], 125, "GUESTHOUSE_DEBUG"),
        (["--wall", "soon"], 125, "is not a duration"),
        (["--memory", "1KiB"], 134, "raise the `memory` limit"),
        (["--input", "/nowhere/at/all"], 125, "No such file"),
        (["--dir", "/nowhere/at/all:/x"], 125, "there is no directory"),
        (["--grant", "plain.oi"], 125, "did you mean 'plain.io'?"),
        (["--frobnicate"], 2, "--frobnicate"),
        (["--fuel", "many"], 2, "many"),
    ],
)
def test_exit_codes_and_messages(module, words, code, message, capfd):
    assert main(["run", module, *GRANT, *words]) == code
    shown = capfd.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_a_missing_grant_is_refused_and_names_what_mends_it(module, capfd):
    assert main(["run", module]) == 125
    assert "--grant plain.io" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"hello", b"\0asm\1\0\0\0\x01\x05"])
def test_what_is_no_module_is_refused(tmp_path, content, capfd):
    path = tmp_path / "x.wasm"
    path.write_bytes(content)
    assert main(["run", str(path)]) == 125
    assert "at byte offset" in capfd.readouterr().err


def test_a_missing_file_is_refused(capfd):
    assert main(["run", "/nowhere/x.wasm"]) == 125
    assert "cannot read /nowhere/x.wasm" in capfd.readouterr().err


def test_the_receipt_is_shown_on_request(module, capfd):
    assert main(["run", module, *GRANT, "--receipt"]) == 0
    receipt = json.loads(capfd.readouterr().err)
    assert receipt["host_calls"]["plain.input"] == 1


def test_interrupting_ends_the_guest_at_once(module, capfd):
    def interrupt():
        plain_interface.NAPPING.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begun = time.monotonic()
    assert main(["run", module, *GRANT, "--entry", "sleep", "--wall", "30s"]) == 130
    assert time.monotonic() - begun < 5
    thread.join()
    assert "interrupted" in capfd.readouterr().err


def test_inspect_tells_what_is_needed_without_running(module, capsys):
    assert main(["inspect", module, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["interface"] == "plain"
    assert report["capabilities"] == [
        {
            "name": "plain.io",
            "interface": "plain",
            "granted": False,
            "without": "refused at load",
            "functions": 4,
        }
    ]
    assert {item["name"]: item["type"] for item in report["exports"]}["run"] == "() -> i32"
    assert report["memories"] == [{"minimum": 262144, "maximum": None, "shared": False, "is64": False}]
    assert report["pooled"] is True and report["runs"] is True


def test_inspect_for_people(module, capsys):
    assert main(["inspect", module, *GRANT]) == 0
    shown = capsys.readouterr().out
    for words in ("plain.io", "256KiB", "(i32, i32) -> i32", "granted", "Exports"):
        assert words in shown


def test_inspect_names_what_nobody_knows(tmp_path, capsys):
    path = tmp_path / "x.wat"
    path.write_text('(module (import "mars" "land" (func)))')
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr()
    assert "cannot run it: mars.land" in shown.err


def test_imports_lists_and_filters(capsys):
    assert main(["imports", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {"input", "output", "fail", "nap"}
    assert main(["imports", "plain", "out"]) == 0
    shown = capsys.readouterr().out
    assert "output" in shown and "input" not in shown.split("\n", 1)[1]


def test_doctor_finds_the_engine(capsys):
    assert main(["doctor", "--json"]) == 0
    checks = {check["what"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["engine core"]["found"] == "a guest ran and called the host"
    assert checks["openat2"]["state"] == "ok"


def test_call_reaches_a_running_host(tmp_path, capfdbinary, monkeypatch):
    monkeypatch.setenv("GUESTHOUSE_TOKEN", "sesame-sesame")
    (tmp_path / "input").write_bytes(b"over http")
    with Host() as host:
        host.load(plain_interface.GUEST, name="plain", grant=["plain.io"])
        with Gateway(host, "127.0.0.1:0", tokens="sesame-sesame") as gateway:
            at = ("--url", gateway.url)
            assert main(["call", "plain", "--input", str(tmp_path / "input"), *at]) == 0
            assert capfdbinary.readouterr().out == b"over http"
            assert main(["call", "plain", "--entry", "seven", *at]) == 7
            assert main(["call", "plain", "--entry", "trap", *at]) == 134
            assert main(["call", "plain", "--entry", "spin", "--wall", "50ms", *at]) == 124
            assert main(["call", "absent", *at]) == 125
            assert b"no guest named 'absent'" in capfdbinary.readouterr().err
            monkeypatch.setenv("GUESTHOUSE_TOKEN", "wrong")
            assert main(["call", "plain", *at]) == 125


def test_call_without_a_host(capfd):
    assert main(["call", "plain", "--url", "http://127.0.0.1:1"]) == 125
    assert "guesthouse up" in capfd.readouterr().err


def test_up_serves_until_it_is_asked_to_end(tmp_path, module, capfdbinary):
    manifest = tmp_path / "guesthouse.toml"
    manifest.write_text(
        '[app]\nname = "x"\n[guests.plain]\nwasm = "plain.wasm"\ncapabilities = ["plain.io"]\n'
    )
    answers = []
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host_and_port = probe.getsockname()
    where = "{}:{}".format(*host_and_port)

    def visit():
        end = time.monotonic() + 10
        while time.monotonic() < end:  # two command lines read at once upset the parser of Python 3.11
            with contextlib.suppress(OSError), socket.create_connection(host_and_port):
                answers.append(main(["call", "plain", "--url", f"http://{where}"]))
                break
            time.sleep(0.05)
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # it would end the tests
            os.kill(os.getpid(), signal.SIGTERM)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    thread = threading.Thread(target=visit)
    thread.start()
    try:
        assert main(["up", str(manifest), "--listen", where]) == 0
    finally:
        thread.join()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert answers == [0]
    assert f"serving at http://{where}".encode() in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[app]\nname = "x"\n[guests.a]\nwasm = "a.wasm"\n', "guests.a.wasm"),
        ('[app]\nname = "x"\n[guests.a]\nwasm = "plain.wasm"\n', "plain.io"),
        (
            '[app]\nname = "x"\n[guests.a]\nwasm = "plain.wasm"\ncapabilities = ["plain.oi"]\n',
            "did you mean 'plain.io'? (line 5)",
        ),
    ],
)
def test_up_refuses_what_is_wrong_and_says_where(tmp_path, module, text, message, capfd):
    path = tmp_path / "guesthouse.toml"
    path.write_text(text)
    assert main(["up", str(path), "--listen", "127.0.0.1:0"]) == 125
    shown = capfd.readouterr().err
    assert message in shown and str(path) in shown


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("run", "inspect", "imports", "up", "call", "doctor", "bench"):
        assert command in shown
    assert main(["run", "--help"]) == 0
    assert "--grant" in capsys.readouterr().out


def test_directories():
    assert options.directories(["/tmp:/data:ro", "/tmp"]) == {"/data": "/tmp:ro", "/tmp": "/tmp"}
    with pytest.raises(ValueError, match="named twice"):
        options.directories(["/tmp:/a", "/:/a"])
    assert options.environment(["A=b=c", "B="]) == {"A": "b=c", "B": ""}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        options.environment(["A"])


def test_version_and_unknown_commands(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["frobnicate"]) == 2
    assert "`guesthouse --help`" in capsys.readouterr().err
