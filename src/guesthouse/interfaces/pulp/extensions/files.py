"""``storage.fs``: a directory of files for each cell (spec/pulp.md 3.7)."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.disk import OverQuota, Size, measured
from guesthouse.interfaces.pulp.extension import Drops, Environment, Extension, Refused, reply, request
from guesthouse.interfaces.pulp.folder import Folder
from guesthouse.interfaces.pulp.storage import DEEPEST, PathRejected, PerCell, Root
from guesthouse.interfaces.pulp.structs import Message, go
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

REJECTED = 5
NOT_FOUND = 6
NO_ROOT = 9
#: The first generation of the interface had these two the other way round.
_FIRST_GENERATION = {memory.FAILED: REJECTED, REJECTED: memory.FAILED}


@dataclass(slots=True)
class PathRequest(Message):
    """A path, and a mode where one can be given."""

    path: str = go("str")
    mode: int = go("uint32")


@dataclass(slots=True)
class RenameRequest(Message):
    """The request of ``fs_rename``."""

    old: str = go("str")
    new: str = go("str")


@dataclass(slots=True)
class TempRequest(Message):
    """The request of ``fs_create_temp`` and ``fs_mkdir_temp``."""

    dir: str = go("str")
    pattern: str = go("str")


@dataclass(slots=True)
class FileInfo(Message):
    """The reply of ``fs_stat``."""

    name: str = go("str")
    size: int = go("int64")
    mod_time_ns: int = go("int64")
    mode: int = go("uint32")
    is_dir: bool = go("bool")


def _with_codes(function: Callable[..., int]) -> Callable[..., int]:
    """Turn what the file system says into codes."""

    @functools.wraps(function)
    def serve(self: Files, call: CellCall, *args: int) -> int:
        try:
            return function(self, call, *args)
        except PathRejected as error:
            raise Refused(REJECTED, str(error)) from None
        except FileNotFoundError as error:
            raise Refused(NOT_FOUND, str(error)) from None
        except OverQuota as error:
            self.over_quota(call, error)
            raise Refused(memory.FAILED, str(error)) from None
        except OSError as error:
            raise Refused(memory.FAILED, str(error)) from None

    return serve


class Files(Extension):
    """Files of cells, each below a directory of its own."""

    name: ClassVar[str] = "storage.fs"
    summary: ClassVar[str] = "Files in a directory of the cell's own."

    def __init__(self) -> None:
        self._environment = Environment()
        self._folders: PerCell[Folder] = PerCell()
        self._drops = Drops()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the imports, ``fs_write`` in both generations."""
        row = self.row
        return (
            row("fs_read", "iiii", self.read, "Return the content of a file."),
            row("fs_write", "iiiiii", self.write, "Write a file, with its mode; makes directories."),
            row("fs_write", "iiii", self.write_first, "Write a file (first generation)."),
            row("fs_delete", "ii", self.delete, "Delete a file or an empty directory."),
            row("fs_list", "iiii", self.list, "List a directory."),
            row("fs_stat", "iiii", self.stat, "Describe a file or directory."),
            row("fs_rename", "ii", self.rename, "Rename or move."),
            row("fs_remove_all", "ii", self.remove_all, "Delete a tree."),
            row("fs_mkdir_all", "ii", self.mkdir_all, "Make a directory and those above it."),
            row("fs_chmod", "ii", self.chmod, "Change permissions."),
            row("fs_create_temp", "iiii", self.create_temp, "Make a file of a new name."),
            row("fs_mkdir_temp", "iiii", self.mkdir_temp, "Make a directory of a new name."),
        )

    def setup(self, environment: Environment) -> None:
        """Remember where storage lies."""
        self._environment = environment

    def attach(self, cell: Cell) -> None:
        """Open a cell's directory; ``PULP_FS_ROOT_<CELL>`` names another one."""
        variable = "PULP_FS_ROOT_" + "".join(c if c.isalnum() else "_" for c in cell.name.upper())
        override = self._environment.settings.get(variable)
        path = Path(override) if override else self._environment.directory_of(cell)
        path.mkdir(parents=True, exist_ok=True)
        quota, disk = self._environment.quota_of(cell), self._environment.disks.at(path)
        self._folders.acquire(cell.id, lambda: Folder(Root(path), disk, quota))

    def release(self, cell: Cell) -> None:
        """Let go of a cell's directory."""
        folder = self._folders.release(cell.id)
        if folder is not None:
            folder.root.close()

    def teardown(self) -> None:
        """Let go of all directories."""
        for folder in self._folders.clear():
            folder.root.close()

    def counters(self, cell_id: str) -> dict[str, int]:
        """Return how often a cell was refused because its quota was used up."""
        return self._drops.of(cell_id)

    def over_quota(self, call: CellCall, error: OverQuota) -> None:
        """Count a refusal; the first one of a cell is told."""
        if not self._drops.of(call.cell.id):
            log.warning("disk quota used up", cell=call.guest, key=error.key, reason=error.strerror)
        self._drops.add(call.cell.id, "over_quota")

    def _folder(self, call: CellCall) -> Folder:
        folder = self._folders.get(call.cell.id)
        if folder is None:
            raise Refused(NO_ROOT, "the cell has no directory")
        return folder

    def _root(self, call: CellCall) -> Root:
        return self._folder(call).root

    # -- imports

    @_with_codes
    def read(self, call: CellCall, path: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``fs_read``; a file that does not fit the cell's memory is refused with 4."""
        with self._root(call).opened(_path(call, path, length), os.O_RDONLY | os.O_NONBLOCK) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Refused(memory.FAILED, "no regular file")
            limit: int = call.cell.spec.memory
            if status.st_size > limit:
                raise Refused(memory.FAILED, f"{status.st_size} bytes do not fit the cell's memory")
            with os.fdopen(os.dup(fd), "rb") as file:
                data = file.read(limit)
        return memory.deliver(call, data, pointer_out, length_out)

    @_with_codes
    def write(
        self, call: CellCall, path: int, length: int, data: int, size: int, req: int, req_length: int
    ) -> int:
        """Serve ``fs_write``; mode 0644 unless the request says another."""
        mode = request(call, req, req_length, PathRequest).mode if req_length else 0
        return self._write(call, path, length, data, size, mode & 0o777 or 0o644)

    def write_first(self, call: CellCall, path: int, length: int, data: int, size: int) -> int:
        """Serve ``fs_write`` as the first generation knew it: mode 0600, codes 4 and 5 exchanged."""
        try:
            return self._write_guarded(call, path, length, data, size)
        except Refused as refusal:
            raise Refused(_FIRST_GENERATION.get(refusal.code, refusal.code), refusal.reason) from None

    @_with_codes
    def _write_guarded(self, call: CellCall, path: int, length: int, data: int, size: int) -> int:
        return self._write(call, path, length, data, size, 0o600)

    def _write(self, call: CellCall, path: int, length: int, data: int, size: int, mode: int) -> int:
        folder, where = self._folder(call), _path(call, path, length)
        content: bytes = call.instance.read(data, size) if size else b""
        try:
            folder.write(where, content, mode)
        except FileNotFoundError:
            folder.make_directories(where.rstrip(b"/").rpartition(b"/")[0] or b".")
            folder.write(where, content, mode)
        return memory.OK

    @_with_codes
    def delete(self, call: CellCall, path: int, length: int) -> int:
        """Serve ``fs_delete``."""
        folder = self._folder(call)
        with folder.root.parent(_path(call, path, length)) as (fd, name), folder.disk.changing() as count:
            size = os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
            try:
                os.unlink(name, dir_fd=fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=fd)
                size = 0
            count(-size, -1)
        return memory.OK

    @_with_codes
    def list(self, call: CellCall, path: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``fs_list``: names in order, with whether each is a directory."""
        with self._root(call).opened(_path(call, path, length), os.O_RDONLY | os.O_DIRECTORY) as fd:
            with os.scandir(fd) as entries:
                found = [
                    {"name": entry.name, "is_dir": entry.is_dir(follow_symlinks=False)} for entry in entries
                ]
        found.sort(key=lambda entry: str(entry["name"]))
        return reply(call, codec.encode(found), pointer_out, length_out)

    @_with_codes
    def stat(self, call: CellCall, req: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``fs_stat``."""
        path = request(call, req, length, PathRequest).path
        with self._root(call).opened(os.fsencode(path), os.O_PATH) as fd:
            status = os.fstat(fd)
        info = FileInfo(
            name=path.rstrip("/").rpartition("/")[2],
            size=status.st_size,
            mod_time_ns=status.st_mtime_ns,
            mode=stat.S_IMODE(status.st_mode),
            is_dir=stat.S_ISDIR(status.st_mode),
        )
        return reply(call, info, pointer_out, length_out)

    @_with_codes
    def rename(self, call: CellCall, req: int, length: int) -> int:
        """Serve ``fs_rename``."""
        wanted, folder = request(call, req, length, RenameRequest), self._folder(call)
        source, target = os.fsencode(wanted.old), os.fsencode(wanted.new)
        with (
            folder.root.parent(source) as (old_fd, old),
            folder.root.parent(target) as (new_fd, new),
            folder.disk.changing() as count,
        ):
            if measured(old_fd, os.fsdecode(old)).depth + target.count(b"/") > DEEPEST:
                raise PathRejected(f"more than {DEEPEST} directories deep")
            gone = _replaced_by(old_fd, old, new_fd, new)
            os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
            count(-gone.bytes, -gone.files)
        return memory.OK

    @_with_codes
    def remove_all(self, call: CellCall, path: int, length: int) -> int:
        """Serve ``fs_remove_all``; what is not there is fine, the root itself is refused with 4."""
        folder = self._folder(call)
        try:
            with folder.root.parent(_path(call, path, length)) as (fd, name), folder.disk.changing() as count:
                gone = measured(fd, os.fsdecode(name))
                if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    shutil.rmtree(os.fsdecode(name), dir_fd=fd)
                else:
                    os.unlink(name, dir_fd=fd)
                count(-gone.bytes, -gone.files)
        except FileNotFoundError:
            return memory.OK
        except PathRejected:
            if _is_root(_path(call, path, length)):
                raise Refused(memory.FAILED, "the root itself stays") from None
            raise
        return memory.OK

    @_with_codes
    def mkdir_all(self, call: CellCall, req: int, length: int) -> int:
        """Serve ``fs_mkdir_all``; mode 0755 unless the request says another."""
        wanted = request(call, req, length, PathRequest)
        self._folder(call).make_directories(os.fsencode(wanted.path), wanted.mode & 0o777 or 0o755)
        return memory.OK

    @_with_codes
    def chmod(self, call: CellCall, req: int, length: int) -> int:
        """Serve ``fs_chmod``; only the permission bits count."""
        wanted = request(call, req, length, PathRequest)
        with self._root(call).opened(os.fsencode(wanted.path), os.O_PATH) as fd:
            Path(f"/proc/self/fd/{fd}").chmod(wanted.mode & 0o777)
        return memory.OK

    @_with_codes
    def create_temp(self, call: CellCall, req: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``fs_create_temp``."""

        def make(root: Root, path: bytes) -> None:
            with root.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600):
                pass

        return self._temp(call, request(call, req, length, TempRequest), make, pointer_out, length_out)

    @_with_codes
    def mkdir_temp(self, call: CellCall, req: int, length: int, pointer_out: int, length_out: int) -> int:
        """Serve ``fs_mkdir_temp``."""

        def make(root: Root, path: bytes) -> None:
            with root.parent(path) as (fd, name):
                os.mkdir(name, 0o700, dir_fd=fd)

        return self._temp(call, request(call, req, length, TempRequest), make, pointer_out, length_out)

    def _temp(
        self,
        call: CellCall,
        wanted: TempRequest,
        make: Callable[[Root, bytes], None],
        pointer_out: int,
        length_out: int,
    ) -> int:
        """Make something of a new name: digits stand for the last ``*`` of the pattern, or behind it."""
        if "/" in wanted.pattern:
            raise PathRejected("a pattern names one entry")
        folder, directory = self._folder(call), wanted.dir.rstrip("/") or "tmp"
        folder.make_directories(os.fsencode(directory))
        before, star, after = wanted.pattern.rpartition("*")
        if not star:
            before, after = after, ""
        while True:
            path = f"{directory}/{before}{secrets.randbelow(1 << 32)}{after}"
            try:
                with folder.growing():
                    make(folder.root, os.fsencode(path))
            except FileExistsError:
                continue
            return reply(call, codec.encode({"path": path}), pointer_out, length_out)


def _path(call: CellCall, pointer: int, length: int) -> bytes:
    """Read a raw path; an empty one is rejected as a path, not as a request."""
    path: bytes = call.instance.read(pointer, length) if length else b""
    if not path:
        raise PathRejected("empty")
    return path


def _replaced_by(old_fd: int, old: bytes, new_fd: int, new: bytes) -> Size:
    """Measure what a renaming replaces: nothing, where both names mean the same file."""
    try:
        status = os.stat(new, dir_fd=new_fd, follow_symlinks=False)
    except FileNotFoundError:
        return Size(0, 0, 0)
    if os.path.samestat(status, os.stat(old, dir_fd=old_fd, follow_symlinks=False)):
        return Size(0, 0, 0)
    return measured(new_fd, os.fsdecode(new))


def _is_root(path: bytes) -> bool:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return not path.startswith(b"/") and not parts
