"""Drives preview 1 function by function: the driver of the WASIX tests, over WASI's own imports."""

from __future__ import annotations

import struct

from tests.wasix.driver import Driver

from guesthouse.interfaces.wasi.imports import FUNCTIONS, PREVIEW1

EVERY = [f"{PREVIEW1}:{name} {params}{'-' if name == 'proc_exit' else 'e'}" for name, params, _ in FUNCTIONS]
UNSTABLE = [line.replace(PREVIEW1, "wasi_unstable") for line in EVERY if "sock_accept" not in line]

ALL = 2**64 - 1
READ, WRITE, READDIR = 1 << 1, 1 << 6, 1 << 14
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
#: What every descriptor is opened with: seek, flags, tell, status, poll, and what directories have.
MORE = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 21 | 1 << 23 | 1 << 27 | 0x3FF << 9 | 1 << 19 | 1 << 20 | 7 << 24


class Wasi(Driver):
    """A driver with paths and files in plain words."""

    def __init__(self, host, functions=EVERY, **options):
        super().__init__(host, functions, grant=(), **options)

    def path(self, text, at=0x3000):
        data = text if isinstance(text, bytes) else text.encode()
        self.write(at, data)
        return at, len(data)

    def open(self, path, *, flags=0, rights=READ | WRITE, fdflags=0, follow=1, base=3):
        """Errno and descriptor."""
        error = self.path_open(base, follow, *self.path(path), flags, rights | MORE, ALL, fdflags, 0x100)
        return error, self.u32(0x100) if error == 0 else None

    def opened(self, path, **how):
        error, fd = self.open(path, **how)
        assert error == 0, (path, error)
        return fd

    def stat(self, path, follow=1, base=3):
        """Errno, type and size."""
        error = self.path_filestat_get(base, follow, *self.path(path), 0x200)
        raw = self.read(0x200, 64)
        return (
            error,
            raw[16] if error == 0 else None,
            struct.unpack_from("<Q", raw, 32)[0] if error == 0 else None,
        )

    def content(self, path, **how):
        fd = self.opened(path, rights=READ, **how)
        data = b""
        while piece := self.receive(fd, 4096)[1]:
            data += piece
        assert self.fd_close(fd) == 0
        return data

    def entries(self, fd, room=4096):
        """Names, types and inodes of a directory, read with a buffer of some size."""
        found, cookie = [], 0
        while True:
            assert self.fd_readdir(fd, 0x4000, room, cookie, 0x100) == 0
            used = self.u32(0x100)
            data, at = self.read(0x4000, used), 0
            while at + 24 <= used:
                following, ino, length, kind = struct.unpack_from("<QQIB", data, at)
                if at + 24 + length > used:
                    break
                found.append((data[at + 24 : at + 24 + length].decode(), kind, ino))
                at += 24 + length
                cookie = following
            if used < room:
                return found
            assert at > 0, "the buffer does not hold a single entry"
