"""kill -9 at random moments: what was acknowledged is there afterwards, and nothing else leaks."""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import time
from pathlib import Path

import pytest

from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.leases.clock import VirtualClock

ROUNDS = 100
EVENT = struct.Struct("<cQQB")  # what happened, lease, block, value


def live(path: Path, seed: int, report: int) -> None:
    """Random lives of leases until somebody kills us; each event is reported once it is acknowledged."""
    rng = random.Random(seed)
    blocks = Blocks(VirtualClock(), path, blocks=4096, pool=1 << 16)
    held: list[int] = [lease.id for lease in blocks.leases.held_by("t") if lease.status == 0]
    while True:
        choice = rng.random()
        if choice < 0.01:
            blocks.leases.compact()  # a journal may also be cut short while it is written anew
        elif choice < 0.15 or not held:
            lease = blocks.leases.grant("t", 8, 600)
            os.write(report, EVENT.pack(b"g", lease.id, 0, 0))
            held.append(lease.id)
        elif choice < 0.25 and len(held) > 2:
            ident = held.pop(rng.randrange(len(held)))
            os.write(report, EVENT.pack(b"e", ident, 0, 0))  # ended, or about to
            blocks.leases.free("t", ident)
            os.write(report, EVENT.pack(b"f", ident, 0, 0))
        else:
            ident, lba, value = rng.choice(held), rng.randrange(8), rng.randrange(1, 256)
            os.write(report, EVENT.pack(b"b", ident, lba, value))  # may or may not arrive
            blocks.write("t", ident, lba, bytes([value]) * 512)
            os.write(report, EVENT.pack(b"w", ident, lba, value))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    state: dict[int, dict[int, set[int]]] = {}
    gone: set[int] = set()
    for round_number in range(ROUNDS):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                live(path, round_number, writing)
            finally:
                os._exit(1)
        os.close(writing)
        time.sleep(random.Random(round_number).uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        events = b""
        while piece := os.read(reading, 1 << 16):
            events += piece
        os.close(reading)
        os.waitpid(child, 0)
        ending: set[int] = set()
        for at in range(0, len(events) // EVENT.size * EVENT.size, EVENT.size):
            kind, ident, lba, value = EVENT.unpack_from(events, at)
            if kind == b"g":
                state[ident] = {}
            elif kind == b"b":
                state[ident].setdefault(lba, {0}).add(value)
            elif kind == b"w":
                state[ident][lba] = {value}
            elif kind == b"e":
                ending.add(ident)
            elif kind == b"f":
                gone.add(ident)
                del state[ident]
        check(path, state, gone, ending)


def check(path: Path, state: dict[int, dict[int, set[int]]], gone: set[int], ending: set[int]) -> None:
    blocks = Blocks(VirtualClock(), path, blocks=4096, pool=1 << 16)
    known = {lease.id: lease for lease in blocks.leases.held_by("t")}
    for ident in gone & known.keys():
        assert known[ident].status == 2, "a freed lease came back"
    for ident in list(state):
        assert ident in known, "an acknowledged lease is gone"
        if known[ident].status != 0:
            assert ident in ending, "a lease ended by itself"
            del state[ident]
            gone.add(ident)
            continue
        for lba in range(8):
            data = blocks.read("t", ident, lba)
            values = state[ident].get(lba, {0})
            assert data[0] in values and len(set(data)) == 1, (lba, data[0], values)
            state[ident][lba] = {data[0]}
    for lease in known.values():  # granted, but the kill came before the report
        if lease.status == 0 and lease.id not in state:
            state[lease.id] = {}
            assert all(blocks.read("t", lease.id, lba) == bytes(512) for lba in range(8))
    spans = sorted((lease.start, lease.start + lease.units) for lease in known.values() if lease.status == 0)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), "extents overlap"
    blocks.close()
