"""One live instance of a cell and its entry points, without locks (spec/pulp.md 2.2, 2.3).

`Cell` owns a body, replaces it on reload, and makes sure that one thread at a time is in it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from guesthouse.engine import Exit
from guesthouse.errors import Trap
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.errors import (
    MESSAGE_LIMIT,
    CellFailed,
    MessageTooLarge,
    NoPostReturn,
    NotAProvider,
)
from guesthouse.interfaces.pulp.freezing import OtherConfiguration, digest
from guesthouse.interfaces.pulp.passage import Passage
from guesthouse.interfaces.pulp.structs import HEADER

if TYPE_CHECKING:
    from guesthouse.engine import Instance
    from guesthouse.interfaces.pulp.loading import LoadedCell

Lifted = TypeVar("Lifted")

_LONGEST_DETAIL = 4096
_numbers = itertools.count(1)


class CellCall:
    """What host functions receive as their first argument when a cell calls them.

    Attributes:
        cell: the cell; capabilities key their state by ``cell.id``.
        guest, tenant: who calls.
        instance: the guest's memory and exports.
        passage: the ways through it.
        capabilities: what was granted.
        scratch: state that interfaces keep for the life of the instance, under keys of their own.
        id: number of the instance, unique in the process.
        parent, entry, input, payload: as on other calls of this host; empty here.
    """

    def __init__(self, cell: Any, instance: Instance, loaded: LoadedCell, tenant: str) -> None:
        self.cell = cell
        self.guest = loaded.spec.label
        self.tenant = tenant
        self.instance = instance
        self.passage = Passage(instance, self.guest)
        self.capabilities = loaded.granted
        self.scratch: dict[Any, Any] = {}
        self.id = next(_numbers)
        self.parent = None
        self.entry: str | None = None
        self.input = b""
        self.payload = None
        self.depth = 0

    @property
    def deadline(self) -> int:
        """When the entry must be over, in monotonic nanoseconds; 0 for never."""
        return int(self.instance.deadline)

    def check(self) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` when the entry is over."""
        self.instance.check()

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, ``None`` without one."""
        deadline = self.deadline
        return max(0.0, (deadline - time.monotonic_ns()) / 1e9) if deadline else None


class Tree(Generic[Lifted]):
    """A typed response while it is pinned in the guest's memory (spec/pulp.md 2.3, item 5).

    Attributes:
        pointer, length: the root block.
    """

    def __init__(self, instance: Instance, pointer: int, length: int) -> None:
        self._instance = instance
        self.pointer, self.length = pointer, length

    def read(self, pointer: int | None = None, length: int | None = None) -> bytes:
        """Copy a block out: the root by default.

        Raises:
            OutOfBounds: the range is not inside the guest's memory.
        """
        if pointer is None:
            pointer, length = self.pointer, self.length
        data: bytes = self._instance.read(pointer, length or 0)
        return data


class Body:
    """One live instance.

    Args:
        cell: the owner, for host functions.
        loaded: the linked module.
        tenant: isolation domain of the cell.

    Attributes:
        passage: the ways through it.
    """

    def __init__(self, cell: Any, loaded: LoadedCell, tenant: str) -> None:
        self._name = loaded.spec.label
        self._loaded = loaded
        self.instance: Instance = loaded.open()
        self.call = CellCall(cell, self.instance, loaded, tenant)
        self.instance.call = self.call
        self.ended: str | None = None
        self.passage = self.call.passage
        loaded.bind(self.instance, self.call)

    def start(self) -> None:
        """Instantiate and run ``_initialize``, else ``_start``, else nothing.

        Raises:
            CallError: the guest trapped or left with a code other than 0.
        """
        self.instance.start()
        for entry in ("_initialize", "_start"):
            if self.instance.exports(entry):
                try:
                    self.instance.invoke(entry)
                except Exit as leaving:
                    self.ended = f"module closed with exit_code({leaving.code})"
                    if leaving.code != 0:
                        raise Trap(self.ended, guest=self._name, function=entry) from None
                return

    def invoke(self, function: str, *args: int) -> int:
        """Enter the guest; the result is signed.

        Raises:
            CallError: trap, deadline, exit and so on; the body has ended then.
        """
        self._check_ended()
        try:
            result = self.instance.invoke(function, *args) or 0
        except Exit as leaving:
            raise self.left(leaving) from None
        return result - (1 << 32) if result >> 31 == 1 else result

    def init(self, config: bytes) -> None:
        """Run ``pulp_init``; raises `CellFailed` when it returns a code, `CallError` when it traps.

        A cell that was frozen after it has it behind itself, with the same configuration or not at all.
        """
        self._fits(config)
        frozen_with = self._loaded.frozen_with
        if frozen_with is not None:
            if frozen_with != digest(config):
                raise OtherConfiguration(self._name)
            return
        code = self._way(self.passage.init, config) if config else self.invoke("pulp_init", 0, 0)
        if code:
            raise CellFailed(self._name, "pulp_init", code, self._detail("pulp_init_error"))

    def step(self, envelope: bytes) -> int:
        """Run ``pulp_step`` on an encoded envelope and return its code."""
        self._fits(envelope)
        self._check_ended()
        passage = self.passage
        return self._way(passage.idle if len(envelope) == HEADER.size else passage.step, envelope)

    def on_call(self, name: bytes, args: bytes) -> bytes:
        """Run ``pulp_on_call`` and return a copy of the response; its block is freed once."""
        self._fits(name)
        self._fits(args)
        self._check_provider()
        try:
            code, response, length = self.passage.call(name, args, MESSAGE_LIMIT)
        except Exit as leaving:
            raise self.left(leaving) from None
        if code:
            raise CellFailed(self._name, "pulp_on_call", code, self._detail("pulp_on_call_error"))
        if length > MESSAGE_LIMIT:
            raise MessageTooLarge(self._name, length)
        return response

    def on_call_typed(self, name: bytes, args: bytes, lift: Callable[[Tree[Lifted]], Lifted]) -> Lifted:
        """Run ``pulp_on_call``, let ``lift`` read the response in place, then ``pulp_post_return``.

        Raises:
            NoPostReturn: the cell is not a typed one.
            Exception: whatever ``lift`` raises, after the response was given back.
        """
        if not self.instance.exports("pulp_post_return"):
            raise NoPostReturn(self._name)

        def in_place(pointer: int, length: int) -> Lifted:
            try:
                return lift(Tree(self.instance, pointer, length))
            finally:
                if self.instance.usable:
                    self.instance.invoke("pulp_post_return", pointer, length)

        self._fits(name)
        self._fits(args)
        self._check_provider()
        return self._provide(name, args, in_place)

    def probe(self, export: str) -> int | None:
        """Call a diagnostic export; ``None`` when it is absent, takes arguments, or fails."""
        signature = self.instance.signature(export)
        if signature is None or signature[0] or len(signature[1]) != 1 or not self.usable:
            return None
        try:
            value: int = self.instance.invoke(export)
        except Exception:  # noqa: BLE001 - a diagnostic must not fail what asks for it, whoever raised
            return None
        return value

    @property
    def usable(self) -> bool:
        """Whether the guest can still be entered."""
        return self.ended is None and bool(self.instance.usable)

    def close(self) -> None:
        """Release what the neighbours keep and drop the instance; harmless when repeated."""
        if self.instance.closed:
            return
        self._loaded.dismiss(self.instance, self.call)

    def _provide(self, name: bytes, args: bytes, take: Callable[[int, int], Lifted]) -> Lifted:
        """Enter ``pulp_on_call``: one block holds the cleared out cells, the name and the arguments."""
        instance = self.instance
        block, asked = memory.place(instance, bytes(8) + name + args, self._name)
        named, given = block + 8, block + 8 + len(name)
        try:
            code = self.invoke(
                "pulp_on_call",
                *(named if name else 0, len(name)),
                *(given if args else 0, len(args)),
                *(block, block + 4),
            )
            pointer, length = memory.pair(instance, block)
        finally:
            memory.free(instance, block, asked)
        if code:
            raise CellFailed(self._name, "pulp_on_call", code, self._detail("pulp_on_call_error"))
        return take(pointer, length)

    def _way(self, way: Callable[[bytes], int], data: bytes) -> int:
        try:
            return way(data)
        except Exit as leaving:
            raise self.left(leaving) from None

    def _check_provider(self) -> None:
        self._check_ended()
        if not self.instance.exports("pulp_on_call"):
            raise NotAProvider(self._name, "pulp_on_call")

    def _check_ended(self) -> None:
        if self.ended is not None:
            raise Trap(self.ended, guest=self._name)

    def left(self, leaving: Exit) -> Trap:
        """The guest has left with an exit code: nobody can enter it any more."""
        self.ended = f"module closed with exit_code({leaving.code})"
        return Trap(self.ended, guest=self._name)

    def _detail(self, prefix: str) -> str:
        """Read what the guest says about its failure (spec/pulp.md 2.2)."""
        pointer, length = self.probe(f"{prefix}_ptr"), self.probe(f"{prefix}_len")
        if not pointer or not length or length > _LONGEST_DETAIL:
            return ""
        try:
            text: bytes = self.instance.read(pointer, length)
        except Trap:
            return ""
        return text.decode("utf-8", "replace")

    def _fits(self, data: bytes) -> None:
        if len(data) > MESSAGE_LIMIT:
            raise MessageTooLarge(self._name, len(data))
