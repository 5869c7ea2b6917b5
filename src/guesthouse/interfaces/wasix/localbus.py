"""A bus in memory: between the guests of one host, and services written in Python."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from guesthouse.interfaces.wasix.bus import (
    BusCalled,
    BusCallEvent,
    BusError,
    BusErrorCode,
    BusInvocation,
    BusProcess,
    Callback,
    Fault,
    InvocationEvent,
    Response,
    SpawnOptions,
    Waker,
)

#: Messages that wait for one receiver; more are refused, so that nobody can fill the host's memory.
MOST_WAITING = 4096

#: A service in Python: takes topic, format, payload and the call, and returns format and payload.
Service = Callable[[str, int, bytes, BusCalled], tuple[int, bytes] | None]


class Launched(Protocol):
    """A guest that was started as a process of the bus."""

    stdin: int | None
    stdout: int | None
    stderr: int | None

    def exit_code(self) -> int | None:
        """Return how it ended, or ``None``."""

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have a callable called when it has ended."""

    def signal(self, number: int) -> None:
        """Send it a signal."""


#: Starts a guest: takes its name, the options, and the bus that is to be its own. A guest that knows nothing
#: of buses comes as a process already.
Launch = Callable[[str, SpawnOptions, "LocalBus"], "Launched | BusProcess"]


class _Queue:
    """Messages for one receiver, who may wait for them or be woken."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self._waker: Waker | None = None

    def put(self, item: Any) -> None:
        with self._changed:
            if len(self._items) >= MOST_WAITING:
                raise BusError(BusErrorCode.INTERNAL_ERROR, "too many messages wait for one receiver")
            self._items.append(item)
            self._changed.notify_all()
            waker = self._waker
        if waker is not None:
            waker()

    def take(self, timeout: float) -> Any:
        until = time.monotonic() + timeout
        with self._changed:
            while not self._items:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return self._items.popleft()

    def set_waker(self, waker: Waker | None) -> None:
        with self._changed:
            self._waker = waker
            pending = bool(self._items)
        if pending and waker is not None:
            waker()


class LocalCall:
    """One call, seen from both ends: the caller polls it, the called answers it."""

    def __init__(self, topic: str, format: int, data: bytes) -> None:
        self.topic, self.format, self.data = topic, format, data
        self._events = _Queue()
        self._inner = _Queue()
        self._lock = threading.Lock()
        self._over = False

    # -- the caller's end

    def poll_event(self, timeout: float = 0) -> InvocationEvent | None:
        """Return the next thing that happened to the call."""
        found: InvocationEvent | None = self._events.take(timeout)
        return found

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say whether the call was answered."""
        return self._over

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Make a call within this one."""
        if self._over:
            raise BusError(BusErrorCode.ABORTED)
        inner = LocalCall(topic, format, data)
        self._inner.put(inner)
        return inner

    def set_waker(self, waker: Waker | None) -> None:
        """Have a callable called when either end has something to look at."""
        self._events.set_waker(waker)
        self._inner.set_waker(waker)

    # -- the called one's end

    def callback(self, topic: str, format: int, data: bytes) -> None:
        """Send something to the caller before the answer."""
        self._events.put(Callback(topic, format, data))

    def reply(self, format: int, data: bytes) -> None:
        """Answer the call."""
        self._end(Response(format, data))

    def fault(self, code: BusErrorCode) -> None:
        """Answer that the call failed."""
        self._end(Fault(code))

    def _end(self, event: InvocationEvent) -> None:
        with self._lock:
            if self._over:
                raise BusError(BusErrorCode.ALREADY_CONSUMED)
            self._over = True
        self._events.put(event)

    def poll_call(self, timeout: float = 0) -> BusCallEvent | None:
        """Return a call made within this one."""
        inner: LocalCall | None = self._inner.take(timeout)
        return None if inner is None else inner.event()

    def event(self) -> BusCallEvent:
        """Return what the called one is told."""
        return BusCallEvent(self.topic, self, self.format, self.data)


class LocalListener:
    """Where calls to one process come in."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    def poll_call(self, timeout: float = 0) -> BusCallEvent | None:
        """Return the next call."""
        call: LocalCall | None = self._queue.take(timeout)
        return None if call is None else call.event()

    def set_waker(self, waker: Waker | None) -> None:
        """Have a callable called when a call has come in."""
        self._queue.set_waker(waker)


class LocalProcess:
    """A guest as a process of the bus."""

    def __init__(self, queue: _Queue, launched: Launched) -> None:
        self._queue, self._launched = queue, launched
        self._ended = threading.Event()
        self._calls: list[LocalCall] = []
        launched.on_end(self._ended.set)

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Call the process."""
        if self._ended.is_set():
            raise BusError(BusErrorCode.ABORTED)
        call = LocalCall(topic, format, data)
        self._queue.put(call)
        return call

    def exit_code(self) -> int | None:
        """Return how it ended, or ``None``."""
        return self._launched.exit_code()

    def stdin_fd(self) -> int | None:
        """Hand over what feeds its standard input."""
        return self._launched.stdin

    def stdout_fd(self) -> int | None:
        """Hand over what its standard output comes from."""
        return self._launched.stdout

    def stderr_fd(self) -> int | None:
        """Hand over what its standard error comes from."""
        return self._launched.stderr

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say whether it has ended."""
        return self._ended.wait(timeout)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._launched.signal(number)


class ServiceProcess:
    """A service in Python as a process of the bus: each call runs on the caller's thread."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Call the service; a ``BusError`` that it raises becomes a fault."""
        call = LocalCall(topic, format, data)
        try:
            answer = self._service(topic, format, data, call)
        except BusError as error:
            call.fault(error.code)
            return call
        if answer is not None:
            call.reply(*answer)
        return call

    def exit_code(self) -> None:
        """Return ``None``: a service does not end."""

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say that it has not ended."""
        return False

    def stdin_fd(self) -> None:
        """Return ``None``: it has no streams."""

    stdout_fd = stderr_fd = stdin_fd


class LocalBus:
    """A bus in memory.

    Args:
        launch: starts a guest of the host; without it there are services only.
        among: a bus whose services are on this one, too.
    """

    def __init__(self, launch: Launch | None = None, *, among: LocalBus | None = None) -> None:
        self._launch = launch
        self._services: dict[str, Service] = {} if among is None else among._services
        self._queue = _Queue()

    def serve(self, name: str, service: Service) -> None:
        """Offer a service under a name."""
        self._services[name] = service

    def bound(self, launch: Launch) -> LocalBus:
        """Return this bus as a program sees it that can start guests with ``launch``."""
        bus = LocalBus(launch, among=self)
        bus._queue = self._queue
        return bus

    def spawn(self, name: str, options: SpawnOptions) -> BusProcess:
        """Start a guest, or find a service.

        Raises:
            BusError: there is neither, or it is asked for on another instance.
        """
        if options.remote_instance is not None:
            raise BusError(BusErrorCode.UNSUPPORTED, "this bus ends at this host")
        if name in self._services:
            return ServiceProcess(self._services[name])
        if self._launch is None:
            raise BusError(BusErrorCode.FETCH_FAILED, f"nothing on this bus is named {name!r}")
        own = LocalBus(among=self)
        launched = self._launch(name, options, own)
        if hasattr(launched, "invoke"):
            return cast(BusProcess, launched)
        return LocalProcess(own._queue, launched)

    def listen(self) -> LocalListener:
        """Take the calls that are made to this process."""
        return LocalListener(self._queue)
