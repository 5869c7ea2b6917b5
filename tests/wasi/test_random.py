"""Random bytes: never the same twice, on whatever thread, in whatever process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from tests.wasi.driver import Wasi

SIZES = (1, 8, 16, 31, 32, 64, 127, 128, 129, 1000)


def drawn(guest, length):
    guest.write(0x1000, bytes(length))
    assert guest.random_get(0x1000, length) == 0
    return bytes(guest.read(0x1000, length))


def test_no_piece_comes_twice_on_any_thread(host):
    pieces: list[bytes] = []

    def draw():
        with Wasi(host) as guest:
            for size in SIZES * 40:
                data = drawn(guest, size)
                pieces.extend(data[at : at + 8] for at in range(0, len(data) - 7, 8))

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pieces) > 3000
    assert len(set(pieces)) == len(pieces)


def test_nothing_is_written_beyond_what_was_asked_for(host):
    with Wasi(host) as guest:
        for size in (0, 1, 32, 128):
            guest.write(0x1000, b"\xaa" * 200)
            assert guest.random_get(0x1000, size) == 0
            assert guest.read(0x1000 + size, 200 - size) == b"\xaa" * (200 - size)


def test_a_forked_child_does_not_repeat_what_its_parent_draws():
    script = """
import os, sys
import guesthouse
from tests.wasi.driver import Wasi
from tests.wasi.test_random import drawn
with guesthouse.Host() as host, Wasi(host) as guest:
    drawn(guest, 16)    # there is a store now
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, drawn(guest, 128))
        os._exit(0)
    mine, theirs = drawn(guest, 128), os.read(read, 128)
    os.wait()
    assert len(theirs) == 128
    assert not {mine[at:at + 4] for at in range(125)} & {theirs[at:at + 4] for at in range(125)}
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
