"""Futures of results, for callers outside of guests (threads, asyncio)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from guesthouse.calls.results import Result

if TYPE_CHECKING:
    from guesthouse.calls.call import Call
    from guesthouse.calls.scheduler import Scheduler


class CallFuture(Future[Result]):
    """A future that never holds an exception: failures are in the :class:`Result`.

    Attributes:
        call: the call it stands for.
    """

    def __init__(self, scheduler: Scheduler, call: Call) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.call = call
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Cancel the call and what is below it; the future then resolves to a cancelled result."""
        return self._scheduler.cancel(self.call, "its future was cancelled")

    def resolve(self, result: Result) -> None:
        """Set the result, once; later calls do nothing."""
        with self._condition:
            if self.done():
                return
            self.set_result(result)
