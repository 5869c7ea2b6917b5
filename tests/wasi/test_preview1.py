"""Preview 1 function by function, its forerunner (case 28), and arguments that nobody sane would pass."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from tests.wasi.driver import CREAT, DIRECTORY, EVERY, READ, READDIR, UNSTABLE, WRITE, Wasi
from tests.wasi.programs import run
from tests.wasix.driver import descriptors_now

import guesthouse
from guesthouse.errors import LoadError
from guesthouse.interfaces.wasi.options import WasiOptions
from guesthouse.interfaces.wasi.state import Process, Strings
from guesthouse.testing import guests

APPEND, NONBLOCK = 1, 4


# --- snapshot 0 --------------------------------------------------------------------------------------


def test_case_28_unstable_counts_and_lays_out_differently(host, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    os.link(tmp_path / "file", tmp_path / "twin")
    with Wasi(host, UNSTABLE, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        for whence, offset, expected in ((2, 10, 10), (0, 5, 15), (1, -1, 99)):
            assert guest.fd_seek(fd, offset, whence, 0x100) == 0
            assert guest.u64(0x100) == expected
        assert guest.fd_seek(fd, 0, 3, 0x100) == 28
        guest.write(0x200, b"\xee" * 64)
        assert guest.fd_filestat_get(fd, 0x200) == 0
        dev, ino, kind, links, size, _, modified, _ = struct.unpack("<QQB3xIQQQQ", guest.read(0x200, 56))
        found = (tmp_path / "file").stat()
        assert (dev, ino, kind, links, size, modified) == (
            found.st_dev, found.st_ino, 4, 2, 100, found.st_mtime_ns,
        )  # fmt: skip
        assert guest.read(0x200 + 56, 8) == b"\xee" * 8
        assert guest.path_filestat_get(3, 0, *guest.path("twin"), 0x300) == 0
        assert guest.read(0x300, 56) == guest.read(0x200, 56)
        guest.write(0x400, struct.pack("<QB7xQIxxxxQQH", 77, 0, 0, 1, 10**7, 0, 0))
        started = time.monotonic()
        assert guest.poll_oneoff(0x400, 0x500, 1, 0x100) == 0
        assert time.monotonic() - started >= 0.01
        assert struct.unpack("<QHB", guest.read(0x500, 11)) == (77, 0, 0)


def test_case_28_both_modules_in_one_program_share_a_table(host, tmp_path):
    mixed = ["wasi_unstable:fd_seek iIiie", *(line for line in EVERY if "fd_seek" not in line)]
    (tmp_path / "file").write_bytes(b"0123456789")
    with Wasi(host, mixed, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        assert guest.fd_seek(fd, 4, 2, 0x100) == 0
        assert guest.fd_tell(fd, 0x100) == 0
        assert guest.u64(0x100) == 4
        assert guest.receive(fd, 3) == (0, b"456")


# --- files -------------------------------------------------------------------------------------------


def test_rights_are_what_is_asked_for_and_only_drop(host, tmp_path):
    (tmp_path / "file").write_text("content")
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file", rights=READ)
        assert guest.send(fd, b"x")[0] == 76
        assert guest.fd_fdstat_set_rights(fd, 2**64 - 1, 0) == 76
        assert guest.fd_fdstat_set_rights(fd, 0, 0) == 0
        assert guest.receive(fd)[0] == 76
        writer = guest.opened("file", rights=WRITE)
        assert guest.receive(writer)[0] == 76


def test_append_writes_at_the_end(host, tmp_path):
    (tmp_path / "file").write_text("begin")
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file", fdflags=APPEND)
        assert guest.send(fd, b" one") == (0, 4)
        assert guest.fd_seek(fd, 0, 0, 0x100) == 0
        assert guest.send(fd, b" two") == (0, 4)
        assert guest.fd_fdstat_set_flags(fd, 0) == 0
        assert guest.fd_seek(fd, 0, 0, 0x100) == 0
        assert guest.send(fd, b"BEGIN") == (0, 5)
        assert guest.fd_fdstat_set_flags(fd, 0x20) == 28
        assert guest.fd_fdstat_set_flags(fd, 2) == 58
    assert (tmp_path / "file").read_text() == "BEGIN one two"


def test_times_are_set_by_path_and_by_descriptor(host, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        assert guest.fd_filestat_set_times(fd, 1_000_000_001, 2_000_000_002, 1 | 4) == 0
        found = (tmp_path / "file").stat()
        assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
        assert guest.path_filestat_set_times(3, 1, *guest.path("link"), 5, 6, 1 | 4) == 0
        assert (tmp_path / "file").stat().st_mtime_ns == 6
        assert guest.path_filestat_set_times(3, 0, *guest.path("link"), 7, 8, 1 | 4) == 0
        assert (tmp_path / "link").lstat().st_mtime_ns == 8
        assert (tmp_path / "file").stat().st_mtime_ns == 6
        assert guest.fd_filestat_set_times(fd, 0, 0, 8) == 0
        assert abs((tmp_path / "file").stat().st_mtime - time.time()) < 60
        for flags in (3, 12, 16, 0x10001):
            assert guest.fd_filestat_set_times(fd, 0, 0, flags) == 28
            assert guest.path_filestat_set_times(3, 0, *guest.path("file"), 0, 0, flags) == 28


@pytest.mark.parametrize("room", [64, 300, 4096])
def test_directories_are_listed_whole_whatever_the_buffer(host, tmp_path, room):
    expected = {f"entry-{number}": 4 for number in range(700)} | {"folder": 3, "link": 7}
    for name, kind in expected.items():
        path = tmp_path / name
        path.symlink_to("nowhere") if kind == 7 else path.mkdir() if kind == 3 else path.touch()
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened(".", flags=DIRECTORY, rights=READDIR)
        found = guest.entries(fd, room)
        own = tmp_path.stat().st_ino
        assert found[:2] == [(".", 3, own), ("..", 3, own)]
        assert {name: kind for name, kind, _ in found[2:]} == expected
        assert len(found) == len(expected) + 2
        assert {ino for name, _, ino in found if name == "folder"} == {(tmp_path / "folder").stat().st_ino}
        # from any cookie on, as often as one likes
        assert guest.fd_readdir(fd, 0x4000, 4096, 2, 0x100) == 0
        first = guest.read(0x4000, 4096)
        cookie = struct.unpack_from("<Q", first)[0]
        assert guest.fd_readdir(fd, 0x4000, 4096, cookie, 0x100) == 0
        second = guest.read(0x4000, 4096)
        assert guest.fd_readdir(fd, 0x4000, 4096, 2, 0x100) == 0
        assert guest.read(0x4000, 4096) == first != second
        assert guest.fd_readdir(3, 0x4000, 4096, 0, 0x100) == 0
        assert guest.fd_readdir(0, 0x4000, 4096, 0, 0x100) == 54


def test_a_full_device_and_a_broken_pipe(host):
    full, null = (os.open(f"/dev/{name}", os.O_RDWR) for name in ("full", "null"))
    with Wasi(host, stdout=full, stderr=null) as guest:
        assert guest.send(1, b"x")[0] == 51
        assert guest.send(2, b"x" * 1000) == (0, 1000)
        assert guest.receive(2) == (0, b"")
        assert guest.fd_fdstat_get(2, 0x100) == 0
        assert guest.read(0x100, 1) == b"\2"
        assert guest.fd_seek(2, 0, 0, 0x100) == 70
    os.close(full)
    os.close(null)
    reader, writer = os.pipe()
    os.close(reader)
    with Wasi(host, stdout=writer) as guest:
        assert guest.send(1, b"x")[0] == 64
    os.close(writer)


# --- arguments that nobody sane would pass -----------------------------------------------------------


def test_bad_pointers_fault_before_anything_happens(host, tmp_path):
    (tmp_path / "file").write_text("content")
    end = 4 * 65536
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        good = guest.vector(0x100, 0x200, 4)
        for result in (end - 3, end, 2**32 - 1):
            assert guest.fd_read(fd, *good, result) == 21
            assert guest.fd_write(fd, *good, result) == 21
        for pointer, length in ((end - 1, 2), (2**32 - 1, 2), (0, 2**32 - 1), (end, 1)):
            vector = guest.vector(0x100, pointer, length)
            assert guest.fd_read(fd, *vector, 0x300) == 21
            assert guest.fd_pread(fd, *vector, 0, 0x300) == 21
            assert guest.random_get(pointer, length) == 21
            assert guest.path_open(3, 0, pointer, length, 0, 2, 0, 0, 0x300) == 21
            assert guest.path_readlink(3, *guest.path("file"), pointer, length, 0x300) == 21
            assert guest.fd_readdir(3, pointer, length, 0, 0x300) == 21
        for count in (2**32 - 1, 2**29, 40000):
            assert guest.fd_read(fd, 0x100, count, 0x300) == 21
            assert guest.poll_oneoff(0x100, 0x200, count, 0x300) in (21, 28)
        assert guest.fd_tell(fd, 0x100) == 0
        assert guest.u64(0x100) == 0
        assert guest.poll_oneoff(0x100, 0x200, 0, 0x300) == 28


def test_many_and_overlapping_vectors(host, tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40)
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        guest.write(0x1000, struct.pack("<II", 0x20000, 1) * 2000)
        assert guest.fd_read(fd, 0x1000, 2000, 0x100) == 0
        assert guest.u32(0x100) == 1024  # as many as the system takes at once
        guest.write(0x1000, struct.pack("<IIIIII", 0x20000, 8, 0, 0, 0x20004, 8))
        assert guest.fd_pread(fd, 0x1000, 3, 0, 0x100) == 0
        assert (guest.u32(0x100), guest.read(0x20000, 12)) == (16, bytes([0, 1, 2, 3, *range(8, 16)]))
        assert guest.fd_pread(fd, 0x1000, 3, 2**63, 0x100) == 28


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"x" * 65536, 37), (b"x" * 4096, 37), (b"x" * 256, 37), (b"", 44), (b"a\0b", 28), (b"\xff", 28),
        (b"\xed\xa0\x80", 28), (b"\xc0\x80", 28), ("naïve €".encode(), 44), (b"/" * 100, 76), (b"a/" * 1000, 44),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_strange_paths(host, tmp_path, path, expected):
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        pointer = 0x10000
        guest.write(pointer, path)
        place = pointer, len(path)
        assert guest.path_open(3, 0, *place, 0, 2, 0, 0, 0x100) == expected
        assert guest.path_filestat_get(3, 0, *place, 0x200) == expected
        assert guest.path_unlink_file(3, *place) == expected


def test_names_that_are_no_text_are_listed_as_they_are(host, tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        assert guest.fd_readdir(3, 0x4000, 4096, 0, 0x100) == 0
        assert b"\xff\xfe" in guest.read(0x4000, guest.u32(0x100))


def test_descriptors_are_bounded_and_given_back(host, tmp_path):
    (tmp_path / "file").touch()
    with Wasi(host, dirs={"/": str(tmp_path)}):
        pass  # what compiling opens stays open
    before = descriptors_now()
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        opened = []
        while (found := guest.open("file", rights=READ))[0] == 0:
            opened.append(found[1])
        assert found[0] == 33
        assert len(opened) == guesthouse.Limits().handles - 4  # the streams and the directory count
        assert guest.fd_close(opened[5]) == 0
        assert guest.opened("file") == opened[5]
    assert descriptors_now() <= before


def test_the_disk_budget(tmp_path):
    """Growth is charged, cutting and deleting give back, and what is over the budget is refused."""
    from guesthouse.interfaces.wasi.state import SLOT, Context

    (tmp_path / "there").write_bytes(bytes(500))
    with guesthouse.Host() as host, Wasi(host) as guest:
        process = WasiOptions(dirs={"/": str(tmp_path)}, disk=1000).process()
        guest.instance.attach(SLOT, Context(process))
        fd = guest.opened("new", flags=CREAT, rights=READ | WRITE | 1 << 22 | 1 << 8)
        assert guest.send(fd, b"x" * 600) == (0, 600)
        assert guest.fd_seek(fd, 0, 0, 0x100) == 0
        assert guest.send(fd, b"y" * 600) == (0, 600)  # in place: no growth
        assert guest.send(fd, b"z" * 600) == (0, 400)  # what is left
        assert guest.send(fd, b"z")[0] == 19
        assert guest.fd_filestat_set_size(fd, 1001) == 19
        assert guest.fd_allocate(fd, 0, 1001) == 19
        assert guest.fd_pwrite(fd, *guest.vector(0x100, 0x200, 4), 2000, 0x300) == 19
        assert guest.fd_filestat_set_size(fd, 300) == 0
        other = guest.opened("there")
        assert guest.fd_seek(other, 0, 2, 0x100) == 0
        assert guest.send(other, b"x" * 700) == (0, 700)
        assert guest.send(other, b"x")[0] == 19
        assert guest.path_unlink_file(3, *guest.path("there")) == 0
        assert guest.send(fd, b"")[0] == 0
        again = guest.opened("more", flags=CREAT)
        assert guest.send(again, b"x")[0] == 19  # the deleted file is open, so it is still there
        assert guest.fd_close(again) == guest.fd_close(fd) == guest.fd_close(other) == 0
        assert guest.path_unlink_file(3, *guest.path("new")) == 0
        again = guest.opened("more", flags=8)
        assert guest.send(again, b"x" * 600) == (0, 300)
        process.close()


def test_renumbering(host, tmp_path):
    (tmp_path / "file").write_text("content")
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        fd = guest.opened("file")
        assert guest.fd_renumber(fd, 99) == 8
        assert guest.fd_renumber(99, fd) == 8
        assert guest.fd_renumber(fd, 0) == 0
        assert guest.receive(0) == (0, b"content")
        assert guest.receive(fd)[0] == 8
        assert guest.fd_renumber(0, 0) == 0
        assert guest.fd_renumber(0, 3) == 0
        assert guest.open("file")[0] == 54


# --- standard streams, clocks, polls -----------------------------------------------------------------

ECHO = guests.wat("""
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4096))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 12)))
        (br $more))))))
