"""Extism, the plug-in framework, from its own Python package."""

from __future__ import annotations

import time

import extism
from extism.extism import CompiledPlugin

from guesthouse.bench import guests
from guesthouse.bench.measure import Operations


def _count(n: int) -> bytes:
    return n.to_bytes(8, "little")


class Extism:
    """Plug-ins made from one compiled plug-in each."""

    name = "extism"

    def __init__(self) -> None:
        number = extism.ValType.I64

        def python(_plugin: object, params: list[extism.Val], results: list[extism.Val]) -> None:
            results[0].value = params[0].value + 1

        declare = extism.host_fn(name="python", signature=([number], [number]))
        self._functions = [declare(python)]
        self._small = CompiledPlugin(guests.extism(), functions=self._functions)

    def operations(self) -> Operations:
        """Return what this peer can be measured at."""
        large = CompiledPlugin(guests.large(), functions=[])
        return {
            "python": self._python,
            "enter": self._enter,
            "fresh": lambda n: self._fresh(self._small, n),
            "fresh large": lambda n: self._fresh(large, n),
            "cold": self._cold,
        }

    def instance(self) -> extism.Plugin:
        """Return a plug-in; extism makes the instance at the first call."""
        plugin = extism.Plugin(self._small)
        plugin.call("nothing", b"")
        return plugin

    def close(self) -> None:
        """Nothing to remove."""

    def _python(self, n: int) -> float:
        plugin = self.instance()
        begun = time.perf_counter()
        plugin.call("loop_python", _count(n))
        return time.perf_counter() - begun

    def _enter(self, n: int) -> float:
        plugin = self.instance()
        begun = time.perf_counter()
        for _ in range(n):
            plugin.call("nothing", b"")
        return time.perf_counter() - begun

    @staticmethod
    def _fresh(compiled: CompiledPlugin, n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            extism.Plugin(compiled)
        return time.perf_counter() - begun

    def _cold(self, n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            output = extism.Plugin(self._small).call("echo", guests.PAYLOAD)
        spent = time.perf_counter() - begun
        assert output == guests.PAYLOAD
        return spent
