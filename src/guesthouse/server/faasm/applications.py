"""Applications: the calls of one batch, remembered under one id (spec faasm 5.1, 6.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from guesthouse.calls import Call, Scheduler
from guesthouse.interfaces.faasm import Message

#: Applications that are remembered.
MOST_APPLICATIONS = 4096
_MOST_ID = (1 << 31) - 1


class Application:
    """The calls of one batch, by id: what they put out is remembered, and bounded, by the scheduler alone.

    Attributes:
        id: id of the application.
        user: whose it is.
        kind: what its batch called ``subType``; a word of the client's own.
        calls: id of each call, with what it was made with.
    """

    def __init__(self, number: int, user: str, kind: int, calls: Iterable[tuple[int, Message]]) -> None:
        self.id, self.user, self.kind, self.calls = number, user, kind, list(calls)

    def found(self, scheduler: Scheduler) -> list[tuple[Call | None, Message]]:
        """Return the calls, ``None`` for those that ended so long ago that nothing is known any more."""
        each = ((scheduler.find(call_id), message) for call_id, message in self.calls)
        # An id is used again after some two thousand million others.
        return [(call if call and call.tenant == self.user else None, message) for call, message in each]

    def unfinished(self, scheduler: Scheduler) -> list[Call]:
        """Return the calls that have not ended."""
        return [call for call, _ in self.found(scheduler) if call is not None and not call.done]


class Applications:
    """The applications of all users; the oldest are forgotten when there are too many."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, Application] = OrderedDict()

    def __iter__(self) -> Iterator[Application]:
        return iter(list(self._known.values()))

    def get(self, number: int) -> Application | None:
        """Return an application by its id."""
        return self._known.get(number)

    def held(self, user: str, number: int) -> int:
        """Return how many calls a user's application of that id has; 0 when there is none."""
        own = self._known.get(number)
        return len(own.calls) if own is not None and own.user == user else 0

    def add(self, user: str, wanted: int, kind: int, calls: list[tuple[int, Message]]) -> Application:
        """Remember calls under an id.

        Args:
            user: whose they are.
            wanted: id that the client would like; its own application of that id grows.  An id that is
                another user's, or 0, stands for one that is chosen here.
            kind: the batch's ``subType``.
            calls: at least one.
        """
        own = self._known.get(wanted)
        if own is not None and own.user == user:
            own.calls += calls
            return own
        number = wanted if wanted > 0 and own is None else calls[0][0]
        while number in self._known:
            number = number % _MOST_ID + 1
        made = self._known[number] = Application(number, user, kind, calls)
        while len(self._known) > MOST_APPLICATIONS:
            self._known.popitem(last=False)
        return made

    def forget(self, user: str | None) -> None:
        """Forget a user's applications, or all; their calls go on."""
        self._known = OrderedDict(
            (number, app) for number, app in self._known.items() if user is not None and app.user != user
        )
