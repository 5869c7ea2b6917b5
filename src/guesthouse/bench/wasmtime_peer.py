"""wasmtime-py as its documentation uses it: the one place outside ``engine`` that imports it, as a rival."""

from __future__ import annotations

import time
from typing import Any

import wasmtime

from guesthouse.bench import guests
from guesthouse.bench.measure import Operations


def _increment(value: int) -> int:
    return value + 1


class Wasmtime:
    """The engine's own Python package, with instances made from a prepared ``InstancePre``."""

    name = "wasmtime-py"

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.cache = True
        self._engine = wasmtime.Engine(config)
        self._small = self._prepare(guests.small())

    def _prepare(self, wasm: bytes) -> wasmtime.InstancePre:
        module = wasmtime.Module(self._engine, wasm)
        linker = wasmtime.Linker(self._engine)
        i32 = wasmtime.ValType.i32
        for name in {item.name for item in module.imports}:
            assert name is not None
            linker.define_func("bench", name, wasmtime.FuncType([i32()], [i32()]), _increment)
        return linker.instantiate_pre(module)

    def operations(self) -> Operations:
        """Return what this peer can be measured at."""
        large = self._prepare(guests.large())
        wasmtime.Module(self._engine, guests.heavy())
        return {
            "python": self._python,
            "enter": self._enter,
            "fresh": lambda n: self._fresh(self._small, n),
            "fresh large": lambda n: self._fresh(large, n),
            "cold": self._cold,
            "cached start": self._cached_start,
        }

    def instance(self) -> tuple[Any, Any]:
        """Return a store and the exports of a started instance of the small guest."""
        store = wasmtime.Store(self._engine)
        return store, self._small.instantiate(store).exports(store)

    def close(self) -> None:
        """Nothing to remove."""

    def _python(self, n: int) -> float:
        store, exports = self.instance()
        begun = time.perf_counter()
        exports["loop_python"](store, n)
        return time.perf_counter() - begun

    def _enter(self, n: int) -> float:
        store, exports = self.instance()
        function = exports["nothing"]
        begun = time.perf_counter()
        for _ in range(n):
            function(store, 1)
        return time.perf_counter() - begun

    def _fresh(self, prepared: wasmtime.InstancePre, n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            store = wasmtime.Store(self._engine)
            prepared.instantiate(store)
            store.close()
        return time.perf_counter() - begun

    def _cold(self, n: int) -> float:
        payload = guests.PAYLOAD
        begun = time.perf_counter()
        for _ in range(n):
            store = wasmtime.Store(self._engine)
            exports: Any = self._small.instantiate(store).exports(store)
            memory = exports["memory"]
            memory.write(store, payload, guests.BUFFER)
            where = exports["echo"](store, guests.BUFFER, len(payload))
            output = memory.read(store, where, where + len(payload))
            store.close()
        spent = time.perf_counter() - begun
        assert output == payload
        return spent

    def _cached_start(self, n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            module = wasmtime.Module(self._engine, guests.heavy())
            store = wasmtime.Store(self._engine)
            wasmtime.Instance(store, module, [])
            store.close()
        return time.perf_counter() - begun
