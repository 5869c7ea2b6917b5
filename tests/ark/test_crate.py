"""A guest that was written with the published Rust bindings (docs/compatibility.md)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.ark.driving import PATIENT

from guesthouse.testing import guests

SOURCE = "guests/ark/rust"
#: Versions of the bindings, what they are built for, and what else cargo is told.
BUILDS = [
    ("0.16.0", "wasm32-unknown-unknown", ()),
    ("0.16.0", "wasm32-wasip1", ()),
    ("0.17.0-pre.43", "wasm32-unknown-unknown", ("--no-default-features",)),
]


@pytest.fixture(params=BUILDS, ids=lambda build: f"{build[0]}-{build[1]}")
def crate(request, tmp_path):
    """The compiled module; skips where compiler, target or crates are not at hand."""
    version, target, options = request.param
    cargo, rustc = shutil.which("cargo"), shutil.which("rustc")
    if cargo is None or rustc is None:
        pytest.skip("needs cargo")
    shown = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True, check=True)
    if not (Path(shown.stdout.strip()) / "lib/rustlib" / target).is_dir():
        pytest.skip(f"needs the Rust target {target}")
    folder = tmp_path / "crate"
    shutil.copytree(guests.root() / SOURCE, folder, dirs_exist_ok=True)
    manifest = folder / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("=0.16.0", f"={version}"))
    command = [cargo, "build", "--release", "--target", target, *options]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=380, check=False)
    if "failed to download" in built.stderr or "failed to get" in built.stderr:
        pytest.skip("needs the crates from the registry")
    assert built.returncode == 0, built.stderr
    return (folder / f"target/{target}/release/guesthouse_ark_guest.wasm").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_module_built_with_the_crate_runs_unmodified(host, crate, log_lines):
    guest = host.load(crate, name="crate", grant=["ark.module_run"], limits=PATIENT)
    assert guest.interface == "ark"
    assert guest.call(b"abc", entry="upper") == b"ABC"
    assert guest.call(b"abc", entry="tour") == b"ABCABC!"
    assert any("the tour is over" in line.getMessage() for line in log_lines)
    assert host.scheduler.stats()["live"] == 0

    # Without the grant Function::with_local_fn fails with ApiNotAvailable, which the guest unwraps: a panic.
    guest = host.load(crate, name="crate", limits=PATIENT, replace=True)
    result = guest.invoke(b"abc", entry="tour")
    assert type(result.error).__name__ == "Trap"
    assert result.receipt.refusals == ("ark-module-run-v0.module_run__create_function",)
