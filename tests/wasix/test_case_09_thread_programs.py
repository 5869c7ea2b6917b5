"""Case 9: the 15 programs of the public wasi-threads suite, where a checkout is at hand.

``GUESTHOUSE_WASI_TESTSUITE`` names a checkout of its branch ``prod/testsuite-all``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import guesthouse
from guesthouse.testing import guests

CHECKOUT = os.environ.get("GUESTHOUSE_WASI_TESTSUITE")
PROGRAMS = sorted(Path(CHECKOUT).glob("tests/proposals/wasi-threads/*.wasm")) if CHECKOUT else []


@pytest.fixture(scope="module")
def host():
    with guesthouse.Host() as host:
        yield host


@pytest.mark.skipif(not PROGRAMS, reason="GUESTHOUSE_WASI_TESTSUITE names no checkout with thread programs")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_case_09_thread_program_of_the_public_suite(host, program):
    described = program.with_suffix(".json")
    spec = json.loads(described.read_text()) if described.exists() else {}
    limits = guesthouse.Limits(memory="128MiB", wall="20s", threads=64)
    guest = host.load(program, grant=["wasix.threads"], limits=limits, replace=True)
    reader, writer = os.pipe()  # a standard input that nothing ever comes from
    try:
        ended = guest.run(stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert ended.code == spec.get("exit_code", 0)
    assert not [t for t in threading.enumerate() if t.name == "guest-thread"]


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAMS, reason="GUESTHOUSE_WASI_TESTSUITE names no checkout with thread programs")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_case_09_thread_program_by_the_command_line(program):
    described = program.with_suffix(".json")
    spec = json.loads(described.read_text()) if described.exists() else {}
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-m",
        "guesthouse.cli",
        "run",
        "--threads",
        "--memory=128MiB",
        "--wall=30s",
        program,
    ]
    environment = {**os.environ, "PYTHONPATH": str(guests.root() / "src")}
    ended = subprocess.run(
        command, stdin=reader, capture_output=True, check=False, timeout=120, env=environment
    )
    os.close(reader)
    os.close(writer)
    assert ended.returncode == spec.get("exit_code", 0), ended.stderr


def test_all_thread_programs_are_found():
    if not PROGRAMS:
        pytest.skip("GUESTHOUSE_WASI_TESTSUITE names no checkout with thread programs")
    assert len(PROGRAMS) == 15
