"""Starting instances where the engine's pool may be full: calls wait for a place, in the order they came.

A call waits until its deadline.  What it must not do is wait for a place that only its own callers could
give back, since they wait for it: as soon as nobody who holds a place can go on, those in the line whose
callers hold one are refused; when there are none such, all are.
"""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.calls import Call
from guesthouse.calls.stalling import held_for
from guesthouse.engine import Instance, Places, Turn
from guesthouse.errors import DeadlineExceeded, PoolFull

#: Seconds between two looks whether anybody can still give a place back, while nobody does.
_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A call in the line.

    Attributes:
        call: the call.
        held_up: whether callers of it that hold places wait for it.
    """

    call: Call
    held_up: bool


def start(instance: Instance, call: Call | None) -> None:
    """Start an instance, waiting for a place in the pool where that is full.

    Args:
        instance: opened and not started.
        call: the call on whose behalf it runs; without one nothing waits, as nothing would bound that.

    Raises:
        PoolFull: no place came free until the call's deadline, or none can.
        Cancelled: the call was cancelled meanwhile.
        CallError: as :meth:`Instance.start`.
    """
    places = instance.places
    if places is None or call is None:
        instance.start()
        return
    if not places.line:
        try:
            instance.start()
        except PoolFull:
            pass
        else:
            return
    held_up = any(_holds(caller, places) for caller in held_for(call))
    turn = places.join(_Waiter(call, held_up))
    try:
        _wait(turn, instance, call, places)
    finally:
        places.leave(turn)


def _wait(turn: Turn, instance: Instance, call: Call, places: Places) -> None:
    """Try whenever it is the turn, until there is a place; raises as :func:`start`."""
    freed = -1
    while not turn.refused:
        call.sleep(turn.bell, _LOOK if places.is_first(turn) else None)
        try:
            call.check()
        except DeadlineExceeded:
            why = ", and none came free before the call's deadline"
            raise PoolFull(places.total, why=why) from None
        if places.is_first(turn):
            try:
                instance.start()
            except PoolFull:
                if freed == places.freed:
                    _relieve(call, places)
                freed = places.freed
            else:
                return
    raise PoolFull(places.total, why=" by calls that themselves wait for a place")


def _relieve(call: Call, places: Places) -> None:
    """Where nobody can give a place back, refuse those whose callers would; otherwise all."""
    line = {turn.who.call for turn in tuple(places.line)}
    if not call.scheduler.stalled(lambda each: _holds(each, places), line.__contains__):
        return
    if not places.refuse(lambda waiter: waiter.held_up):
        places.refuse(lambda _: True)


def _holds(call: Call, places: Places) -> bool:
    """Whether a call has an instance in this pool, or is about to have one."""
    instance = call.instance
    return instance is not None and instance.places is places
