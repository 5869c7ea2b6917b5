"""File operations: this host, the built-in WASI of the engine, and a native program, in one run.

``python benchmarks/wasi_files.py [--json] [--quick]``; needs a C compiler and the ``ziglang`` wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import wasmtime

import guesthouse
from guesthouse.testing import guests

SOURCE = "guests/wasi/file_speed.c"
ENTRIES = 10_000


def prepared(where: Path) -> None:
    """Lay out the files that the program works on."""
    (where / "sub").mkdir()
    (where / "sub" / "file").write_bytes(bytes(1 << 20))
    (where / "many").mkdir()
    for number in range(ENTRIES):
        (where / "many" / f"entry-{number:05}").touch()


def lines(text: str) -> dict[str, float]:
    """Read what the program prints."""
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines())}


def native(where: Path, budget: str) -> dict[str, float]:
    """Run it as a native program."""
    program = where / "native"
    cc = os.environ.get("CC", "cc").split()
    subprocess.run([*cc, "-O2", "-D_GNU_SOURCE", "-o", program, guests.root() / SOURCE], check=True)
    return lines(subprocess.run([program, where, budget], check=True, capture_output=True, text=True).stdout)


def ours(wasm: Path, where: Path, budget: str) -> dict[str, float]:
    """Run it on this host."""
    with guesthouse.Host() as host:
        guest = host.load(wasm, limits=guesthouse.Limits(wall=None))
        ended = guest.run(["/data", budget], dirs={"/data": str(where)})
        assert ended.code == 0, ended.stderr
        return lines(ended.stdout.decode())


def built_in(wasm: Path, where: Path, budget: str) -> dict[str, float]:
    """Run it on the WASI that the engine brings."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    config.argv = ["x", "/data", budget]
    config.preopen_dir(str(where), "/data")
    output = where / "built-in.txt"
    config.stdout_file = str(output)
    store.set_wasi(config)
    instance = linker.instantiate(store, wasmtime.Module(engine, wasm.read_bytes()))
    with contextlib.suppress(wasmtime.ExitTrap):
        instance.exports(store)["_start"](store)
    return lines(output.read_text())


def scaling(wasm: Path, where: Path) -> float:
    """How much more two guests in two threads get done than one: file operations without the GIL."""
    with guesthouse.Host() as host:
        guest = host.load(wasm, limits=guesthouse.Limits(wall=None))

        def once() -> None:
            assert guest.run(["/data", "50"], dirs={"/data": str(where)}).code == 0

        once()
        started = time.perf_counter()
        once()
        alone = time.perf_counter() - started
        threads = [threading.Thread(target=once) for _ in range(2)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 2 * alone / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    budget = "20" if options.quick else "200"
    wasm = guests.build(SOURCE)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        prepared(where)
        own, theirs, bare = ours(wasm, where, budget), built_in(wasm, where, budget), native(where, budget)
        both = scaling(wasm, where)
    rows = [
        {"operation": name, "guesthouse_ns": own[name], "built_in_ns": theirs[name], "native_ns": bare[name],
         "times_faster_than_built_in": theirs[name] / own[name], "times_native": own[name] / bare[name]}
        for name in own
    ]  # fmt: skip
    if options.json:
        print(json.dumps({"rows": rows, "two_threads": both}, indent=2))
        return
    heads = ("guesthouse", "built-in", "native", "vs built-in", "vs native")
    print("ns per operation".ljust(22) + "".join(f"{head:>13}" for head in heads))
    for row in rows:
        print(
            f"{row['operation']:22}{row['guesthouse_ns']:13.0f}{row['built_in_ns']:13.0f}{row['native_ns']:13.0f}"
            f"{row['times_faster_than_built_in']:12.1f}x{row['times_native']:12.1f}x"
        )
    print(f"two guests in two threads: {both:.2f} times the work of one")


if __name__ == "__main__":
    main()
