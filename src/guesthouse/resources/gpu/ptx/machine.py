"""Executes a translated kernel: all threads of some blocks at once, those that are furthest behind first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from guesthouse.resources.gpu.contract import Dim, Launch
from guesthouse.resources.gpu.failures import DEVICE_FAULT, SessionError
from guesthouse.resources.gpu.ptx.arithmetic import TYPES, Array
from guesthouse.resources.gpu.store import Store

#: Threads that are executed together; whole blocks, at least one.
BATCH_THREADS: Final = 16_384
BATCH_BYTES: Final = 1 << 28
#: Shared memory of one block, as the driver of a common device limits it.
MOST_SHARED: Final = 48 << 10
#: Where shared memory appears in generic addresses.
SHARED_WINDOW: Final = 1 << 56

#: Which threads an instruction works on: all, or some by position.
Lanes = slice | Array
Action = Callable[["Batch", Any], None]

PLAIN, BRANCH, BARRIER, EXIT = range(4)


@dataclass(slots=True)
class Step:
    """One instruction, ready to run.

    Attributes:
        sort: PLAIN, BRANCH, BARRIER or EXIT.
        action: what a plain one does.
        guard: predicate register and whether it is negated.
        target: where a branch goes.
    """

    sort: int
    action: Action | None
    guard: tuple[str, bool] | None
    target: int = 0


@dataclass(slots=True)
class Program:
    """A kernel, translated.

    Attributes:
        registers: name to type, such as ``u32``.
        params: (offset, size) of each, in order.
        shared_bytes: static shared memory.
        leaders: positions at which a straight run of instructions begins.
    """

    name: str
    registers: Mapping[str, str]
    params: Sequence[tuple[int, int]]
    shared_bytes: int
    steps: Sequence[Step]
    leaders: frozenset[int]


class Batch:
    """The threads of consecutive blocks of one launch.

    Attributes:
        registers: one array per register, an element per thread.
        params: the argument block.
        specials: arrays of %tid and the like.
    """

    def __init__(
        self, program: Program, launch: Launch, params: bytes, store: Store, first: int, blocks: int
    ) -> None:
        threads = launch.threads
        lanes = blocks * threads
        self.store, self.params = store, params
        self.lanes = lanes
        self.registers: dict[str, Array] = {
            name: np.zeros(lanes, _storage(kind)) for name, kind in program.registers.items()
        }
        self.shared_size = program.shared_bytes + launch.shared
        self._stride = -(-self.shared_size // 8) * 8
        self.shared = np.zeros(blocks * self._stride, np.uint8)
        self._shared_base = np.repeat(np.arange(blocks, dtype=np.uint64) * np.uint64(self._stride), threads)
        self.specials = _specials(launch, first, blocks)

    def load(self, addresses: Array, dtype: np.dtype[Any], lanes: Lanes, space: str) -> Array:
        """Load one value per thread."""
        if space == "global":
            return self.store.gather(addresses, dtype)
        if space == "generic":
            inside = addresses >= np.uint64(SHARED_WINDOW)
            if not inside.any():
                return self.store.gather(addresses, dtype)
            if not inside.all():
                result = np.zeros(len(addresses), dtype)
                numbers = np.arange(self.lanes)[lanes]
                result[inside] = self.load(addresses[inside], dtype, numbers[inside], "generic")
                result[~inside] = self.store.gather(addresses[~inside], dtype)
                return result
            addresses = addresses - np.uint64(SHARED_WINDOW)
        places = self._shared_places(addresses, dtype.itemsize, lanes)
        return self.shared.view(dtype)[places]

    def save(self, addresses: Array, values: Array, lanes: Lanes, space: str) -> None:
        """Store one value per thread."""
        if space == "global":
            return self.store.scatter(addresses, values)
        if space == "generic":
            inside = addresses >= np.uint64(SHARED_WINDOW)
            if not inside.all():
                numbers = np.arange(self.lanes)[lanes]
                self.store.scatter(addresses[~inside], values[~inside])
                if inside.any():
                    self.save(addresses[inside], values[inside], numbers[inside], "generic")
                return None
            addresses = addresses - np.uint64(SHARED_WINDOW)
        places = self._shared_places(addresses, values.dtype.itemsize, lanes)
        self.shared.view(values.dtype)[places] = values
        return None

    def _shared_places(self, addresses: Array, width: int, lanes: Lanes) -> Array:
        addresses = addresses.astype(np.uint64, copy=False)
        beyond = (addresses >= np.uint64(self.shared_size)) | (
            addresses + np.uint64(width) > np.uint64(self.shared_size)
        )
        if beyond.any() or (addresses & np.uint64(width - 1)).any():
            raise SessionError(DEVICE_FAULT, f"shared memory beyond {self.shared_size} bytes, or misaligned")
        return (addresses + self._shared_base[lanes]) // np.uint64(width)


def execute(program: Program, launch: Launch, params: bytes, store: Store) -> None:
    """Run a launch to its end.

    Raises:
        SessionError: a thread left its memory (8).
    """
    # Registers of a batch stay below a bound, however many a kernel declares.
    threads = min(BATCH_THREADS, BATCH_BYTES // (8 * max(1, len(program.registers))))
    together = max(1, threads // launch.threads)
    with np.errstate(all="ignore"):
        for first in range(0, launch.blocks, together):
            blocks = min(together, launch.blocks - first)
            _run(program, Batch(program, launch, params, store, first, blocks))


def _run(program: Program, batch: Batch) -> None:
    """Interpret: of the threads that can go on, those at the lowest position run to the end of their piece.

    Diverged threads meet again that way, and a barrier opens once every thread of the batch that lives
    has come to one.
    """
    steps, end = program.steps, len(program.steps)
    position = np.zeros(batch.lanes, np.int64)
    alive, waiting = np.ones(batch.lanes, bool), np.zeros(batch.lanes, bool)
    while True:
        ready = alive & ~waiting
        if not ready.any():
            if not alive.any():
                return
            waiting[:] = False
            continue
        at = int(position[ready].min())
        chosen = ready & (position == at)
        lanes: Any = slice(None) if chosen.all() else np.flatnonzero(chosen)
        at, sort = _straight(program, batch, at, lanes)
        if at >= end or sort == EXIT:
            leaving = chosen if at >= end else _guarded(batch, steps[at], chosen)
            alive &= ~leaving
            position[chosen] = at + 1
        elif sort == BARRIER:
            arriving = _guarded(batch, steps[at], chosen)
            waiting |= arriving
            position[chosen] = at + 1
        elif sort == BRANCH:
            taken = _guarded(batch, steps[at], chosen)
            position[chosen] = at + 1
            position[taken] = steps[at].target
        else:
            position[chosen] = at


def _straight(program: Program, batch: Batch, at: int, lanes: Any) -> tuple[int, int]:
    """Run plain instructions up to the next one that changes the flow, or that others may come to."""
    steps, end = program.steps, len(program.steps)
    first = True
    while at < end:
        step = steps[at]
        if step.sort != PLAIN:
            return at, step.sort
        if not first and at in program.leaders:
            return at, PLAIN
        first = False
        if step.guard is None:
            step.action(batch, lanes)  # type: ignore[misc]  # plain steps have one
        else:
            register, negated = step.guard
            passing = batch.registers[register][lanes] ^ negated
            numbers = np.flatnonzero(passing) if isinstance(lanes, slice) else lanes[passing]
            if len(numbers):
                step.action(batch, numbers)  # type: ignore[misc]  # as above
        at += 1
    return at, PLAIN


def _guarded(batch: Batch, step: Step, chosen: Array) -> Array:
    """Those of the chosen threads whose predicate lets the instruction happen."""
    if step.guard is None:
        return chosen
    register, negated = step.guard
    return chosen & (batch.registers[register] ^ negated)


def _storage(kind: str) -> np.dtype[Any]:
    dtype = TYPES[kind]
    return dtype if kind == "pred" else np.dtype(f"u{dtype.itemsize}")


def _specials(launch: Launch, first: int, blocks: int) -> dict[str, Array]:
    """%tid, %ctaid, %ntid and %nctaid, each in x, y, z."""
    found: dict[str, Array] = {}
    threads = np.tile(np.arange(launch.threads, dtype=np.uint32), blocks)
    numbers = np.repeat(np.arange(first, first + blocks, dtype=np.uint64), launch.threads)
    for name, counts, size in (("tid", threads, launch.block), ("ctaid", numbers, launch.grid)):
        for axis, values in zip("xyz", _axes(counts, size), strict=True):
            found[f"%{name}.{axis}"] = values.astype(np.uint32)
    for name, size in (("ntid", launch.block), ("nctaid", launch.grid)):
        for axis, value in zip("xyz", size, strict=True):
            found[f"%{name}.{axis}"] = np.full(blocks * launch.threads, value, np.uint32)
    return found


def _axes(counts: Array, size: Dim) -> tuple[Array, Array, Array]:
    x, y = counts.dtype.type(size[0]), counts.dtype.type(size[1])
    return counts % x, counts // x % y, counts // x // y
