"""The instrument seam: what happens in a host, told to whoever asked.

Exporters, recorders and metrics are instruments.  A host without any pays one test of an empty tuple per
event; an instrument that raises is logged and taken out, and never changes what a call does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from guesthouse.observe.logs import log


class Instrument:
    """Base of instruments: override what is wanted.  Every method is called on the thread it happens on."""

    def module_compiled(self, sha256: str, size: int, seconds: float, *, cached: bool) -> None:
        """A module was compiled, or loaded from the compile cache; ``size`` in bytes of wasm."""

    def guest_loaded(self, guest: Any) -> None:
        """A guest was loaded: its imports are resolved, nothing of it has run."""

    def guest_closed(self, guest: Any) -> None:
        """A guest was closed."""

    def call_started(self, call: Any) -> None:
        """A call is about to run."""

    def call_ended(self, call: Any, result: Any) -> None:
        """A call ended, however it did; ``result`` holds code, error and receipt."""

    def function_refused(self, call: Any, capability: str, function: str, count: int) -> None:
        """A guest called ``function`` (module.name) ``count`` times in a call, without the grant."""


_EVENTS = tuple(name for name in vars(Instrument) if not name.startswith("_"))
_CALL_EVENTS = ("call_started", "call_ended", "function_refused")


class Instruments:
    """The instruments of one host.  Events are told through :meth:`emit`; thread-safe.

    Attributes:
        watch_calls: whether any instrument wants to hear of calls; to be asked first on hot paths.
    """

    def __init__(self, *instruments: Instrument) -> None:
        self._lock = threading.Lock()
        self.watch_calls = False
        self._all: tuple[Instrument, ...] = ()
        self._hooks: dict[str, tuple[tuple[Instrument, Callable[..., None]], ...]] = dict.fromkeys(
            _EVENTS, ()
        )
        for instrument in instruments:
            self.add(instrument)

    def __iter__(self) -> Any:
        return iter(self._all)

    def add(self, instrument: Instrument) -> None:
        """Tell an instrument everything from now on."""
        with self._lock:
            self._set((*self._all, instrument))

    def remove(self, instrument: Instrument) -> None:
        """Tell an instrument nothing any more; one that is not there is no error."""
        with self._lock:
            self._set(tuple(one for one in self._all if one is not instrument))

    def _set(self, instruments: tuple[Instrument, ...]) -> None:
        self._all = instruments
        for event in _EVENTS:
            self._hooks[event] = tuple(
                (one, getattr(one, event))
                for one in instruments
                if getattr(type(one), event) is not getattr(Instrument, event)
            )
        self.watch_calls = any(map(self.wants, _CALL_EVENTS))

    def wants(self, event: str) -> bool:
        """True when some instrument overrides the event's method."""
        return bool(self._hooks[event])

    def emit(self, event: str, /, *facts: Any, **more: Any) -> None:
        """Tell the instruments that an event happened.

        Args:
            event: a method of :class:`Instrument`.
            facts: its arguments.
            more: its keyword arguments.
        """
        for instrument, hook in self._hooks[event]:
            try:
                hook(*facts, **more)
            except Exception as error:  # noqa: BLE001 - code of strangers; must not change what the call does
                self.remove(instrument)
                log.error(
                    "instrument failed and is taken out", instrument=repr(instrument), error=repr(error)
                )


class LogInstrument(Instrument):
    """Writes every event into the log: loads and refusals as information, calls for debugging."""

    def module_compiled(self, sha256: str, size: int, seconds: float, *, cached: bool) -> None:
        """Log the module."""
        log.info("module compiled", sha256=sha256[:16], size=size, seconds=round(seconds, 4), cached=cached)

    def guest_loaded(self, guest: Any) -> None:
        """Log the guest."""
        log.info("guest loaded", guest=guest.name)

    def guest_closed(self, guest: Any) -> None:
        """Log the guest."""
        log.info("guest closed", guest=guest.name)

    def call_ended(self, call: Any, result: Any) -> None:
        """Log how a call ended."""
        error = repr(result.error) if result.error is not None else None
        log.debug("call ended", call=call.id, guest=call.guest, code=result.code, error=error)

    def function_refused(self, call: Any, capability: str, function: str, count: int) -> None:
        """Log the refusal."""
        log.warning("not granted", guest=call.guest, capability=capability, function=function, count=count)
