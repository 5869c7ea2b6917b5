"""``kill -9`` in the middle of pushes: what was acknowledged is there, nothing half-pushed is visible."""

from __future__ import annotations

import pathlib
import random
import subprocess
import sys
import time

import pytest

from guesthouse.resources.state import StateStore

KILLS = 50
SIZE = 3 * 65536 + 123

PUSHER = """
import sys
from guesthouse.resources.state import StateStore
store = StateStore("sqlite:///" + sys.argv[1])
session = store.session("t", 1)
number, size = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
while True:
    number += 1
    session.write(b"k", number.to_bytes(8, "little") + bytes([number % 251]) * (size - 8))
    session.push(b"k")
    session.append(b"l", number.to_bytes(8, "little"))
    sys.stdout.write(f"{number}\\n")        # acknowledged
    sys.stdout.flush()
"""


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_and_nothing_is_torn(tmp_path: pathlib.Path) -> None:
    database = str(tmp_path / "state.db")
    acknowledged, reached, chance = 0, 0, random.Random(4)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", PUSHER, database, str(reached), str(SIZE)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.002, 0.03))
        process.kill()
        lines = process.stdout.read().split("\n")
        process.stdout.close()
        process.wait()
        acknowledged = max([acknowledged, *(int(line) for line in lines[:-1])])

        store = StateStore("sqlite:///" + database, capacity=1 << 20)
        data = store.get("t", b"k")
        if data is None:
            assert acknowledged == 0
            continue
        number = int.from_bytes(data[:8], "little")
        assert number >= acknowledged
        assert data[8:] == bytes([number % 251]) * (SIZE - 8)
        elements = [int.from_bytes(e, "little") for e in store.session("t", 1).appended(b"l")]
        assert acknowledged == 0 or acknowledged in elements
        assert elements == sorted(elements)
        reached = number
        store.close()
    assert reached > KILLS  # pushes did happen between the kills
