"""Drives host functions one by one from a small guest: what the tests of this folder share.

A :class:`Driver` is an instance of a module that imports the functions a test names and exports one function
for each that passes its arguments on.  The calls go the way of any guest's; only who decides is the test.
"""

from __future__ import annotations

import gc
import struct
from pathlib import Path

import guesthouse
from guesthouse.engine import wat_to_wasm
from guesthouse.interfaces.wasi.state import context_of

WORDS = {"i": "i32", "I": "i64"}

#: Functions by name and type as the specification writes them; the module is WASIX's unless named.
PREVIEW1 = "wasi_snapshot_preview1"


def passing_on(functions: list[str], *, more: str = "", pages: int = 4) -> bytes:
    """A module that passes calls on; ``functions`` are such as ``tty_get ie``."""
    imports, exports = [], []
    for number, line in enumerate(functions):
        name, kind = line.split()
        module, _, own = name.rpartition(":")
        params = "".join(f"(param {WORDS[letter]})" for letter in kind[:-1])
        result = "" if kind[-1] == "-" else "(result i32)"
        imports.append(f'(import "{module or "wasix_32v1"}" "{own}" (func $f{number} {params} {result}))')
        gets = "".join(f"(local.get {index})" for index in range(len(kind) - 1))
        exports.append(f'(func (export "{own}") {params} {result} (call $f{number} {gets}))')
    memory = f'(memory (export "memory") {pages} 64)'
    return wat_to_wasm(f"(module {''.join(imports)} {memory} {more} {''.join(exports)})")


class Driver:
    """One instance that passes calls on."""

    def __init__(self, host, functions, *, more="", grant=("wasix",), wall="20s", disk="256MiB", **options):
        limits = guesthouse.Limits(wall=wall, threads=128, memory="256MiB", disk=disk)
        self.guest = host.load(
            passing_on(functions, more=more),
            name="driver",
            grant=grant,
            limits=limits,
            replace=True,
            **options,
        )
        self.instance = self.guest.open(None)
        self.instance.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.guest.dismiss(self.instance, None)

    def __getattr__(self, name):
        return lambda *arguments: self.instance.invoke(name, *arguments)

    @property
    def program(self):
        return context_of(self.instance).thread.program

    @property
    def process(self):
        return context_of(self.instance).process

    def read(self, pointer, length):
        return self.instance.read(pointer, length)

    def write(self, pointer, data):
        self.instance.write(pointer, data)
        return pointer, len(data)

    def u32(self, pointer):
        return struct.unpack("<I", self.read(pointer, 4))[0]

    def u64(self, pointer):
        return struct.unpack("<Q", self.read(pointer, 8))[0]

    def vector(self, at, pointer, length):
        """Write one vector and return its place and the number of vectors."""
        self.write(at, struct.pack("<II", pointer, length))
        return at, 1

    def send(self, fd, data):
        """fd_write all of some bytes; the errno and how many went."""
        self.write(0x8000, data)
        error = self.fd_write(fd, *self.vector(0x7F00, 0x8000, len(data)), 0x7F10)
        return error, self.u32(0x7F10)

    def receive(self, fd, limit=1024):
        """fd_read; the errno and what came."""
        error = self.fd_read(fd, *self.vector(0x7F00, 0x8000, limit), 0x7F10)
        return error, self.read(0x8000, self.u32(0x7F10)) if error == 0 else b""


FD = [
    "fd_read iiiie",
    "fd_write iiiie",
    "fd_close ie",
    "fd_fdstat_get iie",
    "fd_fdstat_set_flags iie",
    "fd_renumber iie",
    "poll_oneoff iiiie",
]


def descriptors_now() -> int:
    """How many descriptors this process has open, without those that only wait to be collected."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def ip4(address: str, port: int) -> bytes:
    """An IPv4 address and port as the guest writes them."""
    return struct.pack("<BxH4B", 1, port, *map(int, address.split("."))).ljust(20, b"\0")


def ip6(packed: bytes, port: int) -> bytes:
    """An IPv6 address and port as the guest writes them."""
    return struct.pack("<BxH", 2, port) + packed


def pair(data: bytes) -> tuple[str, int]:
    """The address and port that the host wrote."""
    import ipaddress

    tag, port = struct.unpack_from("<BxH", data)
    return str(ipaddress.ip_address(data[4:8] if tag == 1 else data[4:20])), port
