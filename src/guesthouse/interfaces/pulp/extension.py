"""How a Pulp capability is written (spec/pulp.md 5.9), by us and by third parties.

An `Extension` names its imports as rows and may take part in the runtime's life: set up once, attach to
every cell that declares it, feed events into cells, be told when an event was handled, and let go.
`Extension.capability` turns it into the `guesthouse.Capability` that a registry takes.
"""

from __future__ import annotations

import enum
import functools
import importlib.util
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from guesthouse.capabilities import Capability, Hooks
from guesthouse.engine import Constant, Exit, HostFunction, OutOfBounds
from guesthouse.errors import CallError
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.codec import DecodeError, EncodeError
from guesthouse.interfaces.pulp.disk import Disks, Quota
from guesthouse.interfaces.pulp.scopes import Scope
from guesthouse.interfaces.pulp.storage import cell_directory
from guesthouse.interfaces.pulp.structs import Message
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

Result = TypeVar("Result")
#: Seconds after which a waiting host function looks whether its cell was interrupted.
WAIT_SLICE = 0.01
AnyMessage = TypeVar("AnyMessage", bound=Message)


@dataclass(slots=True)
class Event:
    """Something that happened and that a cell shall be stepped with.

    Attributes:
        kind: such as ``http.request`` (spec/pulp.md 2.5).
        payload: one encoded MessagePack value.
        cell_id: routing id of the cell; blank means every cell that declares the capability.
        id: handed to ``finalize`` when the event was handled or dropped.
        source: name of the capability it comes from; filled in by the runtime for polled events.
        provider: whose capability that is, where several offer the name; as ``source``.
        patient: whether whoever emits it waits and tries again, so that a full queue drops nothing yet.
    """

    kind: str
    payload: bytes
    cell_id: str = ""
    id: int = 0
    source: str = ""
    provider: str = ""
    patient: bool = False


class Posted(enum.Enum):
    """What became of an event."""

    QUEUED = enum.auto()
    FULL = enum.auto()
    GONE = enum.auto()


@dataclass(slots=True)
class Environment:
    """What a runtime offers to capabilities at ``setup``.

    Attributes:
        storage_root: directory below which capabilities keep files.
        settings: configuration in the form of environment variables, such as ``HTTP_PORT``.
        emit: queue an event for its cell, from any thread.
        disks: how much lies in the directories of cells.
        endpoints_now: returns `endpoints`.
        storage_namespaces: of a host's applications, by their id: the first directory of their files.
        cell_name, config, scope: blank here, as in Pulp: set-up is for all cells. A cell that is attached
            has its own: ``cell.name``, ``cell.spec.config``, ``cell.spec.scope``.
    """

    storage_root: Path = field(default_factory=lambda: Path("data"))
    settings: Mapping[str, str] = field(default_factory=dict)
    emit: Callable[[Event], Posted] = lambda _event: Posted.GONE
    disks: Disks = field(default_factory=Disks)
    endpoints_now: Callable[[], Mapping[str, str]] = dict
    storage_namespaces: Mapping[str, str] = field(default_factory=dict)
    cell_name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    scope: Scope | None = None

    @property
    def logger(self) -> Any:
        """The host's log: ``debug``, ``info``, ``warning``, ``error`` with a text and named values."""
        return log

    @property
    def http_port(self) -> int:
        """The port that inbound HTTP was asked to listen at; 0 for any that is free."""
        text = self.settings.get("HTTP_PORT") or "8080"
        return int(text) if text.isdecimal() else 0

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Where the applications of a host answer now, on loopback: ``application/instance`` to a URL."""
        return self.endpoints_now()

    def directory_of(self, cell: Cell) -> Path:
        """Return the directory of a cell's files, made if it is not there.

        Raises:
            ValueError: the cell's name cannot name a directory.
            OSError: it cannot be made.
        """
        if cell.spec.storage is not None:
            path = self.storage_root / cell.spec.storage
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return path
        return cell_directory(self.storage_root, cell.name)

    def quota_of(self, cell: Cell) -> Quota:
        """Return what a cell may keep on disk; raises ``ValueError`` when a setting is no size or number."""
        return cell.spec.disk.at_most(self.settings)


class Drops:
    """Counts what a capability dropped or refused, by cell; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = {}

    def add(self, cell_id: str, what: str, number: int = 1) -> None:
        """Count ``number`` more."""
        with self._lock:
            counts = self._counts.setdefault(cell_id, {})
            counts[what] = counts.get(what, 0) + number

    def of(self, cell_id: str) -> dict[str, int]:
        """Return the counts of a cell."""
        with self._lock:
            return dict(self._counts.get(cell_id, ()))


