"""The 72 preview-1 programs of the public WASI test suite, where a checkout is at hand.

``GUESTHOUSE_WASI_TESTSUITE`` names a checkout of its branch ``prod/testsuite-base`` (or ``-all``).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.wasi.programs import run

from guesthouse.interfaces.wasi.options import WasiOptions

CHECKOUT = os.environ.get("GUESTHOUSE_WASI_TESTSUITE")
PROGRAMS = sorted(Path(CHECKOUT).glob("tests/*/testsuite/wasm32-wasip1/*.wasm")) if CHECKOUT else []


def _private_root(root: Path, into: Path) -> Path:
    """A copy of the test's directory, without what an earlier run left."""
    shutil.copytree(root, into, symlinks=True, ignore=shutil.ignore_patterns("*.cleanup"))
    return into


@pytest.mark.skipif(not CHECKOUT, reason="GUESTHOUSE_WASI_TESTSUITE names no checkout")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parts[-4]}-{path.stem}")
def test_program_of_the_public_suite(program, tmp_path):
    described = program.with_suffix(".json")
    spec = json.loads(described.read_text()) if described.exists() else {}
    dirs = {}
    if spec.get("root"):
        dirs["/"] = _private_root(program.parent / spec["root"], tmp_path / "root")
    for name in spec.get("dirs", []):  # the older way to say it
        dirs[name] = _private_root(program.parent / name, tmp_path / name)
    ended = run(
        program, WasiOptions(args=[program.name, *spec.get("args", [])], env=spec.get("env", {}), dirs=dirs)
    )
    assert ended.code == spec.get("exit_code", 0), ended.stderr.decode()
    if "stdout" in spec:
        assert ended.stdout.decode() == spec["stdout"]


def test_all_programs_of_the_suite_are_found():
    if not CHECKOUT:
        pytest.skip("GUESTHOUSE_WASI_TESTSUITE names no checkout")
    assert len(PROGRAMS) == 72
