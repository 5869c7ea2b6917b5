"""``guesthouse up`` of applications and hosts as processes, directed by ``guesthouse ctl`` (spec/pulp.md 5)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.pulp import folders
from tests.pulp.test_up import up  # noqa: F401 - a fixture

from guesthouse.testing.guests import wat

HTTP = {"capabilities": ["transport.http.inbound"]}


def ctl(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "guesthouse.cli", "ctl", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path("src").resolve())},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_case_08_an_application_runs_and_is_directed_by_its_control_socket(up, tmp_path, build) -> None:  # noqa: F811
    wasm = tmp_path / "echo.wasm"
    wasm.write_bytes(build("echo.c").read_bytes())
    lead = folders.cell(tmp_path, "lead", build("kit.c"), config={"n": 1})
    web = folders.cell(tmp_path, "web", wasm, **HTTP)
    many = folders.cell(tmp_path, "many", build("kit.c"))
    path = folders.application(
        tmp_path, "shop", [lead, web, many], placements=[{"cell": "many", "instances": 2}]
    )
    process = up(path)
    port = process.wait_for(r'msg="http server started" addr=127\.0\.0\.1:(\d+)')
    process.wait_for('msg="cell ready" cell=many@2')
    process.wait_for("control socket listening")
    assert httpx.get(f"http://127.0.0.1:{port}/echo/word").text == "word"
    code, out = ctl(tmp_path, "status", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["cells"]}
    assert list(rows) == ["lead", "web", "many@1", "many@2"]
    assert {row["state"] for row in rows.values()} == {"ready"}
    wasm.write_bytes(build("goecho").read_bytes())
    assert ctl(tmp_path, "reload", "web")[0] == 0
    assert httpx.get(f"http://127.0.0.1:{port}/echo/word").headers["x-cell"] == "go"
    wasm.write_bytes(b"\0asm broken")
    code, out = ctl(tmp_path, "reload", "web")
    assert code == 125
    assert "compile wasm" in out
    assert httpx.get(f"http://127.0.0.1:{port}/echo/word").text == "word"  # it runs on as it was
    started = time.monotonic()
    assert ctl(tmp_path, "shutdown_all")[0] == 0
    assert process.process.wait(20) == 0
    assert time.monotonic() - started < 10
    assert 'msg="pulp exit clean"' in process.log.read_text()
    assert not (tmp_path / "pulp.ctl").exists()
    files = {str(each.relative_to(tmp_path / "data")) for each in (tmp_path / "data").glob("*")}
    assert files <= {"apps"}


def test_case_09_a_host_serves_its_applications_behind_one_gateway(up, tmp_path, build) -> None:  # noqa: F811
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        own = folders.cell(folder, "web", build("crossing.c"), **HTTP, config={"route": "/*rest"})
        folders.application(folder, name, [own])
    path = folders.host(
        tmp_path,
        [{"id": "one", "instances": 2}, {"id": "two", "depends_on": ["one"]}],
        [
            {"path": "/", "application": "two"},
            {"path": "/first", "application": "one", "instance": "one-1"},
            {"path": "/second", "application": "one", "instance": "one-2"},
        ],
    )
    process = up(path)
    url = process.wait_for(r'msg="gateway started" url=(\S+)')
    assert httpx.get(f"{url}/x").text == "/x two two-1 /"
    assert httpx.get(f"{url}/first/x").text == "/x one one-1 /first"
    assert httpx.get(f"{url}/second/x").text == "/x one one-2 /second"
    rows = json.loads(ctl(tmp_path, "status", "--json")[1])["cells"]
    assert [row["name"] for row in rows] == ["one/one-1/web", "one/one-2/web", "two/two-1/web"]
    assert ctl(tmp_path, "reload", "web")[0] == 125  # three cells are called that
    assert ctl(tmp_path, "reload", "one/one-2/web")[0] == 0
    assert httpx.get(f"{url}/second/x").text == "/x one one-2 /second"
    code, seconds = process.interrupt()
    assert (code, seconds < 5) == (0, True)


@pytest.mark.parametrize("kind", ["application", "host"])
def test_a_cell_that_fails_ends_the_start_and_says_which(up, tmp_path, build, kind) -> None:  # noqa: F811
    good = folders.cell(tmp_path, "good", build("kit.c"))
    bad = folders.cell(tmp_path, "bad", build("kit.c"), config={"init_code": 9}, depends_on=["good"])
    path = folders.application(tmp_path, "app", [good, bad])
    if kind == "host":
        path = folders.host(tmp_path, [{"id": "app", "manifest": "pulp.app.toml"}])
    process = up(path)
    assert process.process.wait(60) == 125
    log = process.log.read_text()
    assert "cell 'bad' failed, so nothing is started" in log
    assert re.search(r"pulp_init returned 9", log)


SPINS = """
(module (memory (export "memory") 1)
  (func (export "pulp_alloc") (param i32) (result i32) i32.const 1024)
  (func (export "pulp_init") (param i32 i32) (result i32) (loop (br 0)) unreachable)
  (func (export "pulp_step") (param i32 i32) (result i32) i32.const 0)
  (func (export "pulp_shutdown") (result i32) i32.const 0))"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("together", [False, True])
