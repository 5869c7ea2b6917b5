"""The host-side record of launched functions: inspection and counters (module-run specification, 8)."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from guesthouse.calls import Result
from guesthouse.calls.crossing import Callee, Failure, failure_of
from guesthouse.interfaces.ark.codes import Code, of_run
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.ark.state import RunState

#: Runs that are remembered; older ones are forgotten, whether they are over or not.
REMEMBERED = 4096


class Function:
    """A function handle: one function of one module version (section 5, create_function).

    Args:
        state: of the call that creates it.
        found: what it means. A later redeploy of the name does not change it.

    Attributes:
        version: the loaded guest.
        name: the guest's name.
        facts: tenant, module, function and digest, for records that outlive the guest.
        place: what every call of it has: its place below the caller, and no more than the caller may
            (6.4, 6.5).
    """

    __slots__ = ("facts", "name", "place", "version")

    def __init__(self, state: RunState, found: Callee) -> None:
        self.version, entry = found
        self.name: str = self.version.name
        self.facts: tuple[str, str, str, str] = (
            self.version.tenant,
            self.name,
            entry or "",
            self.version.info.sha256,
        )
        self.place: dict[str, Any] = {
            "tenant": self.version.tenant,
            "entry": entry,
            "wall": state.limits.child_wall,
            "capabilities": state.guest.granted,
            "linked": True,
        }


class Run:
    """One launched function, as the host sees it.

    Args:
        function: what runs.

    Attributes:
        request: the handle that the launching instance knows it by.
        caller: id of the call that launched it.
        depth: launches and calls above it.
        code: what ``retrieve`` answers; ``None`` while the run is not over.
        cause: why it failed, in words; ``None`` while it runs and after success.
        panic: text that the guest left through ``core__register_panic``.
        started: whether it runs, or has run.
        fuel: instructions used; ``None`` where the run was not metered.
        wall_s: seconds from start to end.
        queued_s: seconds between launch and start.
    """

    __slots__ = (
        "_facts", "caller", "cause", "code", "depth", "fuel", "panic", "queued_s", "request", "started",
        "wall_s",
    )  # fmt: skip

    def __init__(self, request: int, caller: int, function: Function, depth: int) -> None:
        self.request, self.caller, self.depth = request, caller, depth
        self._facts = function.facts
        self.code: int | None = None
        self.cause: str | None = None
        self.panic: str | None = None
        self.started = False
        self.fuel: int | None = None
        self.wall_s = self.queued_s = 0.0

    @property
    def tenant(self) -> str:
        """Whose module runs."""
        return self._facts[0]

    @property
    def module(self) -> str:
        """Name of the module."""
        return self._facts[1]

    @property
    def function(self) -> str:
        """Name of the function; empty for the guest's own entry."""
        return self._facts[2]

    @property
    def sha256(self) -> str:
        """Digest of the module version that runs."""
        return self._facts[3]

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``ok`` or ``failed``."""
        if self.code is not None:
            return "failed" if self.code else "ok"
        return "running" if self.started else "queued"

    def finish(self, result: Result) -> int:
        """Note how the run ended; return what ``retrieve`` answers."""
        receipt = result.receipt
        self.fuel, self.wall_s, self.queued_s = receipt.fuel, receipt.wall_s, receipt.queued_s
        if result.ok:
            self.code = 0
        elif result.error is None:
            self.code = of_run(result.code)
            self.cause = f"the function returned {result.code}"
        else:
            failure = failure_of(result)
            self.code = int(Code.NOT_FOUND if failure is Failure.NOT_FOUND else Code.INTERNAL_ERROR)
            self.cause = f"{failure}: {result.error}"
        return self.code


class Journal:
    """Remembers the newest runs of one host and counts all of them.  Any thread may use it."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._launched = 0
        self._succeeded = 0
        self._failed: Counter[str] = Counter()
        self._queued_s = 0.0
        self._wall_s = 0.0

    def began(self, run: Run) -> None:
        """Remember a run that is about to be submitted."""
        with self._lock:
            self._launched += 1
            self._runs.append(run)

    def withdrawn(self, run: Run) -> None:
        """Forget a run that the scheduler did not take."""
        with self._lock:
            self._launched -= 1
            with contextlib.suppress(ValueError):
                self._runs.remove(run)

    def ended(self, run: Run, result: Result) -> int:
        """Note a run's end in the record, the counters and, for failures, the log.

        Returns:
            What ``retrieve`` answers.
        """
        code = run.finish(result)
        failure = failure_of(result) if code else None
        with self._lock:
            if failure is None:
                self._succeeded += 1
            else:
                self._failed[failure] += 1
            self._queued_s += run.queued_s
            self._wall_s += run.wall_s
        if code:
            log.info(
                "launched function failed",
                tenant=run.tenant,
                module=run.module,
                function=run.function,
                request=f"{run.request:016x}",
                caller=run.caller,
                depth=run.depth,
                code=code,
                cause=run.cause,
                panic=run.panic,
            )
        return code

    def __iter__(self) -> Iterator[Run]:
        with self._lock:
            return iter(tuple(self._runs))

    def metrics(self) -> dict[str, Any]:
        """Return the counters: launched, succeeded, failed by cause, seconds queued and run."""
        with self._lock:
            succeeded, failed = self._succeeded, {str(kind): count for kind, count in self._failed.items()}
            launched, queued_s, wall_s = self._launched, self._queued_s, self._wall_s
        return {
            "launched": launched,
            "succeeded": succeeded,
            "failed": failed,
            "queued_s": queued_s,
            "run_s": wall_s,
        }
