"""Taking snapshots: a guest is initialised once, and becomes a module that begins there.

The engine does the freezing (`guesthouse.engine.snapshot`); what has to run before it is known by the
interface that owns the guest: constructors, ``_initialize``, a Faasm zygote, ``pulp_init``.  On top of that
one export may be named, for guests that bring a function of their own to warm up with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from guesthouse.calls import Call, Outcome, Terms
from guesthouse.engine import Instance, ModuleInfo, read
from guesthouse.engine.exporting import run_once
from guesthouse.engine.snapshot import SnapshotRefused, Unsafe, freeze, instrument
from guesthouse.errors import LoadError
from guesthouse.interfaces import Beginning, GuestSide, Interface
from guesthouse.interfaces.contract import CONSTRUCTORS, INITIALIZE, WIZER
from guesthouse.loading import owner_of, reshaped
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.host import Host

__all__ = ["Snapshot", "SnapshotRefused", "take"]

#: Guests that were made for Wizer begin here once they are frozen.
WIZER_RESUME, START = "wizer.resume", "_start"

#: What a guest can learn about its surroundings without holding on to anything, by the function it asks.
_LEARNT = {
    "environ_sizes_get": "its environment",
    "args_sizes_get": "its arguments",
    "clock_time_get": "the time it read",
    "random_get": "the random numbers it drew",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen guest.

    Attributes:
        wasm: the new module.
        after: what ran before it was frozen, in words; ``None`` for nothing but its start function.
        short_of: why its interface did not go further, in words; ``None`` where it went as far as it can.
        fixed: what all instances have in common since the guest learnt it while it was initialised.
    """

    wasm: bytes
    after: str | None
    short_of: str | None = None
    fixed: tuple[str, ...] = ()


def take(host: Host, wasm: bytes, name: str, *, initialiser: str | None = None, **options: Any) -> Snapshot:
    """Initialise a guest, and freeze it into the module that its later instances begin from.

    Args:
        host: where its code runs, under the options' grants and limits.
        wasm: the module.
        name: what it is called in errors.
        initialiser: a further export, of type ``() -> ()`` or ``() -> i32`` (0 for success), to run; or the
            one that its interface runs by itself where that is safe (``pulp_init``), which it then must.
        **options: as those of :meth:`guesthouse.Host.load`.

    Raises:
        SnapshotRefused: it cannot be frozen; the reason is in words.
        LoadError: it cannot be loaded, or has no such export.
        CallError: its own initialisation failed.
    """
    info = read(wasm)
    granted = host.registry.expand(options.get("grant", ()), guest=name)
    owner = owner_of(info, options.pop("interface", None), granted)
    demanded = initialiser is not None and initialiser == getattr(owner, "initialiser", None)
    further = None if demanded else initialiser or (WIZER if WIZER in info.exports else None)
    _check(info, further, name)
    work = _Work(owner, _settled(reshaped(info, owner), further), further)
    try:
        return work.freeze(host, name, fully=True, options=options)
    except Unsafe as unsafe:
        if demanded:
            raise
        log.info("frozen early", guest=name, reason=unsafe.reason)
        return replace(work.freeze(host, name, fully=False, options=options), short_of=unsafe.reason)


def _check(info: ModuleInfo, further: str | None, name: str) -> None:
    entry = info.exports.get(further or "")
    wanted = (("", ""), ("", "i"))
    if further is not None and (entry is None or (entry.params, entry.results) not in wanted):
        raise LoadError(f"it exports no function {further!r} of type () -> () or () -> i32", guest=name)


def _settled(info: ModuleInfo, further: str | None) -> ModuleInfo:
    """Keep a program's ``_start`` from running constructors again that ran before a further export."""
    constructors = info.exports.get(CONSTRUCTORS)
    if (
        further in (None, WIZER)
        or START not in info.exports
        or INITIALIZE in info.exports
        or constructors is None
        or (constructors.kind, constructors.params, constructors.results) != ("function", "", "")
        or constructors.index < info.imported("function")
    ):
        return info
    return read(run_once(bytes(info.source), info, constructors.index))


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be frozen: a module of an interface, and a further export to run."""

    owner: Interface
    info: ModuleInfo
    further: str | None

    def freeze(self, host: Host, name: str, *, fully: bool, options: Mapping[str, Any]) -> Snapshot:
        source = bytes(self.info.source)
        isolate = getattr(self.owner, "isolate", None)
        try:
            guest = host.prepare(
                instrument(source, self.info), name=name, private=True, interface=self.owner.name,
                amend=isolate, **options,
            )  # fmt: skip
        except LoadError as error:
            raise error.within(name) from error.__cause__
        try:
            freezer = guest.owner = _Freezer(guest.sides, source, self, fully)
            host.scheduler.run(name, tenant=guest.tenant, terms=Terms(guest)).unwrap()
            return freezer.made
        except LoadError as error:
            raise error.within(name) from error.__cause__
        finally:
            guest.close()


class _Freezer(GuestSide):
    """Stands in for the owner of a guest whose one call is to be frozen."""

    made: Snapshot

    def __init__(self, sides: Sequence[GuestSide], wasm: bytes, work: _Work, fully: bool) -> None:
        super().__init__(sides[0].guest)
        self.sides, self.wasm, self.work, self.fully = sides, wasm, work, fully

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Initialise and freeze."""
        before = [side.holdings(instance) for side in self.sides]
        further = self.work.further
        beginning = self.sides[0].initialise(instance, fully=self.fully, further=further)
        if further is not None and further not in {*beginning.without, *beginning.settled}:
            beginning = _run(instance, further, beginning, call.guest)
        for side, earlier in zip(self.sides, before, strict=True):
            for kind, count in side.holdings(instance).items():
                more = count - earlier.get(kind, 0)
                if more > 0:
                    raise SnapshotRefused(f"it holds {more} {kind} that it got while it was initialised")
        exports = self.work.info.exports
        resumes = further == WIZER and WIZER_RESUME in exports
        frozen = freeze(
            self.wasm, self.work.info, instance, beginning.without, settled=beginning.settled,
            renamed={WIZER_RESUME: START} if resumes else None, note=beginning.note,
        )  # fmt: skip
        asked = {name.rpartition(".")[2] for name in instance.host_calls()}
        fixed = tuple(what for function, what in _LEARNT.items() if function in asked)
        self.made = Snapshot(frozen, beginning.after, fixed=fixed)
        return Outcome(0, b"")


def _run(instance: Instance, export: str, beginning: Beginning, guest: str) -> Beginning:
    """Run a further export, which a snapshot does not have any more."""
    code = instance.invoke(export)
    if code:
        raise SnapshotRefused(f"{export} returned {code}", guest=guest)
    return replace(beginning, after=export, without={*beginning.without, export})
