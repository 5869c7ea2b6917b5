"""Calls from guest to guest, whatever the interfaces of both (docs/calls.md).

A call that crosses is an ordinary call: bytes in, a code and bytes out.  This module holds what all
interfaces share: how a callee is named, who may call whom, and what kinds of failure there are.  Each
interface translates a :class:`Failure` into its own codes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from guesthouse.calls.call import Call
from guesthouse.calls.results import Outcome, Result
from guesthouse.errors import (
    CallRefused,
    Cancelled,
    DeadlineExceeded,
    Error,
    InputLimit,
    LoadError,
    MemoryLimit,
    NotFound,
    OutOfFuel,
    OutputLimit,
    PoolFull,
    Trap,
)

#: Stands between a tenant and the name of one of its guests; names themselves may hold ``/`` and ``.``.
TENANT_SEPARATOR = ":"
#: Stands between a guest's name and one of its entries, for callers that have one name for both.
ENTRY_SEPARATOR = "/"
#: Stands for whatever entry will be called, where a guest is opened before it is called; each call is checked
#: again with its own.
ANY_ENTRY = "*"


class Party(Protocol):
    """What the rules need to know of a guest.

    Attributes:
        name: its name, unique within the tenant.
        tenant: its isolation domain.
        provides: entries that it offers; ``*`` offers all. Only other tenants' guests, and interfaces with
            named providers, depend on it.
        consumes: what it may call: ``guest``, ``guest/entry``, an entry that some guest provides, with
            ``tenant:`` in front for another tenant's; ``None`` for every guest of its own tenant.
        private: hidden from other tenants, whatever it provides.
    """

    name: str
    tenant: str
    provides: tuple[str, ...]
    consumes: tuple[str, ...] | None
    private: bool


class Callee(NamedTuple):
    """What a name means.

    Attributes:
        guest: the loaded guest, opaque here.
        entry: what to call there; ``None`` for its own entry.
    """

    guest: Any
    entry: str | None


class Unresolved:
    """Stands in for a callee that was not found, where a call must be made in order to fail.

    Args:
        error: what the call ends with.
    """

    def __init__(self, error: NotFound) -> None:
        self.error = error

    def serve(self, call: Call) -> Outcome:
        """Fail.

        Raises:
            NotFound: always.
        """
        raise self.error


class NotAllowed(NotFound):
    """A guest of the caller's own tenant that its ``consumes`` leaves out."""


class Failure(enum.StrEnum):
    """Why a call gave no result that the caller can use; the kinds that interfaces tell apart."""

    NOT_FOUND = "not found"
    """No such guest or entry, or none that the caller may see."""
    NOT_ALLOWED = "not allowed"
    """The caller's manifest leaves this callee out."""
    REFUSED = "refused"
    """A bound of the scheduler was reached, there is no place for an instance, or the host is shutting down:
    later it may work."""
    LOAD = "cannot be loaded"
    """The callee lacks a capability, or cannot be loaded for another reason."""
    CODE = "guest code"
    """The callee ran to its end and returned a code other than 0."""
    TRAP = "trap"
    """The callee trapped."""
    DEADLINE = "deadline"
    """Its time, or that of a caller above, was up."""
    LIMIT = "limit"
    """It used up its fuel, memory or output, or was given too much input."""
    CANCELLED = "cancelled"
    """Somebody cancelled it or a caller above."""
    INTERNAL = "internal"
    """The host failed."""


_KINDS: tuple[tuple[type[Error], Failure], ...] = (
    (NotAllowed, Failure.NOT_ALLOWED),
    (NotFound, Failure.NOT_FOUND),
    (CallRefused, Failure.REFUSED),
    (LoadError, Failure.LOAD),
    (DeadlineExceeded, Failure.DEADLINE),
    (PoolFull, Failure.REFUSED),
    (OutOfFuel, Failure.LIMIT),
    (MemoryLimit, Failure.LIMIT),
    (InputLimit, Failure.LIMIT),
    (OutputLimit, Failure.LIMIT),
    (Cancelled, Failure.CANCELLED),
    (Trap, Failure.TRAP),
)


def kind_of(error: BaseException) -> Failure:
    """Return which kind of failure an error is."""
    for cls, failure in _KINDS:
        if isinstance(error, cls):
            return failure
    return Failure.INTERNAL


def failure_of(result: Result) -> Failure | None:
    """Return how a finished call failed, ``None`` when it succeeded."""
    if result.error is not None:
        return kind_of(result.error)
    return Failure.CODE if result.code else None


def split(name: str, tenant: str) -> tuple[str, str]:
    """Return tenant and guest that a name means.

    Args:
        name: ``guest``, or ``tenant:guest``.
        tenant: the caller's.
    """
    before, separator, after = name.partition(TENANT_SEPARATOR)
    return (before, after) if separator else (tenant, name)


def parts(name: str) -> Iterator[tuple[str, str | None]]:
    """Return what a name may mean, the likeliest first: a guest, or ``guest/entry``."""
    yield name, None
    guest, separator, entry = name.rpartition(ENTRY_SEPARATOR)
    if separator and guest and entry:
        yield guest, entry


def visible(caller: Party, callee: Party, entry: str | None) -> bool:
    """Whether the caller may know that the callee exists.

    Within a tenant everybody may.  Another tenant's guest must provide the entry, must not be private, and
    the caller must name it in its ``consumes``: both sides agree, or there is nothing to see.
    """
    if caller.tenant == callee.tenant:
        return True
    if callee.private or not _provides(callee, entry):
        return False
    return caller.consumes is not None and _listed(caller.consumes, callee, entry, foreign=True)


def allowed(caller: Party, callee: Party, entry: str | None) -> bool:
    """Whether the caller may call the callee: visible, and not left out by its ``consumes``."""
    if not visible(caller, callee, entry):
        return False
    if caller.tenant != callee.tenant or caller.consumes is None or caller.name == callee.name:
        return True
    return _listed(caller.consumes, callee, entry, foreign=False)


def _provides(party: Party, entry: str | None) -> bool:
    if entry == ANY_ENTRY:
        return bool(party.provides)
    return "*" in party.provides or (entry or "") in party.provides


def _listed(consumes: tuple[str, ...], callee: Party, entry: str | None, *, foreign: bool) -> bool:
    prefix = f"{callee.tenant}{TENANT_SEPARATOR}" if foreign else ""
    wanted = {f"{prefix}{callee.name}"}
    if entry == ANY_ENTRY:
        start = f"{prefix}{callee.name}{ENTRY_SEPARATOR}"
        wanted.update(name for name in consumes if name.startswith(start) or name in callee.provides)
    elif entry:
        wanted.add(f"{prefix}{callee.name}/{entry}")
        if not foreign and entry in callee.provides:
            wanted.add(entry)
    return not wanted.isdisjoint(consumes)
