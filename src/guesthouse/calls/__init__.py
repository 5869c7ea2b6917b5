"""Calls: who runs what, when, for whom, and what came of it.

Everything that runs a guest goes through a :class:`Scheduler`; it reaches guests only through the
:class:`Runner` that the host provides.
"""

from guesthouse.calls.call import DONE, PENDING, RUNNING, Call, Runner
from guesthouse.calls.futures import CallFuture
from guesthouse.calls.graph import CallNode
from guesthouse.calls.limits import CallLimits
from guesthouse.calls.results import Outcome, Receipt, Result
from guesthouse.calls.scheduler import Scheduler
from guesthouse.calls.terms import Terms
from guesthouse.calls.waking import stack_left

__all__ = [
    "DONE",
    "PENDING",
    "RUNNING",
    "Call",
    "CallFuture",
    "CallLimits",
    "CallNode",
    "Outcome",
    "Receipt",
    "Result",
    "Runner",
    "Scheduler",
    "Terms",
    "stack_left",
]
