"""Ctrl-C before a command has begun: no traceback, the exit code of an interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Interrupts the process while it imports one module.
SCRIPT = """
import importlib.abc, os, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["guesthouse", "imports"]
from guesthouse.cli import main
sys.exit(main())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "module", ["guesthouse.cli.dispatch", "guesthouse.engine", "cyclopts", "guesthouse.cli.commands.imports"]
)
def test_an_interrupted_start_is_quiet(module) -> None:
    done = python(SCRIPT.format(name=module))
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_package_leads_nowhere_before_it_is_used() -> None:
    done = python(
        "import sys, guesthouse, guesthouse.cli\n"
        "print([name for name in sys.modules if name.startswith(('guesthouse.', 'wasmtime'))])\n"
        "assert all(hasattr(guesthouse, name) for name in guesthouse.__all__)\n"
        "assert set(guesthouse.__all__) <= set(dir(guesthouse))\n"
    )
    assert (done.stdout.strip(), done.stderr) == ("['guesthouse.cli']", "")
