"""Finished calls, kept for a while so that results are stable and can be asked for again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from guesthouse.calls.limits import CallLimits

if TYPE_CHECKING:
    from guesthouse.calls.call import Call


class Records:
    """Finished calls by id, bounded by age, number and bytes; the oldest go first.

    It does no locking: the scheduler holds its own lock around every use.

    Args:
        limits: the bounds `results`, `result_age` and `result_bytes`.
    """

    __slots__ = ("_bytes", "_calls", "_limits", "_max_age_ns")

    def __init__(self, limits: CallLimits) -> None:
        self._calls: OrderedDict[int, Call] = OrderedDict()
        self._max_age_ns = int(limits.result_age * 1e9)
        self._limits = limits
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._calls

    @property
    def weight(self) -> int:
        """Bytes that are kept now."""
        return self._bytes

    def add(self, call: Call, now: int) -> None:
        """Keep a finished call and drop what has become too old or too much.

        Args:
            call: a call that has its result.
            now: monotonic nanoseconds.
        """
        self._calls[call.id] = call
        self._bytes += self._weigh(call)
        horizon = now - self._max_age_ns
        limits = self._limits
        while self._calls:
            oldest = next(iter(self._calls.values()))
            over = len(self._calls) > limits.results or self._bytes > limits.result_bytes
            if not over and oldest.finished_ns >= horizon:
                break
            self._drop(oldest)

    def get(self, call_id: int, now: int) -> Call | None:
        """Return a kept call, or ``None`` when it is unknown or too old."""
        call = self._calls.get(call_id)
        if call is not None and call.finished_ns < now - self._max_age_ns:
            self._drop(call)
            return None
        return call

    def clear(self) -> None:
        """Forget everything."""
        self._calls.clear()
        self._bytes = 0

    def _drop(self, call: Call) -> None:
        del self._calls[call.id]
        self._bytes -= self._weigh(call)

    @staticmethod
    def _weigh(call: Call) -> int:
        result = call.result
        return len(result.output) if result is not None else 0
