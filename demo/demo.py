"""Builds guests from source, serves them over HTTP, sends them a file, shows what came back and what it cost.

`make demo` runs it, `make demo ARGS=FILE` sends another file, `make demo ARGS=--serve` keeps serving.

The application is two Pulp cells, `desk` in C and `words` in Go: `desk` takes the file over HTTP and calls
`words` for the part it does not do itself. Without HTTP, the host then calls `words`, a Faasm function that
keeps a count in state which all its instances share, and a WASI program that opens the same file in a folder
it was given. In the end the text goes through guests of five interfaces that call one another (`report.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import guesthouse
import report
from guesthouse.cli.commands.up import Asked
from guesthouse.testing import guests

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = 50
#: What the words cell may use: Go brings a garbage collector along.
ROOMY = guesthouse.Limits(memory="256MiB", wall="5s")

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Run the demonstration; the exit code tells whether everything went as it should."""
    options = arguments()
    text = options.file.read_bytes()
    built = {name: build(name) for name in ("demo/desk.c", "demo/words", "tour/visits.c", "tour/count.c")}
    with TemporaryDirectory(prefix="guesthouse-demo-") as data, host(data, options.port) as running:
        load(running, built)
        url = running.service("pulp").catalogue.http.url
        console.print(f"serving [bold]{url}/summary[/] (POST a text)\n")
        rows = [*over_http(url, text), *directly(running, options.file, text)]
        console.print(costs(rows))
        if options.serve:
            serve(url, options.file)
            return 0
    console.rule("the same text through guests of five interfaces")
    return report.main([str(options.file)])


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "README.md", help="a text file")
    parser.add_argument("--serve", action="store_true", help="keep serving until interrupted")
    parser.add_argument("--port", default="0", help="port of the HTTP side; 0 takes a free one")
    options = parser.parse_args()
    if not options.file.is_file():
        parser.error(f"no such file: {options.file}")
    return options


def build(name: str) -> Path:
    """Compile a guest from its source, and tell how long that took."""
    begun = time.perf_counter()
    module = guests.build(f"guests/{name}")
    spent = time.perf_counter() - begun
    console.print(f"built guests/{name}: {module.stat().st_size / 1000:.0f} kB in {spent:.1f} s")
    return module


def host(data: str, port: str) -> guesthouse.Host:
    """Open a host whose cells keep files in `data`."""
    return guesthouse.Host(pulp={"storage_root": Path(data), "settings": {"HTTP_PORT": port}})


def load(running: guesthouse.Host, built: dict[str, Path]) -> None:
    """Load the guests, each with no more than it needs."""
    running.load(built["demo/words"], name="words", limits=ROOMY)
    running.load(built["demo/desk.c"], name="desk", grant=["transport.http.inbound"])
    running.load(built["tour/visits.c"], name="visits", grant=["faasm.state"])
    running.load(built["tour/count.c"], name="count", grant=["wasi.files"])


def over_http(url: str, text: bytes) -> Iterable[dict[str, str]]:
    """Send the file over HTTP and show the answer."""
    with httpx.Client(base_url=url) as client:
        times = []
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            answer = client.post("/summary", content=text).raise_for_status()
            times.append(time.perf_counter() - begun)
    console.print("the answer, with parts from C and from Go:")
    console.print_json(answer.text)
    title = f"HTTP round trip: desk (C) calls words (Go), median of {REQUESTS}"
    yield {"what": title, "wall": duration(sorted(times)[len(times) // 2])}


def directly(running: guesthouse.Host, file: Path, text: bytes) -> Iterable[dict[str, str]]:
    """Call the guests without HTTP and yield what each call cost."""
    yield measured("words.top (Pulp cell, Go)", lambda: running.invoke("words", text, entry="top"))
    yield measured("visits (Faasm function, C)", lambda: running.invoke("visits", b"demo"))
    count = running.guest("count")
    folder, name = str(file.resolve().parent), f"/data/{file.name}"
    yield measured("count (WASI program, C)", lambda: count.run(args=[name], dirs={"/data": f"{folder}:ro"}))


def measured(what: str, call: Callable[[], Any]) -> dict[str, str]:
    """Call twice, so that what happens once does not count, and lay out the second receipt."""
    call()
    result = call()
    output = getattr(result, "stdout", None) or result.output
    console.print(f"{what}: {output[:72].decode(errors='replace').strip()}")
    receipt = result.receipt
    return {
        "what": what,
        "wall": duration(receipt.wall_s),
        "in the guest": duration(receipt.guest_s) if receipt.guest_s else "",
        "host calls": str(sum(receipt.host_calls.values()) or ""),
        "memory": f"{receipt.peak_memory / 1024:.0f} KiB" if receipt.peak_memory else "resident",
        "bytes in / out": f"{receipt.bytes_in} / {receipt.bytes_out}",
    }


def costs(rows: list[dict[str, str]]) -> Table:
    """Lay the costs out as a table."""
    table = Table(title="what the calls cost")
    columns = ("what", "wall", "in the guest", "host calls", "memory", "bytes in / out")
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(*(row.get(column, "") for column in columns))
    return table


def duration(seconds: float) -> str:
    """Spell a time for people."""
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def serve(url: str, file: Path) -> None:
    """Keep serving until interrupted."""
    asked = Asked()
    console.print(f"\nstill serving; try: curl --data-binary @{file} {url}/summary   (ctrl-C ends it)")
    asked.wait()


if __name__ == "__main__":
    sys.exit(main())
