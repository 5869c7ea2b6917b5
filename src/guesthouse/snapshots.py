"""Taking snapshots: a guest is initialised once, and becomes a module that begins there.

The engine does the freezing (`guesthouse.engine.snapshot`); what has to run before it is known by the
interface that owns the guest: constructors, ``_initialize``, a Faasm zygote.  On top of that one export
may be named, for guests that bring a function of their own to warm up with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guesthouse.calls import Call, Outcome, Terms
from guesthouse.engine import Instance, ModuleInfo, read
from guesthouse.engine.snapshot import SnapshotRefused, freeze, instrument
from guesthouse.errors import LoadError
from guesthouse.interfaces import GuestSide

if TYPE_CHECKING:
    from guesthouse.host import Host

__all__ = ["SnapshotRefused", "take"]


def take(host: Host, wasm: bytes, name: str, *, initialiser: str | None = None, **options: Any) -> bytes:
    """Initialise a guest, freeze it, and return the module that its later instances begin from.

    Args:
        host: where its code runs, under the options' grants and limits.
        wasm: the module.
        name: what it is called in errors.
        initialiser: a further export, of type ``() -> ()`` or ``() -> i32`` (0 for success), to run.
        **options: as those of :meth:`guesthouse.Host.load`.

    Raises:
        SnapshotRefused: it cannot be frozen; the reason is in words.
        LoadError: it cannot be loaded, or has no such export.
        CallError: its own initialisation failed.
    """
    info = read(wasm)
    entry = None if initialiser is None else info.exports.get(initialiser)
    wanted = (("", ""), ("", "i"))
    if initialiser is not None and (entry is None or (entry.params, entry.results) not in wanted):
        raise LoadError(f"it exports no function {initialiser!r} of type () -> () or () -> i32", guest=name)
    try:
        guest = host.prepare(instrument(wasm, info), name=name, private=True, **options)
    except LoadError as error:
        raise error.within(name) from error.__cause__
    try:
        freezer = guest.owner = _Freezer(guest.sides, wasm, info, initialiser)
        host.scheduler.run(name, tenant=guest.tenant, terms=Terms(guest)).unwrap()
        return freezer.frozen
    finally:
        guest.close()


class _Freezer(GuestSide):
    """Stands in for the owner of a guest whose one call is to be frozen."""

    def __init__(
        self, sides: Sequence[GuestSide], wasm: bytes, info: ModuleInfo, initialiser: str | None
    ) -> None:
        super().__init__(sides[0].guest)
        self.sides, self.wasm, self.info, self.initialiser = sides, wasm, info, initialiser
        self.frozen = b""

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Initialise and freeze."""
        before = [side.holdings(instance) for side in self.sides]
        done = set(self.sides[0].initialise(instance))
        if self.initialiser is not None:
            code = instance.invoke(self.initialiser)
            if code:
                raise SnapshotRefused(f"{self.initialiser} returned {code}", guest=call.guest)
            done.add(self.initialiser)
        for side, earlier in zip(self.sides, before, strict=True):
            for kind, count in side.holdings(instance).items():
                more = count - earlier.get(kind, 0)
                if more > 0:
                    raise SnapshotRefused(f"it holds {more} {kind} that it got while it was initialised")
        self.frozen = freeze(self.wasm, self.info, instance, done)
        return Outcome(0, b"")