class Refused(Exception):
    """A host function answers with a code instead of a result.

    Attributes:
        code: see spec/pulp.md 3.2.
        reason: for the log; guests only see the code.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code, self.reason = code, reason
        super().__init__(f"code {code}: {reason}" if reason else f"code {code}")


def guarded(name: str, function: Callable[..., int], codes: Mapping[int, int]) -> Callable[..., int]:
    """Wrap a host function so that whatever goes wrong becomes a code, and nothing harms the host.

    Args:
        name: the import, for the log.
        function: answers the call; may raise `Refused`.
        codes: exchange of common codes where a family of imports has its own.
    """

    @functools.wraps(function)
    def serve(call: CellCall, *args: int) -> int:
        try:
            return function(call, *args)
        except Refused as refusal:
            log.debug(
                "import refused", cell=call.guest, function=name, code=refusal.code, reason=refusal.reason
            )
            return refusal.code
        except OutOfBounds:
            return codes.get(memory.BAD_RANGE, memory.BAD_RANGE)
        except DecodeError:
            return codes.get(memory.UNDECODABLE, memory.UNDECODABLE)
        except EncodeError:
            return codes.get(memory.UNENCODABLE, memory.UNENCODABLE)
        except (CallError, Exit):
            raise
        except Exception:  # noqa: BLE001 - a capability's fault ends as code 99
            log.exception("capability failed", cell=call.guest, function=name)
            return memory.ABSENT

    return serve


def take(call: CellCall, pointer: int, length: int) -> bytes:
    """Copy an argument out of guest memory; none is refused with code 1, a bad range with 2."""
    if length == 0:
        raise Refused(memory.EMPTY, "empty request")
    data: bytes = call.instance.read(pointer, length)
    return data


def request(call: CellCall, pointer: int, length: int, kind: type[AnyMessage]) -> AnyMessage:
    """Decode a request; refused with 1 when empty, 2 for a bad range, 3 when it does not decode."""
    return kind.decode(take(call, pointer, length))


def reply(call: CellCall, message: Message | bytes, pointer_out: int, length_out: int) -> int:
    """Deliver a reply to the guest; the code is 0, 5, 7 or 8."""
    data = message if isinstance(message, bytes) else message.encode()
    return memory.deliver(call, data, pointer_out, length_out)


def wait(call: CellCall, work: Future[Result], seconds: float = math.inf) -> Result:
    """Wait inside of a host function for what happens elsewhere.

    The time does not count against the cell's budget (spec/pulp.md 3.5); interrupting the cell ends the
    wait and cancels the work.

    Raises:
        Refused: with 4, it took longer than so many seconds.
        Cancelled: the cell was interrupted.
        Exception: what the work raised.
    """
    instance = call.instance
    deadline, started = instance.deadline, time.monotonic_ns()
    until = time.monotonic() + seconds
    instance.deadline = 0
    try:
        while True:
            try:
                return work.result(WAIT_SLICE)
            except TimeoutError:
                if work.done():
                    raise
                call.check()
                if time.monotonic() > until:
                    raise Refused(memory.FAILED, f"no answer within {seconds:g} s") from None
    except CallError:
        work.cancel()
        raise
    finally:
        instance.deadline = deadline + time.monotonic_ns() - started if deadline else 0


def aside(call: CellCall, seconds: float, work: Callable[[], Result]) -> Result:
    """Run what blocks on a thread beside the cell and wait for it, so that the cell can be interrupted.

    Args:
        call: the cell's call.
        seconds: how long the cell waits; the thread ends when the work does.
        work: may raise `Refused`.

    Raises:
        Refused: with 4, the time is over.
        CallError: the cell was interrupted.
        Exception: what the work raised.
    """
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()  # nobody can take it back: the result is then nobody's business

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, name=f"pulp-aside-{call.guest}", daemon=True).start()
    return wait(call, done, seconds)


def needs(package: str, capability: str) -> None:
    """Refuse to set a capability up without the package that it is built on; raises ``ImportError``."""
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"{capability} needs the package {package!r}: pip install 'guesthouse[pulp]'")


class Extension:
    """Base of the capabilities of this package.

    Subclasses set the class attributes, define `rows`, and override the hooks they need.

    Attributes:
        name: the capability, as manifests spell it.
        summary: one line of prose.
        provider: identity of whoever offers it.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    #: Stable identity of whoever offers it; needed by a package that offers a name of ours as well.
    provider: ClassVar[str] = ""
    #: Exchange of common codes, see `guarded`.
    codes: ClassVar[Mapping[int, int]] = {}

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports."""
        raise NotImplementedError

    def setup(self, environment: Environment) -> None:
        """Prepare, once per runtime, before any cell that declares the capability is loaded."""

    def attach(self, cell: Cell) -> None:
        """Prepare for a cell; raising fails its load."""

    def release(self, cell: Cell) -> None:
        """Let go of everything kept for a cell; called once its instance is no longer stepped."""

    def renew(self, cell: Cell) -> AbstractContextManager[object]:
        """Hold what outlives an instance while a fresh one of the same cell starts; see `Hooks`."""
        raise NotImplementedError

    def counters(self, cell_id: str) -> Mapping[str, int]:
        """Return what was dropped for a cell so far, by name; shown in the status."""
        return {}

    def poll(self) -> Event | None:
        """Return an event that waits, if the capability does not `Environment.emit` them itself."""
        return None

    def finalize(self, event_id: int) -> None:
        """Be told that an event was handled or dropped; may be called more than once."""

    def teardown(self) -> None:
        """Let go of everything, once."""

    def row(
        self,
        name: str,
        params: str,
        function: Callable[..., int],
        summary: str,
        *,
        denied: int = memory.ABSENT,
    ) -> HostFunction:
        """Describe one import of module ``pulp`` that returns a code.

        Args:
            name: import name.
            params: one letter per parameter, see `guesthouse.engine.HostFunction`.
            function: ``f(call, *args) -> code``; wrapped by `guarded`.
            summary: one line of prose.
            denied: what a cell gets that did not declare the capability.
        """
        serve = guarded(name, function, self.codes)
        return HostFunction(self.name, "pulp", name, params, "i", serve, summary, Constant(denied))

    def capability(self) -> Capability:
        """Return the capability for a registry."""
        own = type(self)
        polls = own.poll is not Extension.poll
        renews = own.renew is not Extension.renew
        return Capability(
            name=self.name,
            functions=self.rows(),
            interface="pulp",
            hooks=Hooks(
                setup=self.setup,
                attach=self.attach,
                release=self.release,
                renew=self.renew if renews else None,
                counters=self.counters,
                poll=self.poll if polls else None,
                finalize=self.finalize,
                teardown=self.teardown,
            ),
            summary=self.summary,
            provider=self.provider,
        )
