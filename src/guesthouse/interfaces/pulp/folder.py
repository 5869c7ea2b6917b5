"""The directory of a cell: what is written to it is counted, and whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass

from guesthouse.interfaces.pulp.disk import Disk, Quota
from guesthouse.interfaces.pulp.storage import PathRejected, Root


@dataclass(frozen=True, slots=True)
class Folder:
    """One cell's directory.

    Attributes:
        root: what its paths are resolved beneath.
        disk: how much lies in it.
        quota: how much may.
    """

    root: Root
    disk: Disk
    quota: Quota

    def growing(self) -> AbstractContextManager[None]:
        """Hold while one more file or directory is made; raises `OverQuota`."""
        return self.disk.growing(self.quota, 0, 1)

    def make_directories(self, path: bytes, mode: int = 0o755) -> None:
        """Make a directory and those above it; raises as `Root.make_directories`, and `OverQuota`."""
        self.root.make_directories(path, mode, self.growing)

    def write(self, path: bytes, content: bytes, mode: int) -> None:
        """Write a file so that nobody ever sees half of it; a full disk leaves what was there before.

        Args:
            path: the file; through a link, what it leads to is written.
            content: all of it.
            mode: permissions of a new file; one that is there keeps its own.

        Raises:
            PathRejected: as `Root.open`.
            OverQuota: the cell would keep too much.
            OSError: it cannot be written; the path names something else than a file.
        """
        with self.root.parent(path) as (directory, name):
            before = _status(directory, name)
            if before is not None and stat.S_ISLNK(before.st_mode):
                target = self.root.real(path)
                if target == path:
                    raise PathRejected("a link that leads to itself")
                self.write(target, content, mode)
                return
            if before is not None and not stat.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "no regular file", os.fsdecode(path))
            if before is not None and not os.access(name, os.W_OK, dir_fd=directory):
                raise PermissionError(errno.EACCES, "the file may not be written", os.fsdecode(path))
            with self.disk.growing(self.quota, len(content) - _size(before), int(before is None)):
                self._replace(directory, name, _written(directory, content, mode, before), before)

    def _replace(self, directory: int, name: bytes, fresh: bytes, before: os.stat_result | None) -> None:
        """Give a written file its name, and count anew what it replaces."""
        try:
            with self.disk.changing() as count:
                now = _status(directory, name)  # it may have come, gone or grown meanwhile
                os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
                count(_size(before) - _size(now), (before is not None) - (now is not None))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=directory)
            raise


def _size(status: os.stat_result | None) -> int:
    return 0 if status is None else status.st_size


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _written(directory: int, content: bytes, mode: int, before: os.stat_result | None) -> bytes:
    """Write a file under a name of its own, with the permissions of the one that was; returns the name."""
    fresh = b".%s.part" % os.urandom(8).hex().encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(fresh, flags, mode, dir_fd=directory)
    try:
        if before is not None:
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=directory)
        raise
    finally:
        os.close(fd)
    return fresh
