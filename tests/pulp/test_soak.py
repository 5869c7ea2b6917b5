"""Mixed load over time, with a cell that crashes and one that runs away.

Ten seconds by default; ``GUESTHOUSE_SOAK_SECONDS=1800`` makes it half an hour.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import httpx
import pytest

from guesthouse.interfaces.pulp.extension import Event

SECONDS = float(os.environ.get("GUESTHOUSE_SOAK_SECONDS", "10"))
HTTP = {"capabilities": ["transport.http.inbound"]}


def resident() -> int:
    """Return the bytes of physical memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Load:
    """Threads that repeat something until told to stop, and count their failures and times."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.times: list[float] = []
        self._threads: list[threading.Thread] = []

    def add(self, work, pause: float = 0.0) -> None:
        def run() -> None:
            while not self.stop.is_set():
                begun = time.perf_counter()
                try:
                    work()
                except Exception as error:
                    self.failures.append(repr(error))
                self.times.append(time.perf_counter() - begun)
                self.stop.wait(pause)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(20)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 120)
def test_nothing_grows_and_nobody_suffers_from_a_neighbour_that_misbehaves(application) -> None:
    app = application(
        {**HTTP, "wasm": "echo.c", "name": "echo"},
        {**HTTP, "wasm": "goecho", "name": "go", "config": {"prefix": "g"}, "depends_on": []},
        {"wasm": "kit.c", "name": "a", "consumes": ["b"]},
        {"wasm": "kit.c", "name": "b"},
        {"wasm": "any.c", "name": "store", "capabilities": ["storage.sqlite", "storage.fs", "entropy.read"]},
        {"wasm": "kit.c", "name": "crasher", "call_timeout_ms": 150},
    )
    # Both echo cells ask for the same routes: the second one is refused and fails, which is part of the scene.
    client = httpx.Client(base_url=app.url, timeout=20)
    load = Load()

    def ask() -> None:
        assert client.get("/echo/word").text in ("word", "gword")

    def post() -> None:
        assert client.post("/echo", content=b"x" * 10_000).status_code == 200

    def relay() -> None:
        answer = app.runtime.cell("a").call("relay", b"b|reverse|abc")
        assert answer == b"\0cba", answer

    misbehaving = Load()
    kinds = iter(range(1 << 30))

    def misbehave() -> None:
        kind = "trap" if next(kinds) % 2 else "spin"
        app.runtime.post(Event(kind, b"\1", "crasher"))
        if app.runtime.units["crasher"].state == "failed":
            app.runtime.reload("crasher")

    try:
        for work in (ask, ask, post, relay, relay):
            load.add(work)
        misbehaving.add(misbehave, 0.5)
        time.sleep(SECONDS * 0.3)
        gc.collect()
        memory, files, threads = resident(), descriptors(), threading.active_count()
        time.sleep(SECONDS * 0.7)
    finally:
        load.end()
        misbehaving.end()
        client.close()
    gc.collect()
    assert not load.failures, load.failures[:3]
    assert len(load.times) > 50 * SECONDS
    assert resident() - memory < 48 << 20
    assert descriptors() <= files + 10
    assert threading.active_count() <= threads + 3
    p99 = sorted(load.times)[int(len(load.times) * 0.99)]
    assert p99 < 1.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert app.runtime.units["crasher"].restarts > 0
