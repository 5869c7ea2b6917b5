"""From journal records to leases, at the start and before anybody is served (spec fabric.md 10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from guesthouse.resources.leases.status import ACTIVE, EXPIRED, FENCED, REVOKED


@dataclass(slots=True)
class Traced:
    """A lease as far as the records told."""

    tenant: str
    capacity: int
    start: int
    units: int
    expires: int
    generation: int
    status: int = ACTIVE
    ended_at: int = 0
    held: bool = True


def trace(
    records: Iterable[tuple[Any, ...]], notes: dict[str, tuple[int, ...]]
) -> tuple[dict[int, Traced], int]:
    """Play records; return the leases that are known at their end, and the next generation."""
    leases: dict[int, Traced] = {}
    generation = 1
    for kind, subject, *rest in records:
        if kind == "note":
            notes[subject] = tuple(rest)
        elif kind == "grant":
            leases[subject] = Traced(*rest)
            generation = max(generation, leases[subject].generation + 1)
        elif kind == "generation":
            generation = max(generation, subject)
        elif (lease := leases.get(subject)) is None:
            continue
        elif kind == "renew":
            (lease.expires,) = rest
        elif kind == "end":
            lease.status, lease.ended_at = rest
            leases[subject] = leases.pop(subject)  # in the order in which they ended
        elif kind == "release":
            lease.held = False
        elif kind == "fence":
            lease.status = FENCED
    return leases, generation


def recover(engine: Any, records: Iterable[tuple[Any, ...]], survives: bool) -> None:
    """Give an engine the leases that its journal tells of.

    Leases that ended, or whose time ran out meanwhile, are scrubbed before this returns.

    Args:
        engine: the new engine.
        records: what the journal replays.
        survives: contents outlived the process, so leases that have not ended go on; otherwise they
            answer as revoked.
    """
    leases, generation = trace(records, engine.notes)
    claim_extents(engine, leases.values() if survives else ())
    now = engine.clock.now()
    unclean = []
    for lease in leases.values():
        if not survives:
            lease.held = False
            if lease.status in (ACTIVE, FENCED):
                lease.status, lease.ended_at = REVOKED, now
        elif lease.status == ACTIVE and lease.expires <= now:
            lease.status, lease.ended_at = EXPIRED, lease.expires
    for ident, lease in sorted(leases.items(), key=lambda item: item[1].ended_at):
        engine.restore(
            lease.tenant,
            ident,
            lease.capacity,
            lease.start,
            lease.units,
            lease.expires,
            lease.generation,
            lease.status,
            lease.ended_at,
            lease.held,
        )
        if lease.held and lease.status in (EXPIRED, REVOKED):
            unclean.append(ident)
    for ident in unclean:
        engine.finish(ident)
    engine.begin(generation)


def claim_extents(engine: Any, leases: Iterable[Traced]) -> None:
    """Take every extent that is in use out of the pool, in order of position (which is what is fast)."""
    claims = [(lease.start, lease.units, lease.generation) for lease in leases if lease.held]
    claims += [(start, units, 0) for start, units, *_ in engine.notes.values()]
    for start, units, generation in sorted(claims):
        engine.claim(start, units, generation)
