"""Pending calls: first in, first out within a tenant, one tenant after the other."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.calls.call import Call


class FairQueue:
    """Round-robin over tenants; any pending call can be taken out of turn in constant time.

    It does no locking: the scheduler holds its own lock around every use.
    """

    __slots__ = ("_size", "_tenants")

    def __init__(self) -> None:
        # Tenants in turn order, and per tenant its calls in arrival order.
        self._tenants: OrderedDict[str, OrderedDict[int, Call]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def depth(self, tenant: str) -> int:
        """Return how many calls of `tenant` are pending."""
        calls = self._tenants.get(tenant)
        return len(calls) if calls is not None else 0

    def push(self, call: Call) -> None:
        """Add a call at the end of its tenant's line."""
        calls = self._tenants.get(call.tenant)
        if calls is None:
            calls = self._tenants[call.tenant] = OrderedDict()
        calls[call.id] = call
        self._size += 1

    def pop(self) -> Call | None:
        """Take the first call of the tenant whose turn it is; that tenant goes to the end of the line."""
        if not self._size:
            return None
        tenant, calls = next(iter(self._tenants.items()))
        _, call = calls.popitem(last=False)
        self._size -= 1
        if calls:
            self._tenants.move_to_end(tenant)
        else:
            del self._tenants[tenant]
        return call

    def remove(self, call: Call) -> bool:
        """Take `call` out of turn; false when it is not pending any more."""
        calls = self._tenants.get(call.tenant)
        if calls is None or calls.pop(call.id, None) is None:
            return False
        self._size -= 1
        if not calls:
            del self._tenants[call.tenant]
        return True
