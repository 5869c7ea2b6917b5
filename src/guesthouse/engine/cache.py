"""The compile cache: machine code by content, in a private directory (DESIGN section 3, item 8).

Loading an entry runs native code from it.  So the directory must belong to us and be closed to others,
entries are opened through it without following links, and an entry that changed since it was written is
compared with its digest, or thrown away.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from guesthouse.engine.modules import ModuleInfo
from guesthouse.errors import LoadError


def default_directory() -> Path:
    """Return where entries are kept unless told otherwise: ``$GUESTHOUSE_CACHE``, or the user's cache."""
    configured = os.environ.get("GUESTHOUSE_CACHE")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "guesthouse" / "modules"


@functools.cache
def cpu_features() -> str:
    """Return a digest of what this processor can do; code is compiled for exactly that."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return hashlib.sha256("\n".join([*os.uname()[4:], *features]).encode()).hexdigest()[:16]


class Cache:
    """Compiled modules on disk.

    Args:
        directory: where; made with mode 0700 if it is absent.

    Raises:
        LoadError: the directory is not ours or others can write to it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            os.close(self._fd)
            self._fd = -1
            raise LoadError(
                f"the compile cache {directory} belongs to another user or is writable by others; "
                f"loading from it would run their code: chown it to yourself and chmod 0700, "
                f"or name another directory in GUESTHOUSE_CACHE"
            )

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    @contextlib.contextmanager
    def entry(self, key: str) -> Iterator[str | None]:
        """Yield a path from which the entry can be loaded, or ``None`` when there is no sound one.

        The path stays valid inside the block only: it names the open file, not the directory entry.
        """
        fd = self._open_sound(key)
        try:
            yield None if fd is None else f"/proc/self/fd/{fd}"
        finally:
            if fd is not None:
                os.close(fd)

    def _open_sound(self, key: str) -> int | None:
        try:
            fd = os.open(f"{key}.code", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError:
            return None
        try:
            sound = self._is_sound(key, fd)
        except (OSError, ValueError, KeyError, TypeError):
            sound = False
        if sound:
            return fd
        os.close(fd)
        self.discard(key)
        return None

    def _is_sound(self, key: str, fd: int) -> bool:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return False
        note = json.loads(self._read(f"{key}.json"))
        if note["identity"] == _identity(status):
            return True
        with os.fdopen(os.dup(fd), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == str(note["sha256"])

    def digest(self, info: ModuleInfo) -> str:
        """Return the SHA-256 of a module, remembered for large files that have not changed since."""
        if info.file is None:
            return info.sha256
        key = hashlib.sha256(repr(info.file.identity).encode()).hexdigest()
        try:
            digest = self._read(f"{key}.sha256").decode()
        except (OSError, UnicodeDecodeError):
            digest = ""
        if len(digest) == 64:
            info.know_sha256(digest)
        else:
            with contextlib.suppress(OSError):
                self._write(f"{key}.sha256", info.sha256.encode())
        return info.sha256

    def store(self, key: str, code: bytes) -> None:
        """Write an entry atomically; a full disk or a lost race leaves the cache as it was."""
        temporary = f".{key}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            status = self._write(temporary + ".code", code)
            os.rename(temporary + ".code", f"{key}.code", src_dir_fd=self._fd, dst_dir_fd=self._fd)
            # Renaming changes the ctime, so the note is taken afterwards.
            status = os.stat(f"{key}.code", dir_fd=self._fd, follow_symlinks=False)
            note = {"identity": _identity(status), "sha256": hashlib.sha256(code).hexdigest()}
            self._write(temporary + ".json", json.dumps(note).encode())
            os.rename(temporary + ".json", f"{key}.json", src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            for suffix in (".code", ".json"):
                with contextlib.suppress(OSError):
                    os.unlink(temporary + suffix, dir_fd=self._fd)

    def discard(self, key: str) -> None:
        """Remove an entry."""
        for suffix in (".code", ".json"):
            with contextlib.suppress(OSError):
                os.unlink(key + suffix, dir_fd=self._fd)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Let one process compile an entry while the others wait; where nothing can be written, all do."""
        try:
            fd = os.open(f".{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        except OSError:
            yield
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(f".{key}.lock", dir_fd=self._fd)
            os.close(fd)

    def _write(self, name: str, data: bytes) -> os.stat_result:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            return os.fstat(fd)

    def _read(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        with os.fdopen(fd, "rb") as file:
            return file.read()


def _identity(status: os.stat_result) -> list[int]:
    """What changes whenever somebody writes to the file."""
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