""")


def test_streams_from_bytes_files_and_descriptors(tmp_path):
    data = bytes(range(256)) * 100
    assert run(ECHO, WasiOptions(stdin=data)).stdout == data
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source:
        assert run(ECHO, WasiOptions(stdin=source)).stderr == data
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, b"piped"), os.close(writer))).start()
    assert run(ECHO, WasiOptions(stdin=reader)).stdout == b"piped"
    os.close(reader)
    seen = []
    ended = run(ECHO, WasiOptions(stdin=b"a" * 5000, stdout=seen.append, stderr=None))
    assert (b"".join(seen), ended.stdout, ended.stderr) == (b"a" * 5000, b"", b"")
    with (tmp_path / "out").open("wb") as target:
        run(ECHO, WasiOptions(stdin=data, stdout=target.fileno()))
    assert (tmp_path / "out").read_bytes() == data


def test_what_a_stream_raises_reaches_the_embedder():
    def broken(_data):
        raise LookupError("the log is gone")

    with pytest.raises(LookupError, match="log is gone"):
        run(ECHO, WasiOptions(stdin=b"x", stdout=broken))


def test_captured_output_is_bounded():
    with pytest.raises(guesthouse.OutputLimit):
        run(ECHO, WasiOptions(stdin=b"x" * 100_000, output_limit=50_000))


def test_a_blocked_read_ends_with_the_deadline():
    reader, writer = os.pipe()
    started = time.monotonic()
    with pytest.raises(guesthouse.DeadlineExceeded):
        run(ECHO, WasiOptions(stdin=reader), wall_ns=time.monotonic_ns() + 50_000_000)
    assert time.monotonic() - started < 2
    os.close(reader)
    os.close(writer)


def test_options_say_what_is_wrong(tmp_path):
    with pytest.raises(LoadError, match="No such file"):
        WasiOptions(dirs={"/": str(tmp_path / "missing")}).process()
    with pytest.raises(LoadError, match="not 'loud'"):
        WasiOptions(stdout="loud").process()
    with pytest.raises(LoadError, match="holds no '='"):
        WasiOptions(env={"A=B": "x"}).process()
    with pytest.raises(ValueError, match="NUL byte"):
        Strings(["a\0b"])
    with pytest.raises(TypeError, match="cannot be a"):
        Process().set_stream(0, print)
    with pytest.raises(LoadError, match="outside of its directory"):
        WasiOptions(dirs={"/": {"../x": b""}}).process()


def test_files_in_memory_come_and_go(host):
    before = set(Path("/dev/shm").iterdir())
    with Wasi(host, dirs={"/mem": {"a/b.txt": b"in memory", "c": b""}}) as guest:
        assert guest.content("a/b.txt") == b"in memory"
        fd = guest.opened("new", flags=CREAT)
        assert guest.send(fd, b"x") == (0, 1)
    assert set(Path("/dev/shm").iterdir()) == before


def test_listening_sockets_can_be_handed_over(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        process = Process()
        fd = process.add_descriptor(os.dup(server.fileno()), socket=True)
        assert fd == 3
        from guesthouse.interfaces.wasi.state import SLOT, Context

        with Wasi(host) as guest:
            guest.instance.attach(SLOT, Context(process))
            client = socket.create_connection(server.getsockname())
            assert guest.sock_accept(fd, 0, 0x100) == 0
            peer = guest.u32(0x100)
            client.sendall(b"hello there")
            vector = guest.vector(0x200, 0x300, 5)
            assert guest.sock_recv(peer, *vector, 1, 0x100, 0x104) == 0
            assert guest.sock_recv(peer, *vector, 0, 0x100, 0x104) == 0
            assert guest.read(0x300, guest.u32(0x100)) == b"hello"
            assert guest.sock_send(peer, *vector, 0, 0x100) == 0
            assert client.recv(100) == b"hello"
            assert guest.sock_shutdown(peer, 4) == 28
            assert guest.sock_shutdown(peer, 2) == 0
            assert client.recv(100) == b""
            client.close()
            assert guest.receive(peer) == (0, b" there")
            assert guest.receive(peer) == (0, b"")
            assert guest.fd_fdstat_set_flags(fd, NONBLOCK) == 0
            assert guest.sock_accept(fd, 0, 0x100) == 6
            assert guest.sock_recv(0, *vector, 0, 0x100, 0x104) == 57
        process.close()


def test_clocks_and_absolute_timeouts(host):
    with Wasi(host) as guest:
        for clock in range(4):
            assert guest.clock_time_get(clock, 0, 0x100) == 0
            assert guest.clock_res_get(clock, 0x108) == 0
            assert guest.u64(0x108) > 0
        assert guest.clock_time_get(4, 0, 0x100) == 28
        assert guest.clock_time_get(0, 0, 0x100) == 0
        assert abs(guest.u64(0x100) - time.time_ns()) < 10**10
        for clock in (0, 1):
            assert guest.clock_time_get(clock, 0, 0x100) == 0
            until = guest.u64(0x100) + 20_000_000
            guest.write(0x200, struct.pack("<QB7xIxxxxQQH", 5, 0, clock, until, 0, 1))
            assert guest.poll_oneoff(0x200, 0x300, 1, 0x100) == 0
            assert guest.clock_time_get(clock, 0, 0x100) == 0
            assert guest.u64(0x100) >= until
        guest.write(0x200, struct.pack("<QB7xI", 9, 1, 77))
        assert guest.poll_oneoff(0x200, 0x300, 1, 0x100) == 0
        assert struct.unpack("<QH", guest.read(0x300, 10)) == (9, 8)
        guest.write(0x200, struct.pack("<QB7xI", 9, 7, 0))
        assert guest.poll_oneoff(0x200, 0x300, 1, 0x100) == 28


def test_an_instance_without_context_has_nothing_open():
    from tests.wasi.programs import ROWS, compiled
    from tests.wasix.driver import passing_on

    module = compiled(passing_on([line for line in EVERY if "sock_" not in line]))
    template = module.link({(i.module, i.name): ROWS[i.module, i.name] for i in module.info.imports})
    with template.open() as instance:
        instance.start()
        assert instance.invoke("fd_write", 1, 0, 0, 64) == 8
        assert instance.invoke("args_sizes_get", 64, 68) == 0
        assert instance.invoke("path_open", 3, 0, 0, 1, 0, 0, 0, 0, 64) == 8


def test_an_argument_with_a_nul_byte_is_refused_like_a_variable_with_one():
    for given in ({"args": ["a\0b"]}, {"env": {"A": "a\0b"}}):
        with pytest.raises(LoadError, match="NUL byte"):
            WasiOptions(**given).process()
