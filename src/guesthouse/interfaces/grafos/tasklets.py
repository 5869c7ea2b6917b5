"""tasklet_submit: a module from guest memory, run as a call of its own (spec fabric.md 7)."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from guesthouse.calls import Call, Result
from guesthouse.calls.terms import Terms
from guesthouse.engine import Constant, Instance, ModuleInfo, read
from guesthouse.errors import (
    CallRefused,
    DeadlineExceeded,
    LoadError,
    MemoryLimit,
    NotFound,
    OutOfFuel,
    OutputLimit,
)
from guesthouse.interfaces.contract import Command, LoadedGuest
from guesthouse.interfaces.grafos.placing import ENTRY_TYPE
from guesthouse.interfaces.grafos.side import Side
from guesthouse.limits import Limits
from guesthouse.registry import Links
from guesthouse.resources.leases.status import CAPACITY_EXCEEDED, INVALID_ARGUMENT, LeaseError

REQUEST = struct.Struct("<8I2Q2I")
RESULT = struct.Struct("<iIQII")

DEFAULT_ENTRY = "tasklet_run"
#: How a module begins; what begins otherwise is the name of a registered guest.
MAGIC = b"\0asm"
DEFAULT_FUEL = 500_000
DEFAULT_MEMORY = 32 << 20
DEFAULT_DEADLINE_MS = 30_000
#: Tasklets that may be submitted one by the other.
MOST_DEPTH = 4
#: Modules that a guest's tasklets are kept linked of.
MOST_CHILDREN = 64

FINISHED, TRAPPED, FUEL, MEMORY, DEADLINE, BAD_MODULE, NO_ENTRY, OUTPUT = range(8)

_NOT_SUPPORTED = 58  # WASI's code for what is not offered
#: What a tasklet may not do although every guest else may: look at a clock, wait, use the network.
_WITHHELD = ("clock_", "poll_oneoff", "sock_")


@dataclass(frozen=True, slots=True)
class Tasklet:
    """What to run in a fresh instance; the payload of a tasklet's call.

    Attributes:
        entry: the export to run.
        room: bytes of output it may write.
    """

    entry: str
    room: int


class TaskletTerms(Terms):
    """Marks the call of a tasklet, whatever runs it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """What the submitter is told.

    Attributes:
        reason: one of the reasons above.
        exit_code: 0, the entry's negative result, or the program's exit code.
        fuel_used: instructions.
        output: what it wrote, for reason 0.
    """

    reason: int
    exit_code: int = 0
    fuel_used: int = 0
    output: bytes = b""


def tasklet_submit(side: Side, instance: Instance, request: int, result: int) -> int:
    """Run a tasklet to its end and fill in the result; the submission itself may be refused by a code."""
    fields = REQUEST.unpack(instance.read(request, REQUEST.size))
    module, module_len, entry, entry_len, source, source_len, out, room, *numbers = fields
    fuel, memory, deadline_ms, flags = numbers
    size = instance.memory_size
    for pointer, length in ((module, module_len), (entry, entry_len), (source, source_len), (out, room)):
        if pointer + length > size:
            return INVALID_ARGUMENT
    if flags:
        return INVALID_ARGUMENT
    side.fabric.greet("tasklet")
    limits = Limits(
        fuel=min(fuel or DEFAULT_FUEL, (1 << 63) - 1),
        memory=memory or DEFAULT_MEMORY,
        wall=(deadline_ms or DEFAULT_DEADLINE_MS) / 1000,
        output=room,
    )
    if side.fabric.tasklet is not None:
        exit_code, output = side.fabric.tasklet
        ended = Ended(FINISHED, exit_code, 0, output) if len(output) <= room else Ended(OUTPUT)
    else:
        ended = run_tasklet(
            side,
            instance.call,
            instance.read(module, module_len),
            instance.read(entry, entry_len),
            instance.read(source, source_len),
            limits,
        )
    instance.write(out, ended.output)
    instance.write(result, RESULT.pack(ended.exit_code, len(ended.output), ended.fuel_used, ended.reason, 0))
    return 0


def run_tasklet(side: Side, call: Call, wasm: bytes, entry: bytes, data: bytes, limits: Limits) -> Ended:
    """Load a module, call it, and say how it ended.

    Raises:
        LeaseError: no slot is left for it (-4).
        CallError: the submitter itself was interrupted meanwhile.
    """
    if sum(isinstance(ancestor.terms, TaskletTerms) for ancestor in _line(call)) >= MOST_DEPTH:
        raise LeaseError(CAPACITY_EXCEEDED, f"tasklets nest {MOST_DEPTH} deep at most", resource="tasklet")
    if not wasm.startswith(MAGIC):
        return _run_registered(side, call, wasm, entry, data, limits)
    try:
        child = _child(side, wasm)
    except LoadError:
        return Ended(BAD_MODULE)
    name = _entry_of(child.info, entry)
    if name is None:
        return Ended(NO_ENTRY)
    try:
        result = call.scheduler.run(
            child.name,
            data,
            parent=call,
            wall=limits.wall,
            payload=Command(stdin=data) if name == "_start" else Tasklet(name, limits.output),
            terms=TaskletTerms(target=child, limits=limits),
        )
    except CallRefused as refused:
        raise LeaseError(CAPACITY_EXCEEDED, str(refused), resource="tasklet") from None
    return _ended(result, limits)


