"""The host-side record of launched functions: inspection and counters (module-run specification, 8)."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from guesthouse.calls import Call, Result
from guesthouse.calls.crossing import failure_of
from guesthouse.interfaces.ark.codes import Code, of_run
from guesthouse.observe import log

#: Runs that are remembered; older ones are forgotten, whether they are over or not.
REMEMBERED = 4096


@dataclass(slots=True, eq=False)
class Run:
    """One launched function, as the host sees it.

    Attributes:
        request: the handle that the launching instance knows it by.
        caller: id of the call that launched it.
        tenant, module, function: what runs.
        sha256: digest of the module version that runs.
        depth: launches and calls above it.
        call: the scheduler's call; ``None`` before it was accepted.
        code: what ``retrieve`` answers; ``None`` while the run is not over.
        cause: why it failed, in words; ``None`` while it runs and after success.
        panic: text that the guest left through ``core__register_panic``.
        fuel: instructions used; ``None`` where the run was not metered.
        wall_s: seconds from start to end.
        queued_s: seconds between launch and start.
    """

    request: int
    caller: int
    tenant: str
    module: str
    function: str
    sha256: str
    depth: int
    call: Call | None = None
    code: int | None = None
    cause: str | None = None
    panic: str | None = None
    fuel: int | None = None
    wall_s: float = 0.0
    queued_s: float = 0.0

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``ok`` or ``failed``."""
        if self.code is not None:
            return "failed" if self.code else "ok"
        return "running" if self.call is not None and self.call.started_ns else "queued"

    def finish(self, result: Result) -> int:
        """Note how the run ended; return what ``retrieve`` answers."""
        receipt = result.receipt
        self.fuel, self.wall_s, self.queued_s = receipt.fuel, receipt.wall_s, receipt.queued_s
        self.call = None
        if result.error is None:
            self.code = of_run(result.code)
            if self.code:
                self.cause = f"the function returned {result.code}"
        else:
            self.code = int(Code.INTERNAL_ERROR)
            self.cause = f"{failure_of(result)}: {result.error}"
        return self.code


class Journal:
    """Remembers the newest runs of one host and counts all of them.  Any thread may use it."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._launched = 0
        self._ended: Counter[str] = Counter()
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
        kind = str(failure_of(result) or "ok")
        with self._lock:
            self._ended[kind] += 1
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
            ended = dict(self._ended)
            launched, queued_s, wall_s = self._launched, self._queued_s, self._wall_s
        return {
            "launched": launched,
            "succeeded": ended.pop("ok", 0),
            "failed": ended,
            "queued_s": queued_s,
            "run_s": wall_s,
        }
