"""The call record: one invocation, as host functions and runners see it."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol

from guesthouse.calls.results import Outcome, Receipt, Result
from guesthouse.calls.terms import PLAIN, Terms
from guesthouse.errors import Cancelled, DeadlineExceeded

if TYPE_CHECKING:
    import threading

    from guesthouse.calls.futures import CallFuture
    from guesthouse.calls.parting import Parting
    from guesthouse.calls.scheduler import Scheduler

#: Stages of a call's life; they only ever go up.
PENDING, RUNNING, DONE = 0, 1, 2
STAGES = ("pending", "running", "done")


class Interruptible(Protocol):
    """What a running call puts into :attr:`Call.instance`."""

    def cancel(self, reason: str) -> None:
        """End the guest soon; may be called from any thread, more than once."""


class Runner(Protocol):
    """Runs guests for the scheduler; the host provides it."""

    def run(self, call: Call) -> Outcome:
        """Run the guest that `call` names, on the calling thread, and return its outcome.

        Raises:
            Exception: whatever ends the call without a result; it becomes ``Result.error``.
        """


class Call:
    """One invocation.

    Attributes:
        id: positive 31-bit number, never 0, unique in the process while the call is remembered.
        parent: the call that made this one.
        tenant: the isolation domain.
        guest: name of the guest to run.
        entry: export to run instead of the guest's own entry.
        input: the guest's input; empty again once the call is done.
        deadline: monotonic nanoseconds, 0 for none; never later than the parent's.
        wall: the limit in seconds that the deadline comes from, as it was set: for this call, its guest, or
            a call above; ``None`` for none.
        depth: calls above this one.
        capabilities: ceiling of what the guest may use, inherited by children; ``None`` means whatever
            the guest itself was granted.
        linked: whether the call is cancelled when its parent ends, however that ends.
        nesting: calls below this one on its thread's stack.
        kept: whether its result is remembered after its end.
        payload: what the runner or an interface needs to know about this call; opaque here.
        terms: what its caller asked for beyond that.
        scheduler: where to submit children.
        receipt: what it cost so far; the runner adds what only it knows.
        stage: ``PENDING``, ``RUNNING`` or ``DONE``.
        result: the end of the call once it is done.
        created_ns, started_ns, finished_ns: monotonic nanoseconds, 0 for not yet.
        children: ids of the calls made by this one, in order.
        live_children: those of them that have not ended, by id; ``None`` before the first.
        descendants: live calls below this one; counted at the root only.
    """

    __slots__ = (
        "__weakref__",
        "_awaits",
        "_future",
        "_instance",
        "_lending",
        "_parked",
        "_parting",
        "_reason",
        "_root",
        "_scratch",
        "_waiters",
        "capabilities",
        "children",
        "created_ns",
        "deadline",
        "depth",
        "descendants",
        "entry",
        "finished_ns",
        "guest",
        "id",
        "input",
        "kept",
        "linked",
        "live_children",
        "nesting",
        "parent",
        "payload",
        "receipt",
        "result",
        "scheduler",
        "stage",
        "started_ns",
        "tenant",
        "terms",
        "wall",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        call_id: int,
        guest: str,
        entry: str | None,
        data: bytes,
        parent: Call | None,
        tenant: str,
        deadline: int,
        wall: float | None,
        capabilities: frozenset[str] | None,
        payload: Any,
        linked: bool,
        kept: bool,
        terms: Terms = PLAIN,
    ) -> None:
        self.scheduler = scheduler
        self.id = call_id
        self.guest = guest
        self.entry = entry
        self.input = data
        self.parent = parent
        self.tenant = tenant
        self.deadline, self.wall = deadline, wall
        self.capabilities = capabilities
        self.payload = payload
        self.terms = terms
        self.linked = linked
        self.depth: int = 0 if parent is None else parent.depth + 1
        # Not the call itself: a cycle would leave every call to the garbage collector.
        self._root: Call | None = None if parent is None else parent.root
        self.nesting = 0
        self.kept = kept
        self._scratch: dict[Any, Any] | None = None
        self.receipt = Receipt()
        self.stage = PENDING
        self.result: Result | None = None
        self.created_ns = monotonic_ns()
        self.started_ns = 0
        self.finished_ns = 0
        self.children: Sequence[int] = ()
        self.live_children: dict[int, Call] | None = None
        self.descendants = 0
        self._lending = False
        self._instance: Interruptible | None = None
        self._reason: str | None = None
        self._awaits: Call | None = None
        self._waiters: list[threading.Lock] | None = None
        self._parked: threading.Lock | None = None
        self._parting: Parting | None = None
        self._future: CallFuture | None = None

    @property
    def scratch(self) -> dict[Any, Any]:
        """State that interfaces keep for the duration of the call, under keys of their own."""
        scratch = self._scratch
        if scratch is None:
            scratch = self._scratch = {}
        return scratch

    @property
    def root(self) -> Call:
        """The call without parent at the top of the tree; the call itself when it has none."""
        return self if self._root is None else self._root

    @property
    def instance(self) -> Any:
        """The running instance, ``None`` before and after."""
        return self._instance

    @instance.setter
    def instance(self, instance: Any) -> None:
        self._instance = instance
        # A cancellation that came before there was anything to interrupt.
        if instance is not None and self._reason is not None:
            instance.cancel(self._reason)

    @property
    def awaits(self) -> Call | None:
        """The call that this one waits for, or runs on its own thread, just now."""
        return self._awaits

    @property
    def done(self) -> bool:
        """True once the result is there."""
        return self.stage == DONE

    @property
    def cancelled(self) -> str | None:
        """Why the call is to end, ``None`` when nobody asked for it."""
        return self._reason

    def check(self) -> None:
        """Return when the call may go on; to be asked before and after everything that blocks.

        Raises:
            Cancelled: the call or one of its ancestors was cancelled.
            DeadlineExceeded: its time is up.
        """
        if self._reason is not None:
            raise Cancelled(self._reason, guest=self.guest)
        if self.deadline and monotonic_ns() >= self.deadline:
            raise DeadlineExceeded(limit=self.wall, guest=self.guest)

    def sleep(self, turn: threading.Lock, seconds: float | None = None) -> None:
        """Sleep until somebody releases `turn`; a cancellation and the deadline end the sleep, too.

        Args:
            turn: a lock that the calling thread has acquired.
            seconds: how long at most.
        """
        left = self.remaining()
        bounds = [bound for bound in (left, seconds) if bound is not None]
        self._parked = turn
        try:
            if self._reason is None:
                turn.acquire(timeout=min(bounds, default=-1))
        finally:
            self._parked = None

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, never negative; ``None`` without a deadline."""
        if not self.deadline:
            return None
        return max(0, self.deadline - monotonic_ns()) / 1e9

    def tighten(self, wall: float) -> None:
        """Move the deadline forward to `wall` seconds from now, if that is sooner."""
        deadline = monotonic_ns() + int(wall * 1e9)
        if not self.deadline or deadline < self.deadline:
            self.deadline, self.wall = deadline, wall

    def adopt(self, child: Call) -> None:
        """Take in a new child; the scheduler's lock is held."""
        if self.live_children is None:
            self.live_children = {}
            self.children = []
        self.children.append(child.id)  # type: ignore[attr-defined]
        self.live_children[child.id] = child
        self.root.descendants += 1

    def disown(self, child: Call) -> None:
        """Let go of a child that has ended; the scheduler's lock is held."""
        if self.live_children is not None and self.live_children.pop(child.id, None) is not None:
            self.root.descendants -= 1

    def enlist(self, turn: threading.Lock) -> bool:
        """Have `turn` released at the end of the call; false when it has ended.  The lock is held."""
        if self.stage == DONE:
            return False
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(turn)
        return True

    def dismiss(self, turn: threading.Lock) -> None:
        """Forget about `turn`; the scheduler's lock is held."""
        if self._waiters is not None and turn in self._waiters:
            self._waiters.remove(turn)

    def __repr__(self) -> str:
        entry = f".{self.entry}" if self.entry else ""
        return f"<Call {self.id} {self.tenant}/{self.guest}{entry} {STAGES[self.stage]}>"
