"""Guesthouse, and the bare engine below it."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from guesthouse.bench import guests
from guesthouse.bench.measure import Operations
from guesthouse.bench.native import FUNCTIONS, Raw
from guesthouse.engine import Engine, HostFunction, Implementation, Instance, Native, Template
from guesthouse.host import Host


def _row(name: str, implementation: Implementation) -> HostFunction:
    return HostFunction("bench", "bench", name, "i", "i", implementation, "what is measured")


def _increment(_call: object, value: int) -> int:
    return value + 1


_BINDINGS = {
    ("bench", row.name): row
    for row in (
        _row("native", Native(FUNCTIONS["native"])),
        _row("copy", Native(FUNCTIONS["copy"])),
        _row("python", _increment),
    )
}


class Ours:
    """What an embedder pays."""

    name = "guesthouse"

    def __init__(self) -> None:
        self._scratch = TemporaryDirectory(prefix="guesthouse-bench-")
        self._cache = Path(self._scratch.name) / "cache"
        self._engine = Engine(self._cache)
        self._small = self._engine.compile(guests.small()).link(_BINDINGS)
        self._host: Host | None = None

    def operations(self) -> Operations:
        """Return what this peer can be measured at."""
        large = self._engine.compile(guests.large()).link({})
        self._engine.compile(guests.heavy())
        return {
            "native": lambda n: self._loop("loop_native", n),
            "copy": lambda n: self._loop("loop_copy", n),
            "python": lambda n: self._loop("loop_python", n),
            "enter": self._enter,
            "fresh": lambda n: self._fresh(self._small, n),
            "fresh large": lambda n: self._fresh(large, n),
            "cold": self._cold,
            "call": self._call,
            "cached start": self._cached_start,
        }

    def instance(self) -> Instance:
        """Return a started instance of the small guest; the caller closes it."""
        instance = self._small.open()
        instance.start()
        return instance

    def close(self) -> None:
        """End the host and remove the cache that was made for this run."""
        if self._host is not None:
            self._host.close()
        self._scratch.cleanup()

    def _loop(self, export: str, n: int) -> float:
        with self.instance() as instance:
            begun = time.perf_counter()
            instance.invoke(export, n)
            return time.perf_counter() - begun

    def _enter(self, n: int) -> float:
        with self.instance() as instance:
            invoke = instance.invoke
            begun = time.perf_counter()
            for _ in range(n):
                invoke("nothing", 1)
            return time.perf_counter() - begun

    @staticmethod
    def _fresh(template: Template, n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            instance = template.open()
            instance.start()
            instance.close()
        return time.perf_counter() - begun

    def _cold(self, n: int) -> float:
        template, payload = self._small, guests.PAYLOAD
        begun = time.perf_counter()
        for _ in range(n):
            instance = template.open()
            instance.start()
            instance.write(guests.BUFFER, payload)
            where = instance.invoke("echo", guests.BUFFER, len(payload))
            assert isinstance(where, int)
            output = instance.read(where, len(payload))
            instance.close()
        spent = time.perf_counter() - begun
        assert output == payload
        return spent

    def _call(self, n: int) -> float:
        if self._host is None:
            self._host = Host(engine=self._engine)
            self._host.load(guests.function(), name="echo")
        call, payload = self._host.guest("echo").call, guests.PAYLOAD
        begun = time.perf_counter()
        for _ in range(n):
            output = call(payload)
        spent = time.perf_counter() - begun
        assert output == payload
        return spent

    def _cached_start(self, n: int) -> float:
        wasm, spent = guests.heavy(), 0.0
        for _ in range(n):
            engine = Engine(self._cache)
            engine.compile(guests.small())  # the engine itself is made once per process
            begun = time.perf_counter()
            template = engine.compile(wasm).link({})
            instance = template.open()
            instance.start()
            spent += time.perf_counter() - begun
            instance.close()
            assert engine.compilations == 0
            del instance, template
            engine.close()
        return spent


class Floor:
    """The engine called from a C loop: what cannot be undercut without another engine."""

    name = "raw engine"

    def __init__(self) -> None:
        engine = Engine(cache=False)
        self._small = Raw(engine.compile(guests.small()))
        self._large = Raw(engine.compile(guests.large()))

    def operations(self) -> Operations:
        """Return what this peer can be measured at."""
        return {
            "native": lambda n: self._small.calls("loop_native", n, 1),
            "enter": lambda n: self._small.calls("nothing", 1, n),
            "fresh": self._small.fresh,
            "fresh large": self._large.fresh,
            "cold": lambda n: self._small.cold(guests.PAYLOAD, n),
        }

    def close(self) -> None:
        """Nothing to remove."""
