"""Compiled modules that cells share (spec/pulp.md 5.7).

Cells of one module share its machine code, never memory or globals.  A lease stands for one cell that
uses a module; a module that was evicted lives on for as long as somebody has a lease of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guesthouse.errors import LoadError

if TYPE_CHECKING:
    from guesthouse.engine import Engine, Module


#: Modules that are kept although no cell uses them; beyond that the oldest are forgotten.
IDLE_ENTRIES = 32


class ModuleCacheClosed(LoadError):
    """The cache was closed; nothing is loaded through it any more."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        entries: modules.
        compilations: how often a module was made, whether by compiling it or from the disk.
        leases: cells that use one of its modules, evicted ones included.
        closed: whether it was closed.
    """

    entries: int
    compilations: int
    leases: int
    closed: bool


class Lease:
    """The right of one cell to use a module; given back once, by `release` or by leaving it."""

    def __init__(self, cache: ModuleCache, key: str, module: Module) -> None:
        self._cache, self._held = cache, True
        self.key, self.module = key, module

    def release(self) -> None:
        """Give the module back; harmless when repeated."""
        with self._cache._changed:
            if self._held:
                self._held = False
                self._cache._returned(self.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class _Entry:
    """A module that is there, or that somebody is making."""

    __slots__ = ("error", "module", "ready")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.module: Module | None = None
        self.error: Exception | None = None


class ModuleCache:
    """Modules by the digest of their bytes.  Any thread may use it.

    Args:
        engine: compiles; its own cache on disk stays in use.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._leases: dict[str, int] = {}
        self._compilations = 0
        self._closed = False

    def acquire(self, wasm: bytes) -> Lease:
        """Return a lease of a module; of several that ask at once, one compiles and the others wait.

        Raises:
            ModuleCacheClosed: the cache was closed.
            LoadError: the module does not compile.
        """
        key = hashlib.sha256(wasm).hexdigest()
        with self._changed:
            if self._closed:
                raise ModuleCacheClosed("the module cache is closed")
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry()
            self._leases[key] = self._leases.get(key, 0) + 1
        if mine:
            self._make(key, entry, wasm)
        entry.ready.wait()
        if entry.module is None:
            with self._changed:
                self._returned(key)
            raise entry.error or ModuleCacheClosed("the module cache is closed")
        return Lease(self, key, entry.module)

    def evict(self, key: str, *, wait: float = 0.0) -> bool:
        """Forget a module: whoever asks next makes it anew.

        Args:
            key: SHA-256 of the module in hex.
            wait: seconds to wait for the cells that use it.

        Returns:
            Whether nobody uses it any more.
        """
        with self._changed:
            self._entries.pop(key, None)
            return self._drained(lambda: not self._leases.get(key), wait)

    def close(self, *, wait: float = 0.0) -> bool:
        """Forget all modules and refuse to load more; `wait` and the result as for `evict`."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            return self._drained(lambda: not self._leases, wait)

    @property
    def stats(self) -> CacheStats:
        """Counts at this moment."""
        with self._changed:
            leases = sum(self._leases.values())
            return CacheStats(len(self._entries), self._compilations, leases, self._closed)

    def _make(self, key: str, entry: _Entry, wasm: bytes) -> None:
        try:
            entry.module = self._engine.compile(wasm)
            with self._changed:
                self._compilations += 1
        except Exception as error:  # noqa: BLE001 - raised by `acquire`, here and in those who wait
            entry.error = error
            with self._changed:
                if self._entries.get(key) is entry:
                    del self._entries[key]
        finally:
            entry.ready.set()

    def _returned(self, key: str) -> None:
        """Count one lease less; called with the lock held."""
        self._leases[key] -= 1
        if not self._leases[key]:
            del self._leases[key]
            self._changed.notify_all()
        idle = [other for other in self._entries if other not in self._leases]
        for other in idle[: max(0, len(idle) - IDLE_ENTRIES)]:
            del self._entries[other]

    def _drained(self, done: Callable[[], bool], wait: float) -> bool:
        return self._changed.wait_for(done, wait) if wait > 0 else done()
