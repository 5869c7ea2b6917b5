"""The message bus as the host sees it: calls between processes, told apart by topic (spec wasix 2.3).

Polls take a timeout in seconds (0 does not block) and return an event or ``None``.  Whatever can be polled
also takes a waker: a callable that is to be called, from any thread, when something has come in.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from guesthouse.errors import ResourceError

Waker = Callable[[], None]


class BusErrorCode(enum.IntEnum):
    """What went wrong on the bus, as guests are told."""

    SUCCESS = 0
    SERIALIZATION = 1
    DESERIALIZATION = 2
    INVALID_WAPM = 3
    FETCH_FAILED = 4
    COMPILE_ERROR = 5
    INVALID_ABI = 6
    ABORTED = 7
    BAD_HANDLE = 8
    INVALID_TOPIC = 9
    BAD_CALLBACK = 10
    UNSUPPORTED = 11
    BAD_REQUEST = 12
    ACCESS_DENIED = 13
    INTERNAL_ERROR = 14
    MEMORY_ALLOCATION_FAILED = 15
    INVOKE_FAILED = 16
    ALREADY_CONSUMED = 17
    MEMORY_ACCESS_VIOLATION = 18
    UNKNOWN_ERROR = 19


class BusError(ResourceError):
    """The bus refuses.

    Attributes:
        code: why.
    """

    def __init__(self, code: BusErrorCode | int, message: str = "") -> None:
        self.code = BusErrorCode(code)
        super().__init__(message or self.code.name.lower().replace("_", " "), resource="bus")


_HEX = re.compile(r"[0-9a-f]{32}")


def hash_of(topic: str) -> bytes:
    """Return the 16 bytes that stand for a topic; one that is their lower-case hex stands for itself."""
    return bytes.fromhex(topic) if _HEX.fullmatch(topic) else hashlib.sha256(topic.encode()).digest()[:16]


class BusDataFormat(enum.IntEnum):
    """How a payload is encoded; the host never looks into it."""

    RAW = 0
    BINCODE = 1
    MESSAGE_PACK = 2
    JSON = 3
    YAML = 4
    XML = 5
    RKYV = 6


class StdioMode(enum.IntEnum):
    """What a spawned process gets as a standard stream."""

    PIPED = 0
    INHERIT = 1
    NULL = 2
    LOG = 3


@dataclass(slots=True)
class SpawnOptions:
    """How a process is spawned; the defaults are those of the seed.

    Attributes:
        reuse: one that runs under this name will do.
        chroot: it sees only its working directory.
        args: arguments after its name.
        preopen: directories it is given.
        stdin_mode: what its standard input is.
        stdout_mode: what its standard output is.
        stderr_mode: what its standard error is.
        working_dir: where it starts.
        remote_instance: the instance it runs on, if not here.
        access_token: what opens that instance.
    """

    reuse: bool = False
    chroot: bool = False
    args: list[str] = field(default_factory=list)
    preopen: list[str] = field(default_factory=list)
    stdin_mode: StdioMode = StdioMode.NULL
    stdout_mode: StdioMode = StdioMode.NULL
    stderr_mode: StdioMode = StdioMode.NULL
    working_dir: str = "/"
    remote_instance: str | None = None
    access_token: str | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A message that comes back before the answer."""

    topic: str
    format: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a call."""

    format: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A call failed."""

    code: BusErrorCode


InvocationEvent = Callback | Response | Fault


class BusInvocation(Protocol):
    """A call that was made and is not over."""

    def poll_event(self, timeout: float = 0) -> InvocationEvent | None:
        """Return the next thing that happened to the call."""

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say whether the call is over."""

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Make a call within this call.

        Raises:
            BusError: it cannot be made.
        """

    def set_waker(self, waker: Waker | None) -> None:
        """Have a callable called when something has happened."""


class BusProcess(Protocol):
    """A process on the bus."""

    def invoke(self, topic: str, format: int, data: bytes) -> BusInvocation:
        """Call the process.

        Raises:
            BusError: it cannot be called.
        """

    def exit_code(self) -> int | None:
        """Return how it ended, or ``None`` while it runs."""

    def stdin_fd(self) -> int | None:
        """Return the host descriptor that feeds its standard input, handed over to the caller."""

    def stdout_fd(self) -> int | None:
        """Return the host descriptor that its standard output comes from, handed over."""

    def stderr_fd(self) -> int | None:
        """Return the host descriptor that its standard error comes from, handed over."""

    def poll_finished(self, timeout: float = 0) -> bool:
        """Say whether it has ended."""


class BusCalled(Protocol):
    """A call that came in; it is answered once."""

    def callback(self, topic: str, format: int, data: bytes) -> None:
        """Send something to the caller before the answer."""

    def fault(self, code: BusErrorCode) -> None:
        """Answer that the call failed."""

    def reply(self, format: int, data: bytes) -> None:
        """Answer the call."""

    def poll_call(self, timeout: float = 0) -> BusCallEvent | None:
        """Return a call made within this call."""


@dataclass(frozen=True, slots=True)
class BusCallEvent:
    """A call that came in.

    Attributes:
        topic: what it is about.
        called: to answer it with.
        format: how the payload is encoded.
        data: the payload.
    """

    topic: str
    called: BusCalled
    format: int
    data: bytes


class BusListener(Protocol):
    """Where calls to this process come in."""

    def poll_call(self, timeout: float = 0) -> BusCallEvent | None:
        """Return the next call."""

    def set_waker(self, waker: Waker | None) -> None:
        """Have a callable called when a call has come in."""


class VirtualBus(Protocol):
    """A message bus."""

    def spawn(self, name: str, options: SpawnOptions) -> BusProcess:
        """Start a process, or find one that runs.

        Raises:
            BusError: there is no such process, or it cannot be started.
        """

    def listen(self) -> BusListener:
        """Take calls.

        Raises:
            BusError: this bus brings none.
        """


class UnsupportedVirtualBus:
    """No bus: everything is refused as unsupported."""

    def spawn(self, name: str, options: SpawnOptions) -> NoReturn:
        """Refuse.

        Raises:
            BusError: always.
        """
        raise BusError(BusErrorCode.UNSUPPORTED)

    def listen(self) -> NoReturn:
        """Refuse.

        Raises:
            BusError: always.
        """
        raise BusError(BusErrorCode.UNSUPPORTED)


def set_waker(pollable: Any, waker: Waker | None) -> None:
    """Install a waker where the object takes one; what takes none is asked again and again."""
    setter = getattr(pollable, "set_waker", None)
    if setter is not None:
        setter(waker)
