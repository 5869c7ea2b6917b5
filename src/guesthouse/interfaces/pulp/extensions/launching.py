"""Which programs cells may start, and where; everything else is refused (spec/pulp.md 3.11)."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Comma list of programs: a bare name allows that name, an absolute path exactly that file.
ALLOWED_PROGRAMS = "PROCESS_ALLOW_BINS"
#: Colon list of directories beneath which a working directory may lie.
ALLOWED_ROOTS = "PROCESS_RUN_ROOTS"
#: Seconds between being asked to end and being killed.
GRACE = 2.0


class NotAllowed(Exception):
    """The program or directory is not on the list.

    Attributes:
        what: ``program`` or ``directory``.
    """

    def __init__(self, what: str, name: str) -> None:
        self.what = what
        setting = ALLOWED_PROGRAMS if what == "program" else ALLOWED_ROOTS
        super().__init__(f"{what} {name!r} is not allowed by {setting}")


class LaunchPolicy:
    """What the settings allow; nothing where they are absent.

    Args:
        settings: see :data:`ALLOWED_PROGRAMS` and :data:`ALLOWED_ROOTS`.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        names = settings.get(ALLOWED_PROGRAMS, "").split(",")
        roots = settings.get(ALLOWED_ROOTS, "").split(os.pathsep)
        self._programs = frozenset(name.strip() for name in names if name.strip())
        self._roots = tuple(Path(root.strip()).resolve() for root in roots if root.strip())

    def program(self, name: str) -> str:
        """Return the file to run for the first word of a command.

        A bare name on the list allows whatever the host finds under it; it does not allow a file of that
        name in a directory that the guest chooses.

        Raises:
            NotAllowed: it is not on the list.
        """
        found = shutil.which(name) or ""
        if os.sep in name:
            if name in self._programs or (found and os.path.realpath(found) in self._programs):
                return name
            if found and Path(found).name in self._programs and found == shutil.which(Path(found).name):
                return found
        elif name in self._programs or found in self._programs:
            return found or name
        raise NotAllowed("program", name)

    def directory(self, name: str) -> str | None:
        """Return the working directory for a requested one; blank is the host's own.

        Raises:
            NotAllowed: it does not lie beneath an allowed root once links are followed.
        """
        if not name.strip():
            return None
        path = Path(name).resolve()
        if any(path.is_relative_to(root) for root in self._roots):
            return str(path)
        raise NotAllowed("directory", name)


def start(
    command: Sequence[str], directory: str | None, environment: Mapping[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that its whole tree can be ended.

    Args:
        command: the program and its arguments; no shell is involved.
        directory: where, ``None`` for the host's own directory.
        environment: laid over the host's.
        **options: ``stdin``, ``stdout``, ``stderr`` and the like, as for :class:`subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
        ValueError: an argument or variable holds a NUL byte.
    """
    return subprocess.Popen(
        list(command), cwd=directory, env={**os.environ, **environment}, start_new_session=True, **options
    )


def ended(process: subprocess.Popen[bytes], timeout: float | None) -> bool:
    """Wait until a program has ended, without letting go of its number; false when the time is up."""
    if process.returncode is not None:
        return True
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    finally:
        os.close(pidfd)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and everything it started: asked first, killed after a grace period.

    To be called before the program is waited for: until then nobody else can be given its number.
    """
    if process.returncode is not None:
        return
    gone = ended(process, 0)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        gone = gone or ended(process, GRACE)
    for pid in _session(process.pid):  # jobs of a shell have groups of their own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """Return the living processes of a session, but for its leader."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            number, _, rest = path.read_text().rpartition(")")
            fields = rest.split()
            if int(fields[3]) == leader and fields[0] != "Z" and int(number.split()[0]) != leader:
                members.append(int(number.split()[0]))
    return members