def _run_registered(side: Side, call: Call, name: bytes, entry: bytes, data: bytes, limits: Limits) -> Ended:
    """Call a guest of any interface by its registered name, as if it were a tasklet (docs/calls.md)."""
    program = side.program.guest
    try:
        found = program.callee(name.decode(), entry.decode() or None)
        if not found.guest.owner.accepts(found.entry):
            return Ended(NO_ENTRY)
    except (NotFound, UnicodeDecodeError) as error:
        unknown = isinstance(error, NotFound) and error.what != "guest"
        return Ended(NO_ENTRY if unknown else BAD_MODULE)
    try:
        result = call.scheduler.run(
            found.guest.name,
            data,
            parent=call,
            tenant=found.guest.tenant,
            entry=found.entry,
            wall=limits.wall,
            capabilities=program.granted,
            kept=True,
            terms=TaskletTerms(target=found.guest, limits=limits),
        )
    except CallRefused as refused:
        raise LeaseError(CAPACITY_EXCEEDED, str(refused), resource="tasklet") from None
    return _ended(result, limits)


def _line(call: Call | None) -> Iterator[Call]:
    while call is not None:
        yield call
        call = call.parent


def _entry_of(info: ModuleInfo, wanted: bytes) -> str | None:
    """The export to run; ``None`` when there is none of that name and a fitting type."""
    try:
        name = wanted.decode() or DEFAULT_ENTRY
    except UnicodeDecodeError:
        return None
    if not wanted and name not in info.exports and "_start" in info.exports:
        name = "_start"
    item = info.exports.get(name)
    if item is None or item.kind != "function":
        return None
    fitting = ("", "") if name == "_start" else ENTRY_TYPE
    return name if (item.params, item.results) == fitting else None


def _child(side: Side, wasm: bytes) -> LoadedGuest:
    """The tasklet's module as a guest; kept for the next submission."""
    children: dict[bytes, LoadedGuest] = side.program.children
    digest = hashlib.sha256(wasm).digest()
    child = children.get(digest)
    if child is None:
        while len(children) >= MOST_CHILDREN:
            children.pop(next(iter(children)))
        # Loaded with no limits of its own but metered: each submission brings its limits along.
        limits = Limits(fuel=(1 << 63) - 1, memory="4GiB", wall=None, output="4GiB")
        child = children[digest] = side.program.guest.child(
            wasm,
            name=f"tasklet-{digest.hex()[:12]}",
            limits=limits,
            interface=_runner(wasm),
            amend=lambda links: _withhold(links, digest),
        )
    return child


def _runner(wasm: bytes) -> str:
    """Which interface runs a tasklet: this one, except for WASI programs."""
    info = read(wasm)
    return "wasi" if "_start" in info.exports and DEFAULT_ENTRY not in info.exports else "grafos"


def _withhold(links: Links, digest: bytes) -> None:
    """Take clock and network from a tasklet, and let its random bytes be the same in every run."""
    for key, row in links.items():
        if not row.module.startswith("wasi"):
            continue
        if row.name.startswith(_WITHHELD):
            links[key] = dataclasses.replace(row, implementation=Constant(_NOT_SUPPORTED))
        elif row.name == "random_get":
            links[key] = dataclasses.replace(row, implementation=_random(digest))


def _random(digest: bytes) -> Any:
    """A random_get whose bytes depend on the module and the input alone."""

    def random_get(call: Any, pointer: int, length: int) -> int:
        if pointer + length > call.instance.memory_size:
            return 21  # EFAULT
        count = call.scratch[_withhold] = call.scratch.get(_withhold, 0) + 1
        seed = digest + hashlib.sha256(call.input).digest() + count.to_bytes(8, "little")
        call.instance.write(pointer, hashlib.shake_128(seed).digest(length))
        return 0

    return random_get


def _ended(result: Result, limits: Limits) -> Ended:
    """What the submitter is told about a call that ended."""
    error, used = result.error, result.receipt.fuel or 0
    if error is None:
        if len(result.output) > limits.output:
            return Ended(OUTPUT, 0, used)
        return Ended(FINISHED, result.code, used, bytes(result.output))
    if isinstance(error, OutOfFuel):
        return Ended(FUEL, 0, limits.fuel or 0)
    reasons = {
        MemoryLimit: MEMORY, DeadlineExceeded: DEADLINE, OutputLimit: OUTPUT, LoadError: BAD_MODULE,
        NotFound: BAD_MODULE,
    }  # fmt: skip
    reason = next((reason for kind, reason in reasons.items() if isinstance(error, kind)), TRAPPED)
    return Ended(reason, 0, used)
