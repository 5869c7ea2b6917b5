"""A guest that was written with the published Rust bindings (docs/compatibility.md)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.ark.driving import PATIENT

from guesthouse.testing import guests

SOURCE = "guests/ark/rust"
TARGET = "wasm32-unknown-unknown"


@pytest.fixture(scope="session")
def crate(tmp_path_factory):
    """The compiled module; skips where compiler, target or crates are not at hand."""
    cargo, rustc = shutil.which("cargo"), shutil.which("rustc")
    if cargo is None or rustc is None:
        pytest.skip("needs cargo")
    shown = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True, check=True)
    if not (Path(shown.stdout.strip()) / "lib/rustlib" / TARGET).is_dir():
        pytest.skip(f"needs the Rust target {TARGET}")
    folder = tmp_path_factory.mktemp("crate")
    shutil.copytree(guests.root() / SOURCE, folder, dirs_exist_ok=True)
    command = [cargo, "build", "--release", "--target", TARGET]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170, check=False)
    if "failed to download" in built.stderr or "failed to get" in built.stderr:
        pytest.skip("needs the crates from the registry")
    assert built.returncode == 0, built.stderr
    return (folder / f"target/{TARGET}/release/guesthouse_ark_guest.wasm").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_module_built_with_the_crate_runs_unmodified(host, crate, log_lines):
    guest = host.load(crate, name="crate", grant=["ark.module_run"], limits=PATIENT)
    assert guest.interface == "ark"
    assert guest.call(b"abc", entry="upper") == b"ABC"
    assert guest.call(b"abc", entry="tour") == b"ABCABC!"
    assert any("the tour is over" in line.getMessage() for line in log_lines)
    assert host.scheduler.stats()["live"] == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_crate_copes_with_a_missing_grant(host, crate):
    guest = host.load(crate, name="crate", limits=PATIENT)
    # Function::with_local_fn fails with ApiNotAvailable, which the guest unwraps: a panic, hence a trap
    result = guest.invoke(b"abc", entry="tour")
    assert type(result.error).__name__ == "Trap"
    assert result.receipt.refusals == ("ark-module-run-v0.module_run__create_function",)
