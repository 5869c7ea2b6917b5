"""What a soak measures with: load in phases, latencies in constant space, growth as a slope over the run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

Work = Callable[[], object]

#: Latencies that begin this long after a change of phase belong to neither, seconds.
SETTLING = 0.3


class Latencies:
    """A histogram of seconds whose buckets are 2 % wide, so that hours of load take no memory."""

    def __init__(self) -> None:
        self._buckets = [0] * 1024  # 1 us … 600 s

    def add(self, seconds: float) -> None:
        place = math.log(max(seconds, 1e-6) / 1e-6, 1.02)
        self._buckets[min(int(place), len(self._buckets) - 1)] += 1

    @property
    def count(self) -> int:
        return sum(self._buckets)

    def quantile(self, share: float) -> float:
        """Return the upper edge of the bucket in which a share of all latencies ends, in seconds."""
        wanted = share * self.count
        for place, number in enumerate(self._buckets):
            wanted -= number
            if wanted <= 0:
                return 1e-6 * 1.02 ** (place + 1)
        return math.inf


class Load:
    """Threads that repeat something until told to stop.

    Attributes:
        phase: what latencies are counted under; "" for none.
        latencies: of each phase, by kind of work.
        failures: what went wrong, in any phase.
    """

    def __init__(self) -> None:
        self.phase = ""
        self.latencies: dict[str, dict[str, Latencies]] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._settled = 0.0
        self._threads: list[threading.Thread] = []

    def enter(self, phase: str) -> None:
        """Count what begins from now on, after a moment, under another phase."""
        self._settled = time.perf_counter() + SETTLING
        self.phase = phase
        self.latencies.setdefault(phase, {})

    def add(self, kind: str, work: Work, pause: float) -> None:
        """Repeat some work on a thread of its own, ``pause`` seconds apart."""
        self._threads.append(threading.Thread(target=self._run, args=(kind, work, pause), daemon=True))
        self._threads[-1].start()

    def _run(self, kind: str, work: Work, pause: float) -> None:
        while not self._stop.wait(pause):
            phase, begun = self.phase, time.perf_counter()
            counted = phase and begun > self._settled
            try:
                work()
            except Exception as error:
                self.failures.append(f"{kind}: {error!r}")
            if counted and phase == self.phase:
                self.latencies[phase].setdefault(kind, Latencies()).add(time.perf_counter() - begun)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def resident() -> int:
    """Return the bytes of physical memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Growth:
    """Looks at the process at regular intervals; growth is the slope through all samples."""

    GAUGES: ClassVar[dict[str, Callable[[], float]]] = {
        "memory": resident,
        "descriptors": descriptors,
        "threads": threading.active_count,
    }

    def __init__(self) -> None:
        self.times: list[float] = []
        self.samples: dict[str, list[float]] = {name: [] for name in self.GAUGES}

    @contextmanager
    def watching(self, interval: float) -> Iterator[None]:
        """Sample on a thread of its own while entered."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(interval):
                self.times.append(time.monotonic())
                for name, gauge in self.GAUGES.items():
                    self.samples[name].append(float(gauge()))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def of(self, name: str) -> float:
        """Return by how much a gauge has risen over the time watched, along the line of least squares."""
        times, values = self.times, self.samples[name]
        middle, level = sum(times) / len(times), sum(values) / len(values)
        spread = sum((at - middle) ** 2 for at in times)
        slope = sum((at - middle) * (value - level) for at, value in zip(times, values, strict=True)) / spread
        return slope * (times[-1] - times[0])
