"""Whether calls can still come to an end by themselves, where each waits for something of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from guesthouse.calls.call import DONE, PENDING, Call


def stalled(calls: Iterable[Call], holds: Callable[[Call], bool], starves: Callable[[Call], bool]) -> bool:
    """Say whether none of those that hold something can go on to give it back.

    A call that computes will end.  One that waits for another ends after that one: never, if the other waits
    for what is held, or is still in the queue and will want it once it starts.

    Args:
        calls: the live calls.
        holds: whether a call holds some of what is scarce.
        starves: whether a call waits for it.
    """
    known: dict[Call, bool] = {}
    return all(_stuck(call, starves, known) for call in calls if holds(call))


def _stuck(call: Call, starves: Callable[[Call], bool], known: dict[Call, bool]) -> bool:
    """Follow whom a call waits for, to one that computes or one that starves."""
    path = []
    each: Call | None = call
    while each is not None and each not in known:
        if each.stage == PENDING or starves(each):
            known[each] = True
        elif each.stage == DONE or each.awaits is None:
            known[each] = False
        else:
            path.append(each)
            known[each] = True  # in a circle nobody computes
            each = each.awaits
    stuck = each is not None and known[each]  # None: it has just gone on
    known.update(dict.fromkeys(path, stuck))
    return stuck


def held_for(call: Call) -> Iterable[Call]:
    """Yield the callers that wait for a call, nearest first."""
    while (parent := call.parent) is not None and parent.awaits is call:
        yield parent
        call = parent
