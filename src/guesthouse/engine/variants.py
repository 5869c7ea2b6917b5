"""The engine in its variants: what is compiled in, and where instances live.

Metering, threads and the pooling allocator are decided when code is compiled, so a host has one engine
of wasmtime for each combination that its guests need; each is made on first use.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from guesthouse.engine import faults, ticker
from guesthouse.engine.core import WASM_STACK
from guesthouse.engine.modules import ModuleInfo
from guesthouse.engine.places import Places
from guesthouse.errors import LoadError

#: What fits into a slot of the pool (DESIGN section 3, item 4): generous, since it is address space only.
POOL_TABLE_ELEMENTS = 200_000
POOL_INSTANCE_BYTES = 64 << 20
POOL_MEMORIES_PER_MODULE = 4
POOL_TABLES_PER_MODULE = 4
#: Address space of one slot: the largest memory, its guards, and its share of tables and heaps.
POOL_SLOT_BYTES = 6 << 30
#: Inaccessible bytes behind each memory of the pool. The odd half a megabyte moves memories off the borders
#: of the 2 MiB that one page table of the processor covers: where a program's stack ends at such a border, as
#: the 4 MiB of Faasm functions would, the kernel makes and frees one more table for each call.
POOL_GUARD_BYTES = (32 << 20) + (544 << 10)
#: Bytes of a used memory that are zeroed in place rather than given back to the kernel.
POOL_KEEP_RESIDENT = 64 << 10

#: Address space of one memory outside of the pool, as the engine reserves it: all that 32 bits can address,
#: and guards, so that compiled code need not check bounds.
MEMORY_BYTES = (4 << 30) + (64 << 20)
#: What a memory can grow to where that cannot be had: the first of which `AT_ONCE` fit.
SHORT_MEMORIES = tuple(mebibytes << 20 for mebibytes in (1024, 512, 256, 128, 64))
#: Instances that must find room at once.
AT_ONCE = 8

#: Held from finding address space for a pool until the pool has it: it is the whole process's.
_RESERVING = threading.Lock()

_RESERVE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE


@dataclass(frozen=True, slots=True)
class Kind:
    """Which variant.

    Attributes:
        pooled: instances live in preallocated slots; starting one costs microseconds.
        metered: the code counts fuel.
        threads: shared memories and atomics are allowed.
        room: bytes that each memory can grow to, where address space is short; ``None`` for all that 32 bits
            can address. Code for such memories checks bounds itself.
    """

    pooled: bool = True
    metered: bool = False
    threads: bool = False
    room: int | None = None


def pool_misfit(info: ModuleInfo) -> str | None:
    """Say why a module cannot live in the pool, or ``None`` when it can."""
    if any(memory.shared for memory in info.memories):
        return "it uses a shared memory"
    if any(table.minimum > POOL_TABLE_ELEMENTS for table in info.tables):
        return f"it has a table of more than {POOL_TABLE_ELEMENTS} elements"
    if len(info.memories) > POOL_MEMORIES_PER_MODULE:
        return f"it has more than {POOL_MEMORIES_PER_MODULE} memories"
    if len(info.tables) > POOL_TABLES_PER_MODULE:
        return f"it has more than {POOL_TABLES_PER_MODULE} tables"
    return None


def affordable_slots(wanted: int) -> int:
    """Return how many slots this process has address space for, at most `wanted`; 0 for no pool at all.

    The pool reserves 4 GiB and a guard for each slot without using memory.  Where address space is short
    (``ulimit -v``, strict overcommit, many hosts in one process: ten full pools fill what a processor can
    address) the engine would end the process rather than fail, so we try first.
    """
    while wanted >= 16 and not _there_is(wanted * POOL_SLOT_BYTES):
        wanted //= 4
    return wanted if wanted >= 16 else 0


def _there_is(size: int) -> bool:
    """Whether this process has so much address space left in one piece."""
    try:
        mmap.mmap(-1, size, flags=_RESERVE, prot=0).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


def affordable_room() -> int | None:
    """Return what a memory outside of the pool can grow to here, ``None`` for all that 32 bits can address.

    Raises:
        LoadError: there is no address space to run guests in.
    """
    if _there_is(AT_ONCE * MEMORY_BYTES):
        return None
    for room in SHORT_MEMORIES:
        if _there_is(AT_ONCE * room):
            return room
    raise LoadError(
        f"this process has no address space for guests: the engine reserves {MEMORY_BYTES >> 20} MiB "
        f"for each memory, {SHORT_MEMORIES[-1] >> 20} MiB at the least, and wants room for {AT_ONCE} of "
        f"them; raise the limit (`ulimit -v unlimited`)"
    )


class Variant:
    """One engine of wasmtime.

    Args:
        kind: which variant.
        slots: how many instances may live in the pool at once.
        parallel: whether it compiles on threads of its own.

    Attributes:
        pointer: address of its ``wasm_engine_t``.
        places: the line before its pool; ``None`` where there is no pool.
        companions: modules that were compiled for instances' companions, by hash (`engine.linking`).
        settings: all that decides about the code it compiles, as text; part of the cache key.
    """

    def __init__(self, kind: Kind, slots: int, *, parallel: bool = True) -> None:
        self.kind = kind
        self.slots = slots
        self.companions: OrderedDict[bytes, Any] = OrderedDict()
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.consume_fuel = kind.metered
        config.wasm_threads = kind.threads
        config.shared_memory = kind.threads
        config.wasm_memory64 = False
        pointer = config.ptr()
        ffi.wasmtime_config_wasm_exceptions_set(pointer, True)
        ffi.wasmtime_config_max_wasm_stack_set(pointer, WASM_STACK)
        # Bases of memories are remembered per instance, so they must never move.
        ffi.wasmtime_config_memory_may_move_set(pointer, False)
        if not parallel:
            ffi.wasmtime_config_parallel_compilation_set(pointer, False)
        if kind.pooled:
            self._pool(pointer, slots)
        if kind.room is not None:
            ffi.wasmtime_config_memory_reservation_set(pointer, kind.room)
            ffi.wasmtime_config_memory_reservation_for_growth_set(pointer, 0)
            ffi.wasmtime_config_memory_guard_size_set(pointer, 64 << 10)
        self._engine = wasmtime.Engine(config)
        faults.remember()
        self.pointer: int = ctypes.cast(self._engine.ptr(), ctypes.c_void_p).value or 0
        self.settings = repr((kind, POOL_GUARD_BYTES if kind.pooled else None))
        self.places = Places(slots) if kind.pooled else None
        ticker.start(self.pointer)
        # Modules, templates and compilations keep their variant, so that it ends with the last of them and
        # not under anybody's feet.  Calling `close` before is for those who know that nothing is in use.
        self.close = weakref.finalize(self, _stop, self.pointer, self._engine)

    @classmethod
    def affordable(cls, kind: Kind, slots: int) -> Variant:
        """Make an engine with at most so many slots, as many as there is address space left for.

        Where there is none for a pool at all, the engine is of the same kind without one; and where memories
        outside of a pool cannot have all that they could address, one with less room for each.

        Raises:
            LoadError: there is no address space to run guests in.
        """
        with _RESERVING:
            slots = affordable_slots(slots) if kind.pooled else 0
            if slots:
                return cls(kind, slots)
            return cls(replace(kind, pooled=False, room=affordable_room()), slots)

    @staticmethod
    def _pool(config: object, slots: int) -> None:
        pool = ffi.wasmtime_pooling_allocation_config_new()
        for option, value in (
            ("total_core_instances", slots),
            ("total_memories", slots),
            ("total_tables", slots),
            ("max_memories_per_module", POOL_MEMORIES_PER_MODULE),
            ("max_tables_per_module", POOL_TABLES_PER_MODULE),
            ("table_elements", POOL_TABLE_ELEMENTS),
            ("max_core_instance_size", POOL_INSTANCE_BYTES),
            ("max_memory_size", 1 << 32),
            ("linear_memory_keep_resident", POOL_KEEP_RESIDENT),
            ("table_keep_resident", 16 << 10),
            ("max_unused_warm_slots", slots),
        ):
            getattr(ffi, f"wasmtime_pooling_allocation_config_{option}_set")(pool, value)
        ffi.wasmtime_config_memory_guard_size_set(config, POOL_GUARD_BYTES)
        ffi.wasmtime_pooling_allocation_strategy_set(config, pool)
        ffi.wasmtime_pooling_allocation_config_delete(pool)

    def compile(self, wasm: bytes) -> wasmtime.Module:
        """Compile a module for this engine.

        Raises:
            wasmtime.WasmtimeError: the module is not valid, or does not fit the pool.
        """
        return wasmtime.Module(self._engine, wasm)

    @property
    def engine(self) -> wasmtime.Engine:
        """The engine of wasmtime."""
        return self._engine


def _stop(pointer: int, engine: wasmtime.Engine) -> None:
    ticker.stop(pointer)
    engine.close()
