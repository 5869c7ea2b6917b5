"""Random file operations through the guest and on real files beside it: same errors, same tree in the end."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.wasi.driver import CREAT, DIRECTORY, EXCL, READ, READDIR, TRUNC, WRITE, Wasi

import guesthouse
from guesthouse.interfaces.wasi import resolve
from guesthouse.interfaces.wasi.errnos import wasi_errno

RESIZE = 1 << 22
NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join) | st.sampled_from(
    ["a/", "b/", "a/b/", ".", "a/.", "a/../b", "./c", "a//b", "b/./c/"]
)
FLAGS = st.sampled_from(
    [
        (0, os.O_RDWR),
        (CREAT, os.O_RDWR | os.O_CREAT),
        (CREAT | EXCL, os.O_RDWR | os.O_CREAT | os.O_EXCL),
        (CREAT | TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    ]
)


def outcome(function, *arguments, **named):
    """The WASI errno that real files answer with, and the result."""
    try:
        return 0, function(*arguments, **named)
    except OSError as error:
        return wasi_errno(error.errno), None


class Files(RuleBasedStateMachine):
    """The guest's directory and the model's, which is a real one."""

    host: guesthouse.Host

    @initialize()
    def begin(self):
        self.ground = Path(tempfile.mkdtemp(prefix="guesthouse-test-"))
        self.mine, self.real = self.ground / "mine", self.ground / "real"
        self.mine.mkdir()
        self.real.mkdir()
        self.fd = os.open(self.real, os.O_RDONLY | os.O_DIRECTORY)
        self.guest = Wasi(self.host, dirs={"/": str(self.mine)})
        self.files = []

    def teardown(self):
        if hasattr(self, "guest"):
            self.guest.__exit__()
            for _, fd in self.files:
                os.close(fd)
            os.close(self.fd)
            shutil.rmtree(self.ground)

    # what the two directories answer must be the same

    @rule(path=PATHS)
    def make_directory(self, path):
        expected, _ = outcome(os.mkdir, path, dir_fd=self.fd)
        assert self.guest.path_create_directory(3, *self.guest.path(path)) == expected

    @rule(path=PATHS)
    def remove_directory(self, path):
        expected, _ = outcome(os.rmdir, path, dir_fd=self.fd)
        assert self.guest.path_remove_directory(3, *self.guest.path(path)) == expected

    @rule(path=PATHS)
    def unlink(self, path):
        expected, _ = outcome(os.unlink, path, dir_fd=self.fd)
        assert self.guest.path_unlink_file(3, *self.guest.path(path)) == expected

    @rule(old=PATHS, new=PATHS)
    def rename(self, old, new):
        expected, _ = outcome(os.rename, old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        assert self.guest.path_rename(3, *self.guest.path(old), 3, *self.guest.path(new, 0x2000)) == expected

    @rule(old=PATHS, new=PATHS)
    def link(self, old, new):
        expected, _ = outcome(
            os.link, old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False
        )
        assert self.guest.path_link(3, 0, *self.guest.path(old), 3, *self.guest.path(new, 0x2000)) == expected

    @rule(goal=st.sampled_from(["a", "b/c", "c", "nowhere"]), path=PATHS)
    def symlink(self, goal, path):
        expected, _ = outcome(os.symlink, goal, path, dir_fd=self.fd)
        assert self.guest.path_symlink(*self.guest.path(goal, 0x2000), 3, *self.guest.path(path)) == expected

    @rule(path=PATHS)
    def read_link(self, path):
        expected, target = outcome(os.readlink, path, dir_fd=self.fd)
        assert self.guest.path_readlink(3, *self.guest.path(path), 0x5000, 200, 0x100) == expected
        if expected == 0:
            assert self.guest.read(0x5000, self.guest.u32(0x100)).decode() == target

    @rule(path=PATHS, follow=st.booleans())
    def status(self, path, follow):
        expected, found = outcome(os.stat, path, dir_fd=self.fd, follow_symlinks=follow)
        error, kind, size = self.guest.stat(path, int(follow))
        assert error == expected
        if error == 0:
            assert kind == {0o100000: 4, 0o040000: 3, 0o120000: 7}[found.st_mode & 0o170000]
            assert kind == 3 or size == found.st_size

    @rule(path=PATHS, flags=FLAGS, follow=st.booleans())
    def open(self, path, flags, follow):
        wasi, real = flags
        expected, fd = outcome(os.open, path, real | (0 if follow else os.O_NOFOLLOW), 0o666, dir_fd=self.fd)
        error, mine = self.guest.open(path, flags=wasi, rights=READ | WRITE | RESIZE, follow=int(follow))
        assert error == expected, (path, flags, follow)
        if error == 0:
            self.files.append((mine, fd))

    # open files

    def pick(self, index):
        return self.files[index % len(self.files)] if self.files else (None, None)

    @rule(index=st.integers(0, 50), data=st.binary(max_size=300))
    def write(self, index, data):
        mine, fd = self.pick(index)
        if fd is not None:
            assert self.guest.send(mine, data) == (0, os.write(fd, data))

    @rule(index=st.integers(0, 50), length=st.integers(0, 300))
    def read_on(self, index, length):
        mine, fd = self.pick(index)
        if fd is not None:
            assert self.guest.receive(mine, length) == (0, os.read(fd, length))

    @rule(index=st.integers(0, 50), offset=st.integers(-50, 500), whence=st.integers(0, 2))
    def seek(self, index, offset, whence):
        mine, fd = self.pick(index)
        if fd is not None:
            expected, position = outcome(os.lseek, fd, offset, whence)
            assert self.guest.fd_seek(mine, offset, whence, 0x100) == expected
            assert expected or self.guest.u64(0x100) == position

    @rule(index=st.integers(0, 50), size=st.integers(0, 1000))
    def positioned(self, index, size):
        mine, fd = self.pick(index)
        if fd is not None:
            self.guest.write(0x8000, b"positioned")
            vector = self.guest.vector(0x7F00, 0x8000, 10)
            assert self.guest.fd_pwrite(mine, *vector, size, 0x100) == 0
            os.pwrite(fd, b"positioned", size)

    @rule(index=st.integers(0, 50), size=st.integers(0, 1000))
    def truncate(self, index, size):
        mine, fd = self.pick(index)
        if fd is not None:
            os.ftruncate(fd, size)
            assert self.guest.fd_filestat_set_size(mine, size) == 0

    @rule(index=st.integers(0, 50))
    def close(self, index):
        if self.files:
            mine, fd = self.files.pop(index % len(self.files))
            assert self.guest.fd_close(mine) == 0
            assert self.guest.fd_close(mine) == 8
            os.close(fd)

    @invariant()
    def the_trees_are_alike(self):
        if hasattr(self, "guest"):
            assert tree(self.mine) == tree(self.real)

    @rule()
    def listing(self):
        names = sorted(entry.name for entry in self.real.iterdir())
        fd = self.guest.opened(".", flags=DIRECTORY, rights=READDIR)
        assert sorted(name for name, _, _ in self.guest.entries(fd, 64)) == [".", "..", *names]
        assert self.guest.fd_close(fd) == 0


def tree(root):
    """Everything below a directory: kind, content or target, by path."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder) / name
            where = str(path.relative_to(root))
            if path.is_symlink():
                found[where] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[where] = ("directory", None)
            else:
                found[where] = ("file", path.read_bytes())
    return found


@pytest.mark.parametrize("walk", [False, True], ids=["kernel", "walk"])
def test_random_operations_match_real_files(host, walk):
    resolve.use_walk(walk)
    machine = type("Files", (Files,), {"host": host})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        resolve.use_walk(False)


def test_errnos_of_the_host_have_their_numbers():
    assert wasi_errno(errno.ENOENT) == 44
    assert wasi_errno(errno.EOPNOTSUPP) == 58
    assert wasi_errno(12345) == 29
