"""The execution graph: which call made which, as far as it is still remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guesthouse.calls.call import STAGES

if TYPE_CHECKING:
    from guesthouse.calls.call import Call
    from guesthouse.calls.results import Result


@dataclass(slots=True)
class CallNode:
    """One call and those it made.

    Attributes:
        call_id: id of the call.
        guest: name of the guest.
        tenant: its isolation domain.
        entry: export that ran instead of the guest's own entry.
        stage: ``pending``, ``running`` or ``done``.
        result: the result, when it is done.
        children: the calls it made, in order; those already forgotten are left out.
        forgotten: how many were left out.
    """

    call_id: int
    guest: str
    tenant: str
    entry: str | None
    stage: str
    result: Result | None
    children: list[CallNode] = field(default_factory=list)
    forgotten: int = 0


def build(root: Call, find: Callable[[int], Call | None]) -> CallNode:
    """Return the graph below `root`.

    Args:
        root: the call at the top.
        find: returns a remembered call by its id.
    """
    top = _node(root)
    todo = [(root, top)]
    while todo:  # not recursive: chains may be deeper than Python's own stack
        call, node = todo.pop()
        for child_id in list(call.children):
            child = find(child_id)
            if child is None:
                node.forgotten += 1
                continue
            below = _node(child)
            node.children.append(below)
            todo.append((child, below))
    return top


def _node(call: Call) -> CallNode:
    return CallNode(call.id, call.guest, call.tenant, call.entry, STAGES[call.stage], call.result)
