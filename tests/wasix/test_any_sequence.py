"""Random sequences of all functions with random arguments, in one program that was given a lot."""

from __future__ import annotations

import random
import time

import pytest
from tests.wasix.driver import Driver, descriptors_now

import guesthouse
from guesthouse.engine import Exit
from guesthouse.interfaces.wasi.imports import IMPORTS as PREVIEW1
from guesthouse.interfaces.wasix.imports import IMPORTS as WASIX

#: They end the program.
LEFT_OUT = {
    "proc_exit", "proc_exit2", "thread_exit", "proc_exec", "proc_exec2", "proc_exec3", "proc_raise", "stack_restore",
    "thread_signal", "proc_signal", "proc_raise_interval",
}  # fmt: skip
VALUES = [*range(12), 64, 100, 256, 0x1000, 65535, 65536, 2**18 - 4, 2**31, 2**32 - 1]


def functions() -> dict[str, tuple[str, str]]:
    """One row of each name: its import and its type."""
    found = {}
    for row in (*WASIX, *PREVIEW1):
        if row.module != "wasi_unstable" and row.name not in LEFT_OUT:
            kind = row.params + ("e" if row.results else "-")
            found.setdefault(row.name, (f"{row.module}:{row.name} {kind}", row.params))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_calls_harms_the_host(host, tmp_path, seed):
    chance = random.Random(seed)
    known = functions()
    names = list(known)
    lines = [line for line, _ in known.values()]
    options = {"dirs": {"/": str(tmp_path), "/dev": "/dev:ro"}, "net": "ipv4:allow=127.0.0.1:*"}
    with Driver(host, lines, **options):
        pass  # what compiling opens stays open
    before = descriptors_now()
    calls = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        with Driver(host, lines, **options) as guest:
            guest.write(0, chance.randbytes(4096))
            guest.write(0x1000, b"abc/def\0" * 64)
            for _ in range(2000):
                name = chance.choice(names)
                arguments = [
                    chance.choice(VALUES)
                    if chance.random() < 0.8
                    else chance.randrange(2 ** (32 if k == "i" else 64))
                    for k in known[name][1]
                ]
                guest.instance.deadline = time.monotonic_ns() + 5_000_000
                calls += 1
                try:
                    guest.instance.invoke(name, *arguments)
                except (guesthouse.Error, Exit):
                    break  # an instance that was ended is not entered again
    assert calls > 100
    assert descriptors_now() <= before
