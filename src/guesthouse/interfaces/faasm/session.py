"""What the Faasm interface keeps for the duration of one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guesthouse.interfaces.faasm.settings import Settings

if TYPE_CHECKING:
    from guesthouse.calls import Call
    from guesthouse.interfaces.contract import LoadedGuest
    from guesthouse.interfaces.faasm.crew import Crew
    from guesthouse.interfaces.faasm.files import FileView
    from guesthouse.interfaces.faasm.libraries import Libraries, Rows
    from guesthouse.interfaces.faasm.shared import Section
    from guesthouse.interfaces.faasm.synchronisation import Synchronisation

#: Key in ``Call.scratch`` of the session, or of what opens it: most calls do without.
SESSION = object()


class Session:
    """One call's state.

    Attributes:
        settings: the function's settings.
        guest: the function.
        limits: what each of its calls may use.
        children: the calls this one chained, by id; they keep their results for as long as it runs.
        args: its arguments.
        stdout, stderr: what takes what it prints, ``None`` where that goes nowhere.
        printed, errors: what was printed so far, where that is captured.
        look_at: number of children at which their outputs are counted next.
        kept: guest addresses of what the host allocated once, by purpose.
        files: the files it may use, ``None`` for none.
        rows: returns the host functions that its libraries may import.
        libraries: what it loaded, ``None`` before the first.
        linking_error: what `dlerror` will tell.
        crew: its threads, ``None`` while there is no need to tell them apart.
        synchronisation: what they wait for, ``None`` before the first.
        section: the critical section that this call has used.
    """

    __slots__ = (
        "args", "children", "crew", "errors", "files", "guest", "kept", "libraries", "limits",
        "linking_error", "look_at", "printed", "rows", "section", "settings", "stderr", "stdout",
        "synchronisation",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, guest: LoadedGuest, files: FileView | None, rows: Callable[[], Rows]
    ) -> None:
        self.settings, self.guest, self.files, self.rows = settings, guest, files, rows
        self.limits = guest.limits
        self.libraries: Libraries | None = None
        self.linking_error: str | None = None
        self.crew: Crew | None = None
        self.synchronisation: Synchronisation | None = None
        self.children: dict[int, Call] = {}
        self.look_at = 64
        self.args: tuple[str, ...] = ()
        self.stdout: Callable[[bytes], object] | None = None
        self.stderr: Callable[[bytes], object] | None = None
        self.printed: list[bytes] = []
        self.errors: list[bytes] = []
        self.kept: dict[str, int] = {}
        self.section: Section | None = None

    def end(self, call: Call) -> None:
        """Let go of what a call holds at its end, however that came."""
        if self.crew is not None:
            self.crew.end()
        if self.section is not None and self.section.owner is call:
            self.section.leave()

    def print(self, data: bytes) -> None:
        """Take what the guest prints through the host."""
        if self.stdout is not None:
            self.stdout(data)


def session_of(call: Any) -> Session:
    """Return the session of a running call, opened now if it was not needed before."""
    found: Session | Callable[[Call], Session] = call.scratch[SESSION]
    if isinstance(found, Session):
        return found
    session = call.scratch[SESSION] = found(call)
    return session


def opened(call: Any) -> Session | None:
    """Return the session of a call, ``None`` when it has not been needed so far."""
    found = call.scratch.get(SESSION)
    return found if isinstance(found, Session) else None
