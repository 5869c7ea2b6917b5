"""Where guests' files live: one directory per tenant, made on first use (faasm.md 2.7).

A tree holds a minimal root (``/etc/hosts``, ``/etc/passwd``, ``/etc/resolv.conf``, ``/tmp``) and the folder
``faasm:``.  Since ``faasm://x/y`` is, to the path resolution of any C library, the relative path
``faasm:/x/y``, shared files need no handling of their own: they are the files of that directory.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import threading
import time
import urllib.parse

from guesthouse.errors import ResourceError
from guesthouse.resources.files.account import DiskAccount

#: The directory of shared files within a tree, which is also their URL scheme.
SHARED = "faasm:"

#: Seconds after which what was counted is measured again.
_MEASURE_EVERY = 1.0
#: What a file or directory counts as, at least: a million empty ones take room, too.
_LEAST = 512

#: What a new tree holds; nothing of the host's own files.
ROOT_FILES = {
    "etc/hosts": b"127.0.0.1\tlocalhost\n",
    "etc/passwd": b"faasm:x:1000:1000:faasm:/:/bin/false\n",
    "etc/resolv.conf": b"nameserver 127.0.0.1\n",
}


class FileError(ResourceError):
    """A file cannot be named or used this way.

    Attributes:
        path: the path as it was given.
    """

    def __init__(self, message: str, *, path: str) -> None:
        self.path = path
        super().__init__(f"{path!r}: {message}", resource="files")


class Tree:
    """The files of one tenant.

    Args:
        root: its directory.

    Attributes:
        root: its directory.
        shared: the directory of the files that all its functions share.
        account: how much they take, counted by all who write.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.shared = root, root / SHARED
        for name, data in ROOT_FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(data)
        (root / "tmp").mkdir(exist_ok=True)
        self.shared.mkdir(exist_ok=True)
        self.account = DiskAccount()
        self._measured_at = 0.0

    def usage(self) -> int:
        """Return how many bytes its files take on disk: as counted, and as measured at most a second ago."""
        now = time.monotonic()
        if now - self._measured_at >= _MEASURE_EVERY or not self._measured_at:
            self._measured_at, before = now, self.account.used
            self.account.correct(before, _size(self.root))
        return self.account.used

    def put(self, path: str, data: bytes) -> None:
        """Create or replace a shared file; whoever reads it meanwhile sees the old or the new one, whole.

        Raises:
            FileError: the path leaves the tree, or a directory stands in the way.
        """
        target = self._shared(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".put-", delete=False) as file:
                file.write(data)
            pathlib.Path(file.name).chmod(0o644)
            pathlib.Path(file.name).replace(target)
            self.account.correct(0, max(len(data), _LEAST))
        except OSError as problem:
            raise FileError(problem.strerror or str(problem), path=path) from problem

    def get(self, path: str) -> bytes | None:
        """Return a shared file, or ``None`` when there is none."""
        try:
            return self._shared(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def delete(self, path: str) -> bool:
        """Delete a shared file; tell whether there was one."""
        try:
            self._shared(path).unlink()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        return True

    def shared_files(self) -> list[str]:
        """Return the paths of all shared files, sorted."""
        found = (pathlib.Path(at, name) for at, _, names in os.walk(self.shared) for name in names)
        return sorted(str(path.relative_to(self.shared)) for path in found)

    def _shared(self, path: str) -> pathlib.Path:
        relative = path.removeprefix("faasm://")
        parts = relative.split("/")
        if not relative or "\0" in relative or ".." in parts or relative.startswith("/"):
            raise FileError("a shared file has a relative path without '..'", path=path)
        target = self.shared.joinpath(*parts)
        # Guests can put symbolic links into their tree; the host does not follow them out of it.
        if not target.parent.resolve().is_relative_to(self.shared.resolve()) or target.is_symlink():
            raise FileError("the path leads out of the shared files", path=path)
        return target


def _size(folder: pathlib.Path) -> int:
    total = 0
    for at, folders, names in os.walk(folder):
        total += len(folders) * _LEAST
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += max(os.lstat(os.path.join(at, name)).st_blocks * 512, _LEAST)
    return total


class FileTrees:
    """The trees of all tenants of one host.

    Args:
        base: directory to keep them in; ``None`` for a private one that is deleted by :meth:`close`.
    """

    def __init__(self, base: pathlib.Path | None = None) -> None:
        self._private = base is None
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="guesthouse-files-")) if base is None else base
        self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._trees: dict[str, Tree] = {}
        self._lock = threading.Lock()

    def tree(self, tenant: str) -> Tree:
        """Return a tenant's tree.

        Raises:
            FileError: the tenant has no name.
        """
        found = self._trees.get(tenant)
        if found is None:
            if not tenant:
                raise FileError("a tenant without a name has no files", path=tenant)
            with self._lock:
                # a name of any characters, as one that is neither "." nor ".." nor holds a slash
                root = self._base / ("tenant-" + urllib.parse.quote(tenant, safe=""))
                found = self._trees.setdefault(tenant, Tree(root))
        return found

    def close(self) -> None:
        """Delete the trees if nobody said where to keep them."""
        if self._private:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._base)
