"""The command line's options for WASIX programs."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guesthouse.testing import guests


def guesthouse_run(*arguments, stdin=b"", **named):
    environment = {**os.environ, "PYTHONPATH": str(Path(guests.root()) / "src")}
    command = [sys.executable, "-m", "guesthouse.cli", "run", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=120, check=False, env=environment, **named
    )


@pytest.mark.parametrize(("mode", "code"), [("e", 3), ("w", 5), ("s", 0), ("t", 134)])
def test_case_30_threads_and_exit_codes(mode, code):
    program = guests.build("guests/wasix/threads.wat")
    assert guesthouse_run("--threads", program, "--", mode).returncode == code


def test_threads_need_their_option():
    ended = guesthouse_run(guests.build("guests/wasix/threads.wat"), "--", "e")
    assert ended.returncode == 125
    assert b"wasix.threads" in ended.stderr


def test_network_rules_and_the_one_message():
    program = guests.build("guests/wasix/fetch.c")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve():
            peer, _ = server.accept()
            peer.sendall(b"from the network")
            peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        ended = guesthouse_run("--net", f"ipv4:allow=127.0.0.1:{port}/out", program, "--", port)
        assert (ended.returncode, ended.stdout) == (0, b"from the network"), ended.stderr
        thread.join()
        ended = guesthouse_run("--net", "ipv4:allow=10.0.0.1:1", program, "--", port)
        assert ended.returncode == 63
        assert ended.stderr.count(b"is not allowed") == 1
        assert f"--net ipv4:allow=127.0.0.1:{port}/out".encode() in ended.stderr
        ended = guesthouse_run(program, "--", port)
        assert ended.returncode == 125
        assert b"wasix.sockets" in ended.stderr
        assert guesthouse_run("--net", "perhaps", program, "--", port).returncode == 125


def test_standard_input_from_a_file_and_the_other_spelling_of_directories(tmp_path):
    (tmp_path / "in").write_bytes(b"quiet")
    program = guests.build("guests/wasix/upper.c")
    ended = guesthouse_run("--stdin", tmp_path / "in", "--dir", f"{tmp_path}::/", program)
    assert (ended.returncode, ended.stdout) == (7, b"QUIET")


TTY = """
(module
  (import "wasix_32v1" "tty_get" (func $get (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $get (i32.const 0)))
    (call $exit (i32.add (i32.load (i32.const 0)) (i32.load8_u (i32.const 17))))))
"""


@pytest.mark.parametrize(("options", "code"), [((), 80), (("--tty",), 101)])
def test_the_terminal_is_seen_where_allowed(tmp_path, options, code):
    import termios

    (tmp_path / "tty.wasm").write_bytes(guests.wat(TTY))
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (30, 100))
    environment = {**os.environ, "PYTHONPATH": str(Path(guests.root()) / "src")}
    command = [sys.executable, "-m", "guesthouse.cli", "run", *options, str(tmp_path / "tty.wasm")]
    ended = subprocess.run(
        command,
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
        env=environment,
    )
    os.close(leader)
    os.close(follower)
    assert ended.returncode == code, ended.stderr
