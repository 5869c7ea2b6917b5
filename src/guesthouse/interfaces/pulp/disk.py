"""What cells keep on disk: counted as it grows, and refused beyond their quota (DESIGN 8, invariant 4).

Files and database of a cell share one directory and one quota.  What cells write themselves is counted at
once; the directory is measured when it is first written to, and again before anything is refused, because
operators put files there as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guesthouse.interfaces.pulp.storage import DEEPEST
from guesthouse.limits import format_size, parse_size

DEFAULT_BYTES = 4 << 30
DEFAULT_FILES = 100_000
#: Settings of the operator: no cell gets more, whatever its manifest says.
MOST_BYTES, MOST_FILES = "PULP_MAX_DISK_BYTES", "PULP_MAX_DISK_FILES"

DATABASE = "data.db"
_OF_DATABASE = frozenset(DATABASE + end for end in ("", "-wal", "-shm", "-journal"))
#: Seconds between two measurements that are made because something would not fit.
_PATIENCE = 1.0


class OverQuota(OSError):
    """A cell would keep more on disk than it may.

    Attributes:
        key: the manifest's key that says how much.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(errno.EDQUOT, f"{message}; raise {key} in the cell's manifest")


@dataclass(frozen=True, slots=True)
class Quota:
    """What a cell may keep: bytes, and files and directories together."""

    bytes: int = DEFAULT_BYTES
    files: int = DEFAULT_FILES

    def at_most(self, settings: Mapping[str, str]) -> Quota:
        """Return it within what the operator's settings allow every cell; raises ``ValueError``."""
        most_bytes, most_files = settings.get(MOST_BYTES), settings.get(MOST_FILES)
        return Quota(
            min(self.bytes, parse_size(most_bytes)) if most_bytes else self.bytes,
            min(self.files, int(most_files)) if most_files else self.files,
        )


class Size(NamedTuple):
    """How much lies below a path: bytes, entries, and how many directories deep."""

    bytes: int
    files: int
    depth: int


def measured(directory: int, name: str = ".", *, without: frozenset[str] = frozenset()) -> Size:
    """Measure what lies at an entry of a directory, without following links.

    Args:
        directory: an open directory.
        name: the entry; the directory itself by default, which is not counted.
        without: names in it that are not counted.

    Raises:
        OSError: it cannot be read.
    """
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        return Size(status.st_size, 1, 0)
    inner = _measured(directory, name, without, 0)
    return inner if name == "." else Size(inner.bytes, inner.files + 1, inner.depth)


def _measured(directory: int, name: str, without: frozenset[str], depth: int) -> Size:
    total, files, deepest = 0, 0, 1
    if depth > DEEPEST:  # cells do not get there, so it is somebody else's
        return Size(0, 0, 1)
    own = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(own) as entries:
            for entry in entries:
                if entry.name in without:
                    continue
                files += 1
                with contextlib.suppress(FileNotFoundError):  # somebody else has just removed it
                    if entry.is_dir(follow_symlinks=False):
                        inner = _measured(own, entry.name, frozenset(), depth + 1)
                        total, files = total + inner.bytes, files + inner.files
                        deepest = max(deepest, inner.depth + 1)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    finally:
        os.close(own)
    return Size(total, files, deepest)


class Disk:
    """How much lies in one directory of a cell.  Any thread may ask and count.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._bytes = self._files = 0
        self._measured = float("-inf")

    @contextlib.contextmanager
    def growing(self, quota: Quota, more: int, files: int = 0) -> Iterator[None]:
        """Count more while something is written, and take it back where that fails.

        Args:
            quota: what the cell may keep.
            more: bytes that come, or go where negative.
            files: files and directories that come.

        Raises:
            OverQuota: it would be too much; nothing is counted then.
        """
        with self._lock:
            self._settle()
            if (more > 0 or files > 0) and self._over(quota, more, files):
                if time.monotonic() - self._measured > _PATIENCE:
                    self._measure()
                self._refuse(quota, more, files)
            self._count(more, files)
        try:
            yield
        except BaseException:
            with self._lock:
                self._count(-more, -files)
            raise

    @contextlib.contextmanager
    def changing(self) -> Iterator[Callable[[int, int], None]]:
        """Keep others from changing what is there; yields what counts bytes and files that come or go."""
        with self._lock:
            yield self._count

    def room_for_database(self, quota: Quota) -> int:
        """Return how many bytes a database may have beside the files that are there."""
        with self._lock:
            self._settle()
            return max(0, quota.bytes - self._bytes)

    # -- with the lock held

    def _settle(self) -> None:
        if self._measured == float("-inf"):
            self._measure()

    def _measure(self) -> None:
        root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = measured(root, without=_OF_DATABASE)
        finally:
            os.close(root)
        self._bytes, self._files, self._measured = found.bytes, found.files, time.monotonic()

    def _count(self, more: int, files: int) -> None:
        self._bytes, self._files = max(0, self._bytes + more), max(0, self._files + files)

    def _database(self) -> int:
        """How much the database takes now: it grows by itself."""
        total = 0
        for name in _OF_DATABASE:
            with contextlib.suppress(OSError):
                total += (self.path / name).stat().st_size
        return total

    def _over(self, quota: Quota, more: int, files: int) -> bool:
        too_many = files > 0 and self._files + files > quota.files
        return too_many or (more > 0 and self._bytes + self._database() + more > quota.bytes)

    def _refuse(self, quota: Quota, more: int, files: int) -> None:
        if files > 0 and self._files + files > quota.files:
            raise OverQuota("max_disk_files", f"{self._files} files are kept, of {quota.files} that may be")
        kept = self._bytes + self._database()
        if more > 0 and kept + more > quota.bytes:
            raise OverQuota(
                "max_disk_bytes",
                f"{format_size(kept)} are kept, and {format_size(more)} more would exceed "
                f"{format_size(quota.bytes)}",
            )


class Disks:
    """The directories of a runtime's cells, each counted once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._disks: dict[Path, Disk] = {}

    def at(self, path: Path) -> Disk:
        """Return the count of a directory."""
        path = path.resolve()
        with self._lock:
            return self._disks.setdefault(path, Disk(path))