def test_a_start_that_hangs_is_ended_by_a_signal(up, tmp_path, build, number, together) -> None:  # noqa: F811
    (tmp_path / "spins.wasm").write_bytes(wat(SPINS))
    cells = [
        folders.cell(tmp_path, "good", build("kit.c")),
        folders.cell(tmp_path, "spins", tmp_path / "spins.wasm"),
        folders.cell(tmp_path, "after", build("kit.c"), depends_on=["spins"]),
    ]
    process = up(*([folders.application(tmp_path, "app", cells)] if together else cells))
    process.wait_for('msg="cell ready" cell=good')
    time.sleep(0.3)
    code, seconds = process.interrupt(number)
    assert (code, seconds < 5) == (130, True), process.log.read_text()
    assert 'msg="shutdown complete"' in process.log.read_text()
    assert 'msg="cell ready" cell=after' not in process.log.read_text()


def test_manifests_of_different_kinds_do_not_run_together(up, tmp_path, build) -> None:  # noqa: F811
    own = folders.cell(tmp_path, "kit", build("kit.c"))
    process = up(folders.application(tmp_path, "app", [own]), own)
    assert process.process.wait(60) == 125
    assert "pulp.app manifest runs alone" in process.log.read_text()


def test_no_control_socket_when_its_name_is_blank_or_taken(up, tmp_path, build) -> None:  # noqa: F811
    own = folders.cell(tmp_path, "kit", build("kit.c"))
    process = up(own, PULP_CTL_SOCK="")
    process.wait_for("serving at")
    process.interrupt()
    assert "control socket" not in process.log.read_text()
    (tmp_path / "pulp.ctl").write_text("taken")
    process = up(own)
    process.wait_for('msg="no control socket"')
    process.wait_for("serving at")
    assert process.interrupt()[0] == 0


PACKAGE = """
import sys
from guesthouse.pulp import Extension

class Greet(Extension):
    name, provider, summary = "demo.greet", "acme", "Greets in another way."
    def rows(self):
        return (self.row("demo_greet", "ii", self.greet, "Greet."),)
    def setup(self, environment):
        print("acme is set up with", environment.storage_root.name, flush=True)
    def greet(self, call, pointer, length):
        name = call.instance.read(pointer, length).decode()
        sys.stdout.write(f"acme greets {name} for {call.guest}\\n")
        return 0
    def teardown(self):
        print("acme is torn down", flush=True)

capability = Greet().capability()
"""


@pytest.fixture
def installed(tmp_path) -> str:
    """A package with a capability, as pip would install it; returns the search path that finds it."""
    site = tmp_path / "site"
    info = site / "acme_pulp-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_pulp.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-pulp\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[guesthouse.capabilities]\ngreet = acme_pulp:capability\n")
    return f"{Path('src').resolve()}{os.pathsep}{site}"


def test_case_22_an_installed_package_serves_the_cells_that_pin_it(up, tmp_path, build, installed) -> None:  # noqa: F811
    ours, theirs = (
        folders.cell(
            tmp_path, name, build("greeter.c"), capabilities=["demo.greet"], config={"name": name},
            capability_providers={"demo.greet": provider},
        )
        for name, provider in (("one", "guesthouse"), ("two", "acme"))
    )  # fmt: skip
    process = up(ours, theirs, PYTHONPATH=installed)
    process.wait_for("serving at")
    assert process.interrupt()[0] == 0
    log = process.log.read_text()
    assert "[demo.greet] cell=one hello, one!" in log
    assert "acme greets two for two" in log
    assert log.index("acme is set up with data") < log.index("acme greets") < log.index("acme is torn down")
    unpinned = folders.cell(tmp_path, "three", build("greeter.c"), capabilities=["demo.greet"])
    process = up(unpinned, PYTHONPATH=installed)
    assert process.process.wait(60) == 125
    assert "which several offer (guesthouse, acme)" in process.log.read_text()
