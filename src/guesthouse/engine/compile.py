"""The engine: compiles modules, once each, and hands out what can be linked and instantiated."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import wasmtime

from guesthouse.engine import wheel
from guesthouse.engine.cache import Cache, cpu_features, default_directory
from guesthouse.engine.functions import HostFunction
from guesthouse.engine.linker import SharedMemory, Template
from guesthouse.engine.modules import ModuleInfo, read
from guesthouse.engine.threads import require_threads
from guesthouse.engine.variants import Kind, Variant, pool_misfit
from guesthouse.errors import InvalidModule, LoadError

#: Called about ten times a second while a module compiles, with the seconds spent so far.
Progress = Callable[[float], None]

#: Instances that can live in the pool at once, by default.
SLOTS = 4096


class Module:
    """A compiled module; thread-safe and shared by everybody who loads the same bytes.

    Attributes:
        info: what it declares.
        variant: the engine it was compiled for.
        misfit: why it lives outside the pool, or ``None``.
        cached: whether the machine code came from the cache.
    """

    def __init__(
        self, info: ModuleInfo, variant: Variant, compiled: wasmtime.Module, misfit: str | None, cached: bool
    ) -> None:
        self.info, self.variant, self.misfit, self.cached = info, variant, misfit, cached
        self._compiled = compiled
        self.pointer: int = ctypes.cast(compiled.ptr(), ctypes.c_void_p).value or 0

    @property
    def metered(self) -> bool:
        """Whether the code counts fuel."""
        return self.variant.kind.metered

    def link(
        self,
        bindings: Mapping[tuple[str, str], HostFunction],
        *,
        shared: SharedMemory | None = None,
        counted: bool = True,
    ) -> Template:
        """Bind every imported function.

        Args:
            bindings: what answers each ``(module, name)``.
            shared: the shared memory that the module imports, if it does.
            counted: count its host calls by name; libraries of another instance are not counted.

        Raises:
            WrongImportType: a row is of another type than the import.
            LoadError: an import other than a function cannot be provided.
        """
        return Template(self, bindings, shared, counted=counted)

    def shared_memory(self, limit: int) -> SharedMemory | None:
        """Make the shared memory that this module imports; ``None`` when it imports none.

        Args:
            limit: bytes that its declared maximum may reach; growth of a shared memory passes by every
                limiter, so the maximum itself is what counts (DESIGN section 3, item 6).

        Raises:
            LoadError: the memory has no maximum, or one above the limit.
        """
        for item in self.info.imports:
            kind = item.type
            if item.kind != "memory" or not getattr(kind, "shared", False):
                continue
            maximum = getattr(kind, "maximum", None)
            if maximum is None or maximum * 65536 > limit:
                declared = "none" if maximum is None else f"{maximum * 65536} bytes"
                raise LoadError(
                    f"import {item.module}.{item.name}: a shared memory must declare a maximum of at most "
                    f"{limit} bytes, this one declares {declared}; link with a smaller --max-memory "
                    f"or raise the `memory` limit"
                )
            return SharedMemory(self.variant, getattr(kind, "minimum", 0), maximum)
        return None


def beside(module: Module, wasm: bytes) -> Module:
    """Compile another module for the engine of one; it is kept in no cache.

    Raises:
        InvalidModule: the bytes are no valid module, or use what the engine does not allow.
    """
    info = read(wasm)
    _ready_to_compile()
    try:
        compiled = module.variant.compile(wasm)
    except wasmtime.WasmtimeError as error:
        raise _refusal(error) from None
    return Module(info, module.variant, compiled, module.misfit, False)


class Engine:
    """Compiles modules through the cache.  Any thread may use it.

    Args:
        cache: directory of the compile cache, ``None`` for the user's, ``False`` for no cache.
        slots: instances that can live in the pool at once; fewer where address space is short.

    Raises:
        LoadError: a cache directory that was named cannot be used, or is not safe to load code from.
        ResourceError: this process cannot run guests: it has too little stack, or may start no thread.
        ImportError: the installed wheel is not one that this code knows.
    """

    def __init__(self, cache: Path | str | bool | None = None, *, slots: int = SLOTS) -> None:
        from guesthouse.engine.selftest import check  # it needs all that this module has

        check()
        self._slots = slots
        self._variants: dict[Kind, Variant] = {}
        self._closed = False
        self._modules: weakref.WeakValueDictionary[tuple[str, Kind], Module] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        self._compiling: dict[tuple[str, Kind], threading.Lock] = {}
        self.compilations = 0
        self.cache = self._open_cache(cache)

    @staticmethod
    def _open_cache(where: Path | str | bool | None) -> Cache | None:
        if where is False:
            return None
        if isinstance(where, (str, Path)):
            try:
                return Cache(Path(where))
            except OSError as error:
                raise LoadError(f"the compile cache {where} cannot be used: {error.strerror}") from error
        if named := os.environ.get("GUESTHOUSE_CACHE"):
            return Engine._open_cache(named)
        try:
            return Cache(default_directory())
        except (OSError, RuntimeError):  # no home, or a read-only one: work without
            return None

    def variant(self, kind: Kind) -> Variant:
        """Return the engine of wasmtime for a kind of code, made on first use; perhaps without the pool.

        Raises:
            LoadError: the engine is closed, or there is no address space to run guests in.
        """
        with self._lock:
            if self._closed:
                raise LoadError("the engine is closed")
            found = self._variants.get(kind)
            if found is None:
                made = Variant.affordable(kind, self._slots)
                found = self._variants[kind] = self._variants.setdefault(made.kind, made)
            return found

    def compile(
        self,
        wasm: bytes | mmap.mmap | ModuleInfo,
        *,
        metered: bool = False,
        threads: bool = False,
        progress: Progress | None = None,
    ) -> Module:
        """Compile a module, or take it from the cache.

        Args:
            wasm: the module's bytes, or what :func:`read` or :func:`read_file` returned for it.
            metered: count fuel (the code becomes 1.0 to 1.5 times slower).
            threads: allow shared memories and atomics.
            progress: called while it compiles.

        Raises:
            InvalidModule: the bytes are no valid module, or use what is not enabled.
        """
        info = wasm if isinstance(wasm, ModuleInfo) else read(wasm)
        misfit = pool_misfit(info)
        variant = self.variant(Kind(pooled=misfit is None, metered=metered, threads=threads))
        if misfit is None and not variant.kind.pooled:
            misfit = "this process has no address space for a pool"
            if variant.kind.room is not None:
                misfit += f", and a memory can grow to {variant.kind.room >> 20} MiB at most"
        try:
            return self._obtain(info, variant, misfit, progress)
        except wasmtime.WasmtimeError as refused:
            if not variant.kind.pooled:
                raise _refusal(refused) from None
            refusal = _refusal(refused)
        # It may be sound, and only too large for a slot of the pool in a way that its sections do not show.
        try:
            plain = self.variant(Kind(pooled=False, metered=metered, threads=threads))
            return self._obtain(info, plain, refusal.detail, progress)
        except wasmtime.WasmtimeError:
            raise refusal from None

    def _obtain(
        self, info: ModuleInfo, variant: Variant, misfit: str | None, progress: Progress | None
    ) -> Module:
        digest = info.sha256 if self.cache is None else self.cache.digest(info)
        name = (digest, variant.kind)
        with self._lock:
            waiting = self._compiling.setdefault(name, threading.Lock())
        with waiting:  # one compilation for many waiters
            module = self._modules.get(name)
            if module is None:
                compiled, cached = self._load(info, digest, variant, progress)
                module = self._modules[name] = Module(info, variant, compiled, misfit, cached)
        return module

    def _load(
        self, info: ModuleInfo, digest: str, variant: Variant, progress: Progress | None
    ) -> tuple[wasmtime.Module, bool]:
        if self.cache is None:
            return self._compile(info, variant, progress), False
        parts = (digest, wheel.version(), variant.settings, cpu_features())
        key = hashlib.sha256(repr(parts).encode()).hexdigest()
        found = self._from_cache(key, variant)
        if found is None:
            with self.cache.lock(key):
                found = self._from_cache(key, variant)  # another process may have been quicker
                if found is None:
                    compiled = self._compile(info, variant, progress)
                    self.cache.store(key, bytes(compiled.serialize()))
                    return compiled, False
        return found, True

    def _from_cache(self, key: str, variant: Variant) -> wasmtime.Module | None:
        assert self.cache is not None
        with self.cache.entry(key) as path:
            if path is None:
                return None
            try:
                return wasmtime.Module.deserialize_file(variant.engine, path)
            except wasmtime.WasmtimeError:
                self.cache.discard(key)
                return None

    def _compile(self, info: ModuleInfo, variant: Variant, progress: Progress | None) -> wasmtime.Module:
        _ready_to_compile()
        self.compilations += 1
        code = bytes(info.source)
        if progress is None:
            return variant.compile(code)
        begun = time.monotonic()
        with ThreadPoolExecutor(1, "guesthouse-compile") as worker:
            future = worker.submit(variant.compile, code)
            while not _ended(future, 0.1):
                progress(time.monotonic() - begun)
            return future.result()

    def close(self) -> None:
        """Compile nothing more; memory and tickers go with the last module, template and instance."""
        with self._lock:
            self._closed = True
            self._variants.clear()


@functools.cache
def _ready_to_compile() -> None:
    """See to it that the engine can start its compiling threads: it ends the process when it cannot.

    Raises:
        ResourceError: it cannot.
    """
    require_threads(len(os.sched_getaffinity(0)), "compiling")


def _ended(future: Any, seconds: float) -> bool:
    try:
        future.exception(seconds)
    except TimeoutError:
        return False
    return True


#: Where the engine says what it stumbled over: "at offset 24: " or " (at offset 0x18)".
_OFFSET = re.compile(r"Invalid input WebAssembly code at offset (\d+): | \(at offset (0x[0-9a-f]+)\)")


def _refusal(error: wasmtime.WasmtimeError) -> InvalidModule:
    """The engine's chain of causes, on one line, and the offset that it names."""
    text = str(error)
    found = _OFFSET.search(text)
    offset = int(found[1] or found[2], 0) if found else None
    causes = [re.sub(r"^\d+: ", "", line.strip()) for line in _OFFSET.sub("", text).splitlines()]
    return InvalidModule("; ".join(line for line in causes if line and line != "Caused by:"), offset=offset)
