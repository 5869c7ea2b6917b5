"""One text through guests of five interfaces: who called whom, how long it took, and the report.

`intake`, a Pulp cell, takes the text over HTTP. `split`, a Faasm function, puts it into shared state and
chains four `tally` functions, which count words of it in place. `rank`, an Ark module, ranks the words in
parallel launches of its own function. `layout`, a WASI program, makes the report. `archive`, a fabric
program, keeps it in leased blocks, and reads it back when the host has been restarted.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console
from rich.tree import Tree

import guesthouse
from guesthouse.observe import Instrument
from guesthouse.testing import guests

ROOT = Path(__file__).resolve().parent.parent
LIMITS = guesthouse.Limits(memory="64MiB", wall="20s")

#: What each guest is granted. Capabilities never grow along a call, so a caller has what its callees need.
FAASM = ("faasm.chain", "faasm.state")
FABRIC = ("grafos.memory", "grafos.blocks")
GRANTS = {
    "intake": ("transport.http.inbound", "ark.module_run", *FAASM, *FABRIC),
    "split": FAASM,
    "tally": FAASM,
    "rank": ("ark.module_run",),
    "layout": (),
    "archive": FABRIC,
}


class Watcher(Instrument):
    """Remembers the calls that nobody in the host made: here, those of the cell."""

    def __init__(self) -> None:
        self.roots: list[int] = []

    def call_ended(self, call: Any, result: Any) -> None:
        """Note the call if it has no parent."""
        if call.parent is None:
            self.roots.append(call.id)


def open_host(data: Path, watcher: Watcher | None = None) -> guesthouse.Host:
    """Open a host that keeps files and leases in `data`, with all guests loaded."""
    host = guesthouse.Host(
        instruments=[watcher] if watcher else [],
        fabric={"directory": data / "fabric"},
        pulp={"storage_root": data / "cells", "settings": {"HTTP_PORT": "0"}},
    )
    for name, granted in GRANTS.items():
        host.load(guests.build(f"guests/report/{name}.c"), name=name, grant=granted, limits=LIMITS)
    return host


def over_http(host: guesthouse.Host, text: bytes) -> str:
    """Send a text to the cell and return the report."""
    url = host.service("pulp").catalogue.http.url
    return httpx.post(f"{url}/report", content=text, timeout=30).raise_for_status().text


def from_blocks(data: Path, lease: int) -> str:
    """Open another host on the same files and return the report that a lease holds."""
    with open_host(data) as host:
        return host.call("archive", lease.to_bytes(8, "little")).decode()


def grow(tree: Tree, node: Any) -> None:
    """Add a call and those it made."""
    receipt = node.result.receipt
    entry = f".{node.entry}" if node.entry and not node.entry.startswith("_") else ""
    calls = sum(receipt.host_calls.values())
    branch = tree.add(
        f"[bold]{node.guest}[/]{entry}  {receipt.wall_s * 1e3:.2f} ms  "
        f"[dim]{receipt.bytes_in} B in, {receipt.bytes_out} B out, {calls} host calls[/]"
    )
    for child in node.children:
        grow(branch, child)


def main(arguments: list[str]) -> int:
    """Run the demonstration on the file named, or on the README."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    file = Path(arguments[0]) if arguments else ROOT / "README.md"
    text = file.read_bytes()
    watcher = Watcher()
    with TemporaryDirectory(prefix="guesthouse-report-") as folder:
        data = Path(folder)
        with open_host(data, watcher) as host:
            over_http(host, text)  # once, so that what happens once does not count
            watcher.roots.clear()
            begun = time.perf_counter()
            head, _, report = over_http(host, text).partition("\n")
            spent = time.perf_counter() - begun
            tree = Tree(f"[bold]intake[/], POST /report of {file.name}  {spent * 1e3:.2f} ms, HTTP included")
            for root in watcher.roots:
                grow(tree, host.scheduler.graph(root))
        console.print(tree)
        console.print(f"\n{report}")
        again = from_blocks(data, int(head.split()[-1]))
        same = "the same" if again == report else "NOT the same"
        console.print(f"{head}; read back after a restart: {same}, {len(again)} bytes")
    return 0 if again == report else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
