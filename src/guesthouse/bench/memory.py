"""Memory per idle instance, each peer in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from guesthouse.bench.peers import PEERS

#: Instances that are held at the same time.
INSTANCES = 1000


def resident() -> int:
    """Return the bytes of physical memory that this process holds, page tables included."""
    kib = 0
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(("VmRSS:", "VmPTE:")):
            kib += int(line.split()[1])
    return kib * 1024


def per_instance(make: Callable[[], object], count: int = INSTANCES) -> float:
    """Return bytes per started instance that nobody uses.

    Args:
        make: returns a started instance.
        count: how many are held.
    """
    held = [make() for _ in range(10)]  # what the first ones cause once
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or else they live in what the compiler gave back
    before = resident()
    held += [make() for _ in range(count)]
    gc.collect()
    return (resident() - before) / count


def in_process(peer: str) -> float:
    """Return bytes per idle instance of a peer, measured in a new process.

    Args:
        peer: one of :data:`PEERS`.

    Raises:
        subprocess.CalledProcessError: the measurement failed.
    """
    command = [sys.executable, "-c", f"from guesthouse.bench import memory; memory.report({peer!r})"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return float(done.stdout)


def report(peer: str) -> None:
    """Measure a peer in this process and print the figure."""
    print(per_instance(PEERS[peer]().instance))
