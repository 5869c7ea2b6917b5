"""The pluggable WASI runtime: nine members that decide what differs per deployment (spec wasix 2.1, 2.2).

The file system, clocks, random bytes and arguments stay the host's; the message bus, the network, the
terminal, threads, the idle hook and the process id are asked of one object.  Methods may be called from any
guest thread at once.  Whatever a member raises beyond the errors named here ends the guest and reaches the
embedder unchanged.
"""

from __future__ import annotations

import enum
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from guesthouse.engine import Exit
from guesthouse.errors import Error
from guesthouse.interfaces.wasix.bus import UnsupportedVirtualBus, VirtualBus
from guesthouse.interfaces.wasix.network import UnsupportedVirtualNetworking, VirtualNetworking

#: Ids that a guest may see lie in 1 … this (wasi-threads keeps the upper bits).
HIGHEST_THREAD_ID = (1 << 29) - 1


@dataclass(frozen=True, slots=True)
class TtyState:
    """The terminal as guests see it.

    Attributes:
        cols: width in characters.
        rows: height in characters.
        width: width in pixels.
        height: height in pixels.
        stdin_tty: standard input is a terminal.
        stdout_tty: standard output is one.
        stderr_tty: standard error is one.
        echo: what is typed is shown.
        line_buffered: input arrives line by line.
        line_feeds: line feeds are turned into CR LF; not part of generation G1.
    """

    cols: int = 80
    rows: int = 25
    width: int = 800
    height: int = 600
    stdin_tty: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    echo: bool = True
    line_buffered: bool = True
    line_feeds: bool = False


class ThreadErrorKind(enum.Enum):
    """Why a thread cannot be had; the value is the errno that the guest sees."""

    UNSUPPORTED = 58
    METHOD_NOT_FOUND = 28


class WasiThreadError(Error):
    """A runtime refuses threads.

    Attributes:
        kind: why.
    """

    def __init__(self, kind: ThreadErrorKind = ThreadErrorKind.UNSUPPORTED) -> None:
        self.kind = kind
        super().__init__(f"threads: {kind.name.lower().replace('_', ' ')}")

    @property
    def errno(self) -> int:
        """The errno that the guest sees."""
        return self.kind.value


class WasiExit(Exit):
    """Ends the guest with a code, whichever member raises it."""


@runtime_checkable
class Runtime(Protocol):
    """What an embedder plugs under a WASIX guest."""

    def bus(self) -> VirtualBus:
        """Return the message bus."""

    def networking(self) -> VirtualNetworking:
        """Return the network."""

    def thread_generate_id(self) -> int:
        """Return a new thread id; one out of range or in use is drawn again."""

    def tty_get(self) -> TtyState:
        """Return the state of the terminal."""

    def tty_set(self, state: TtyState) -> None:
        """Change the terminal."""

    def thread_spawn(self, callback: Callable[[], None]) -> None:
        """Run a callback on a new host thread.

        Raises:
            WasiThreadError: threads are not to be had.
        """

    def thread_parallelism(self) -> int:
        """Return how many threads can run at once.

        Raises:
            WasiThreadError: threads are not to be had.
        """

    def yield_now(self, thread_id: int) -> None:
        """Called whenever a guest thread yields or idles.

        Raises:
            WasiExit: the guest is to end.
        """

    def getpid(self) -> int | None:
        """Return the process id, or ``None`` where there is none."""


class BaseRuntime:
    """The six defaults: a terminal of 80x25 that cannot be changed, no threads, no process id."""

    def tty_get(self) -> TtyState:
        """Return the fixed state."""
        return TtyState()

    def tty_set(self, state: TtyState) -> None:
        """Do nothing."""

    def thread_spawn(self, callback: Callable[[], None]) -> None:
        """Refuse.

        Raises:
            WasiThreadError: always.
        """
        raise WasiThreadError

    def thread_parallelism(self) -> int:
        """Refuse.

        Raises:
            WasiThreadError: always.
        """
        raise WasiThreadError

    def yield_now(self, thread_id: int) -> None:
        """Let other threads of the host run."""
        os.sched_yield()

    def getpid(self) -> int | None:
        """Return ``None``."""
        return None


class PluggableRuntime(BaseRuntime):
    """A runtime put together from parts: no bus and no network unless they are set.

    Args:
        bus: the message bus.
        networking: the network.
        thread_id_seed: the first thread id that is handed out; 0 would be the main thread's.
    """

    def __init__(
        self,
        *,
        bus: VirtualBus | None = None,
        networking: VirtualNetworking | None = None,
        thread_id_seed: int = 1,
    ) -> None:
        self._bus: VirtualBus = bus if bus is not None else UnsupportedVirtualBus()
        self._networking: VirtualNetworking = (
            networking if networking is not None else UnsupportedVirtualNetworking()
        )
        self._ids = itertools.count(thread_id_seed)  # `next` on it is atomic

    def set_bus_implementation(self, bus: VirtualBus) -> None:
        """Plug a bus in."""
        self._bus = bus

    def set_networking_implementation(self, networking: VirtualNetworking) -> None:
        """Plug a network in."""
        self._networking = networking

    def bus(self) -> VirtualBus:
        """Return the bus that was set."""
        return self._bus

    def networking(self) -> VirtualNetworking:
        """Return the network that was set."""
        return self._networking

    def thread_generate_id(self) -> int:
        """Return the next number."""
        return next(self._ids) & 0xFFFFFFFF


class ThreadedRuntime(PluggableRuntime):
    """A runtime with real threads: each guest thread is a daemon thread of the host.

    Args:
        bus: the message bus.
        networking: the network.
        parallelism: what guests are told; the number of processors by default.
        pid: the process id guests are told, if any.
    """

    def __init__(
        self,
        *,
        bus: VirtualBus | None = None,
        networking: VirtualNetworking | None = None,
        parallelism: int | None = None,
        pid: int | None = None,
    ) -> None:
        super().__init__(bus=bus, networking=networking)
        self._parallelism = parallelism or os.cpu_count() or 1
        self._pid = pid

    def thread_spawn(self, callback: Callable[[], None]) -> None:
        """Start a thread.

        Raises:
            WasiThreadError: the system has no thread left.
        """
        try:
            threading.Thread(target=callback, name="guest-thread", daemon=True).start()
        except RuntimeError:
            raise WasiThreadError from None

    def thread_parallelism(self) -> int:
        """Return the number of processors, or what was said."""
        return self._parallelism

    def getpid(self) -> int | None:
        """Return the process id that was said."""
        return self._pid


#: The names that the members have in the seed.
WasiRuntime = Runtime
BaseWasiRuntime = BaseRuntime
WasiTtyState = TtyState
