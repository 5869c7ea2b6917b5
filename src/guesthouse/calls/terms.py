"""Terms of one call that only some callers have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse.calls.parting import Errand
from guesthouse.calls.results import Result


class Terms:
    """What a caller asks for beyond a guest's name and input; never changed once made.

    Attributes:
        target: the very guest to run, where the caller has looked it up already; its name may mean another
            version by now. Opaque to the scheduler.
        limits: a ceiling for what the call may use, beside the guest's own limits. Opaque likewise.
        urgent: wake a worker at once, since the caller will poll instead of waiting.
        observer: takes the result over as soon as the call has ended, on the thread that ended it; what is
            remembered of the call has no output then. Must not raise. It may return what is left to do until
            others see the end: that is done last, as the thread gives up the GIL.
    """

    __slots__ = ("limits", "observer", "target", "urgent")

    def __init__(
        self,
        target: Any = None,
        limits: Any = None,
        urgent: bool = False,
        observer: Callable[[Result], Errand | None] | None = None,
    ) -> None:
        self.target, self.limits, self.urgent, self.observer = target, limits, urgent, observer


#: What holds where nothing else was asked for.
PLAIN = Terms()
