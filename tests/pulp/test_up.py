"""``guesthouse up pulp.cell.toml`` as a process (spec/pulp.md 5.2, 5.6, acceptance case 1)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest


def limit() -> float:
    """Return the seconds that an orderly end may take: three, more on a machine that is overloaded already."""
    return 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Process:
    """A running ``guesthouse up`` whose log is read from a file."""

    def __init__(self, folder: Path, *words: Path | str, **settings: str) -> None:
        self.log = folder / "log.txt"
        command = [
            sys.executable,
            "-m",
            "guesthouse.cli",
            "up",
            *map(str, words),
            "--listen",
            "127.0.0.1:0",
        ]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(Path("src").resolve()), "HTTP_PORT": "0", **settings},
            )

    def wait_for(self, text: str, seconds: float = 60) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            log = self.log.read_text()
            if match := re.search(text, log):
                return match[1] if match.groups() else match[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{text!r} did not appear:\n{self.log.read_text()}")

    def interrupt(self, number: int = signal.SIGINT) -> tuple[int, float]:
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - started


@pytest.fixture
def up(tmp_path: Path):
    running: list[Process] = []

    def start(*words: Path | str, **settings: str) -> Process:
        running.append(Process(tmp_path, *words, **settings))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def manifest(folder: Path, name: str, wasm: Path, extra: str = "") -> Path:
    path = folder / f"{name}.cell.toml"
    path.write_text(f'name = "{name}"\nversion = "1"\nwasm = "{wasm}"\n{extra}')
    return path


@pytest.mark.parametrize("guest", ["heartbeat.c", "goheartbeat"])
def test_case_01_boot_init_step_interrupt_and_exit_0_with_every_log_line(up, tmp_path, build, guest) -> None:
    path = manifest(tmp_path, "heartbeat", build(guest), "[config]\nmarker = 424242\n")
    process = up(path)
    process.wait_for("step heartbeat")
    time.sleep(0.1)
    code, seconds = process.interrupt()
    assert code == 0
    assert seconds < limit()
    lines = process.log.read_text()
    expected = [
        'msg="pulp boot"',
        'msg="init complete"',
        'msg="cell ready" cell=heartbeat',
        'msg="step heartbeat"',
        'msg="signal received"',
        'msg="probe config marker"',
        'msg="shutdown complete"',
        'msg="pulp exit clean"',
    ]
    places = [lines.find(text) for text in expected]
    assert -1 not in places, lines
    assert places == sorted(places)
    assert "marker=424242" in lines
    assert int(re.search(r"last_call=(\d+)", lines)[1]) > 10


def test_case_01_echo_is_served_and_ends_on_sigterm_even_while_a_cell_spins(up, tmp_path, build) -> None:
    http = 'capabilities = ["transport.http.inbound"]\n'
    process = up(
        manifest(tmp_path, "echo", build("echo.c"), http),
        manifest(tmp_path, "stuck", build("stuck.c")),
    )
    port = process.wait_for(r'msg="http server started" addr=127\.0\.0\.1:(\d+)')
    process.wait_for('msg="http route registered"')
    process.wait_for('msg="cell ready" cell=echo')
    assert httpx.get(f"http://127.0.0.1:{port}/echo/word").text == "word"
    code, seconds = process.interrupt(signal.SIGTERM)
    assert (code, seconds < limit()) == (0, True)


def test_the_end_waits_for_no_event_stream(up, tmp_path, build) -> None:
    caps = '["transport.http.inbound", "transport.ws.inbound", "transport.sse"]'
    process = up(manifest(tmp_path, "live", build("live.c"), f"capabilities = {caps}\n"))
    url = process.wait_for(r'msg="gateway listens" url=(http://127\.0\.0\.1:\d+)')
    process.wait_for('msg="cell ready" cell=live')
    with httpx.stream("GET", f"{url}/live/events", timeout=60) as stream:
        assert next(stream.iter_lines()) == ":ok"
        code, seconds = process.interrupt()
    assert (code, seconds < limit()) == (0, True)


def test_calls_that_run_are_cut_off_after_their_grace_and_told_so(up, tmp_path) -> None:
    (tmp_path / "spin.wat").write_text(
        '(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))'
    )
    path = tmp_path / "guesthouse.toml"
    path.write_text('[app]\nname = "spin"\n[guests.spin]\nwasm = "spin.wat"\nlimits.wall = "60s"\n')
    process = up(path, "--grace", "100ms")
    url = process.wait_for(r"serving at (\S+);")
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{url}/v1/guests/spin/call", timeout=60))
    )
    thread.start()
    while httpx.get(f"{url}/v1/calls/1").status_code == 404:  # until it runs
        time.sleep(0.01)
    code, seconds = process.interrupt()
    thread.join(10)
    assert (code, seconds < limit()) == (0, True)
    assert answers[0].json()["error"]["message"].endswith("the host is shutting down")


def test_a_faulty_manifest_or_cell_ends_with_the_code_of_a_refusal(up, tmp_path, build) -> None:
    process = up(manifest(tmp_path, "bad", build("echo.c"), "capabilites = []"))
    assert process.process.wait(30) == 125
    assert "did you mean capabilites -> capabilities?" in process.log.read_text()
    process = up(manifest(tmp_path, "bad", tmp_path / "none.wasm"))
    assert process.process.wait(30) == 125
    assert "all cells failed" in process.log.read_text()
