"""The lives of capabilities in a runtime: set-up, polling, finalizing, teardown (spec/pulp.md 5.2, 5.9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.extension import Environment, Event, Posted
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability

_POLL_PAUSE = 200e-6
_LONGEST_POLL_PAUSE = 0.01


class Lives:
    """The capabilities that take part in a runtime.

    Args:
        environment: what they are set up with; its ``emit`` takes the events that are polled.
        shared: capabilities that several runtimes of one process share and that somebody else keeps.
    """

    def __init__(self, environment: Environment, shared: Lives | None = None) -> None:
        self.environment = environment
        self._shared = shared
        self._up: list[Capability] = []
        self._pollers: list[threading.Thread] = []
        self._stopping = threading.Event()

    def __contains__(self, capability: object) -> bool:
        return any(capability is each for each in self._up)

    def set_up(self, capabilities: Iterable[Capability]) -> None:
        """Set capabilities up, once each, in the order given.

        Raises:
            LoadError: one could not be set up.
        """
        for capability in capabilities:
            if capability in self or (self._shared is not None and capability in self._shared):
                continue
            if capability.hooks.setup is not None:
                try:
                    capability.hooks.setup(self.environment)
                except Exception as error:
                    message = f"capability {capability.name!r} could not be set up: {error}"
                    raise LoadError(message) from error
            self._up.append(capability)

    def poll(self) -> None:
        """Begin to move events from the capabilities that are polled to their cells."""
        for capability in self._up:
            if capability.hooks.poll is not None:
                poller = threading.Thread(
                    target=self._poll, args=(capability,), name=f"pulp-poll-{capability.name}", daemon=True
                )
                poller.start()
                self._pollers.append(poller)

    def stop_polling(self) -> None:
        """End the pollers."""
        self._stopping.set()
        for poller in self._pollers:
            poller.join(1.0)

    def finalize(self, event: Event) -> None:
        """Tell the capability that an event comes from that it was handled or dropped."""
        for capability in self._up:
            hook = capability.hooks.finalize
            if capability.name == event.source and hook is not None and _fits(event, capability):
                _safely(lambda hook=hook: hook(event.id), "finalize", capability)  # type: ignore[misc]
        if self._shared is not None:
            self._shared.finalize(event)

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return what capabilities dropped for a cell, as ``capability.what``."""
        counted = {
            f"{capability.name}.{what}": number
            for capability in self._up
            if capability.hooks.counters is not None
            for what, number in capability.hooks.counters(cell_id).items()
        }
        return counted if self._shared is None else {**self._shared.counters(cell_id), **counted}

    def tear_down(self) -> None:
        """Let the capabilities go, the last one first."""
        while self._up:
            capability = self._up.pop()
            if capability.hooks.teardown is not None:
                _safely(capability.hooks.teardown, "teardown", capability)

    def _poll(self, capability: Capability) -> None:
        poll = capability.hooks.poll
        assert poll is not None
        pause = _POLL_PAUSE
        while not self._stopping.wait(pause):
            try:
                event: Event | None = poll()
            except Exception:  # noqa: BLE001 - code of strangers
                log.exception("capability poll failed", capability=capability.name)
                event = None
            if event is None:
                pause = min(pause * 2, _LONGEST_POLL_PAUSE)
                continue
            pause = 0.0
            event.source, event.provider = capability.name, capability.provider
            if self.environment.emit(event) is not Posted.QUEUED:
                self.finalize(event)


def _fits(event: Event, capability: Capability) -> bool:
    """Tell two providers of one name apart, where the event says whose it is."""
    return not event.provider or event.provider == capability.provider


def _safely(hook: Callable[[], object], what: str, capability: Capability) -> None:
    try:
        hook()
    except Exception:  # noqa: BLE001 - code of strangers
        log.exception(f"capability {what} failed", capability=capability.name)
