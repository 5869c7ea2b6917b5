"""Which calls there are, and whether there may be one more."""

from __future__ import annotations

import threading
from time import monotonic_ns
from typing import Any

from guesthouse.calls.call import DONE, RUNNING, Call
from guesthouse.calls.limits import CallLimits
from guesthouse.calls.queues import FairQueue
from guesthouse.calls.records import Records
from guesthouse.calls.terms import PLAIN, Terms
from guesthouse.errors import CallRefused, Cancelled

_ID_BITS = 31
#: Open takes calls; draining takes only children of live ones; closed takes none.
OPEN, DRAINING, CLOSED = 0, 1, 2


class Admission:
    """Makes calls, numbers them, and finds them again.

    Attributes:
        limits: the bounds that new calls are held to.
        default_tenant: tenant of calls that neither name one nor have a parent.
        lock: guards everything here, and the fields of calls that more than one thread changes.
        queue: calls that wait for a worker.
        live: pending and running calls by id.
        records: calls that have ended.
        phase: OPEN, DRAINING or CLOSED.
    """

    def __init__(self, limits: CallLimits, tenant: str, node: int, node_bits: int) -> None:
        if not 0 <= node < 1 << node_bits or node_bits > 16:
            raise ValueError(f"node {node} does not fit into {node_bits} bits (at most 16)")
        self.limits = limits
        self.default_tenant = tenant
        self.lock = threading.Lock()
        self.queue = FairQueue()
        self.live: dict[int, Call] = {}
        self.records = Records(limits)
        self.phase = OPEN
        self._sequence_bits = _ID_BITS - node_bits
        self._node = node << self._sequence_bits
        self._last_id = 0

    def admit(
        self,
        scheduler: Any,
        guest: str,
        data: bytes,
        parent: Call | None,
        tenant: str | None,
        entry: str | None,
        wall: float | None,
        capabilities: frozenset[str] | None,
        payload: Any,
        linked: bool,
        kept: bool,
        queued: bool,
        terms: Terms = PLAIN,
    ) -> Call:
        """Make a live call: pending in the queue, or about to run on the calling thread.

        Raises:
            CallRefused: a bound was reached, or no more calls are taken.
            Cancelled: the parent was cancelled or has ended.
        """
        deadline = 0 if wall is None else monotonic_ns() + int(wall * 1e9)
        if parent is not None:
            if parent.deadline and not 0 < deadline < parent.deadline:
                deadline, wall = parent.deadline, parent.wall
            if tenant is None:
                tenant = parent.tenant
            if capabilities is None:
                capabilities = parent.capabilities
            elif parent.capabilities is not None and not capabilities <= parent.capabilities:
                capabilities &= parent.capabilities
        elif tenant is None:
            tenant = self.default_tenant
        with self.lock:
            if self.phase != OPEN and (parent is None or self.phase == CLOSED):
                raise CallRefused("shutdown", guest=guest)
            if queued and self.queue.depth(tenant) >= self.limits.queued:
                raise CallRefused("queued", limit=self.limits.queued, guest=guest)
            if parent is not None:
                self._admit_below(parent, guest)
            number = self._next_id()
            call = Call(
                scheduler,
                number,
                guest,
                entry,
                data,
                parent,
                tenant,
                deadline,
                wall,
                capabilities,
                payload,
                linked,
                kept,
                terms,
            )
            self.live[call.id] = call
            if parent is not None:
                parent.adopt(call)
            if queued:
                self.queue.push(call)
            else:
                call.stage = RUNNING
        return call

    def find(self, call_id: int) -> Call | None:
        """Return a live or remembered call, ``None`` when there is none with that id."""
        call = self.live.get(call_id)
        if call is None:
            with self.lock:
                call = self.live.get(call_id) or self.records.get(call_id, monotonic_ns())
        return call

    def _admit_below(self, parent: Call, guest: str) -> None:
        limits = self.limits
        if parent.cancelled is not None:
            raise Cancelled(parent.cancelled, guest=parent.guest)
        if parent.stage == DONE:
            raise Cancelled("its caller has ended", guest=guest)
        if parent.depth >= limits.depth:
            raise CallRefused("depth", limit=limits.depth, guest=guest)
        if parent.live_children is not None and len(parent.live_children) >= limits.children:
            raise CallRefused("children", limit=limits.children, guest=guest)
        if parent.root.descendants >= limits.tree:
            raise CallRefused("tree", limit=limits.tree, guest=guest)

    def _next_id(self) -> int:
        """Return an id that no live or remembered call has."""
        mask = (1 << self._sequence_bits) - 1
        while True:
            self._last_id = (self._last_id + 1) & mask
            call_id = self._node | self._last_id
            if self._last_id and call_id not in self.live and call_id not in self.records:
                return call_id
