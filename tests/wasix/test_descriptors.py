"""One descriptor table for everything: cases 23, 25, 26 and what WASIX adds to files."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time

import pytest
from tests.wasix.driver import FD, Driver, ip4

from guesthouse.interfaces.wasix import descriptors
from guesthouse.wasix import HostNetworking, PluggableRuntime

FILES = [
    *FD,
    "fd_pipe iie",
    "fd_dup iie",
    "fd_dup2 iiiie",
    "fd_event Iiie",
    "fd_fdflags_get iie",
    "fd_fdflags_set iie",
    "path_open2 iiiiiIIiiie",
    "clock_time_set iIe",
    "clock_time_get iIie",
]
NET = ["sock_open iiiie", "sock_connect iie", "sock_pair iiiiie", "sock_send_file iiIIie"]


def pipe(guest):
    assert guest.fd_pipe(0, 4) == 0
    return guest.u32(0), guest.u32(4)


def test_case_25_pipe_wakes_its_reader_and_ends(host):
    with Driver(host, FILES) as guest:
        before = guest.process.descriptors
        reader, writer = pipe(guest)
        assert guest.send(writer, b"hello") == (0, 5)
        assert guest.receive(reader) == (0, b"hello")
        host_end = os.dup(descriptors.host_descriptor(guest.process, writer))

        def later():
            time.sleep(0.05)
            os.write(host_end, b"late")
            os.close(host_end)

        thread = threading.Thread(target=later)
        started = time.monotonic()
        thread.start()
        assert guest.receive(reader) == (0, b"late")
        assert time.monotonic() - started >= 0.05
        thread.join()
        assert guest.fd_close(writer) == 0
        assert guest.receive(reader) == (0, b"")
        assert guest.fd_close(reader) == 0
        assert guest.fd_close(reader) == 8
        assert guest.process.descriptors == before


def test_case_25_pipe_is_bounded(host):
    with Driver(host, FILES) as guest:
        reader, writer = pipe(guest)
        assert guest.fd_fdstat_set_flags(writer, 4) == 0
        total = 0
        for _ in range(100):
            error, count = guest.send(writer, b"x" * 4096)
            if error:
                break
            total += count
        assert (error, total) == (6, 65536)
        assert guest.fd_fdstat_set_flags(reader, 4) == 0
        while guest.receive(reader, 65536 // 2)[0] == 0:
            pass
        assert guest.receive(reader) == (6, b"")
        assert guest.fd_close(reader) == 0
        assert guest.send(writer, b"x")[0] == 64


def test_duplicates_share_what_they_stand_for(host):
    with Driver(host, FILES) as guest:
        reader, writer = pipe(guest)
        assert guest.fd_dup(writer, 8) == 0
        twin = guest.u32(8)
        assert guest.fd_dup2(writer, 40, 1, 8) == 0
        assert guest.u32(8) == 40
        assert guest.fd_close(writer) == guest.fd_close(40) == 0
        assert guest.send(twin, b"still") == (0, 5)
        assert guest.receive(reader) == (0, b"still")
        assert guest.fd_dup(99, 8) == 8
        assert guest.fd_dup2(twin, 5000, 0, 8) == 28
        assert guest.fd_fdflags_set(twin, 1) == 0
        assert (guest.fd_fdflags_get(twin, 8), guest.read(8, 2)) == (0, b"\1\0")
        assert guest.fd_fdflags_set(twin, 2) == 28


def test_event_counters(host):
    with Driver(host, FILES) as guest:
        assert guest.fd_event(3, 0, 0) == 0
        fd = guest.u32(0)
        assert guest.send(fd, struct.pack("<Q", 4)) == (0, 8)
        assert guest.receive(fd, 8) == (0, struct.pack("<Q", 7))
        assert guest.fd_event(2, 1, 0) == 0
        fd = guest.u32(0)
        assert [guest.receive(fd, 8) for _ in range(2)] == [(0, struct.pack("<Q", 1))] * 2


def test_path_open2_and_the_guests_own_clock(host, tmp_path):
    (tmp_path / "a").write_text("inside")
    with Driver(host, FILES, dirs={"/": str(tmp_path)}) as guest:
        name = guest.write(100, b"a")
        assert guest.path_open2(3, 0, *name, 0, 2, 0, 0, 1, 0) == 0
        assert guest.receive(guest.u32(0)) == (0, b"inside")
        assert guest.clock_time_set(0, 10**18) == 0
        assert guest.clock_time_get(0, 0, 8) == 0
        assert 0 <= guest.u64(8) - 10**18 < 10**10
        assert guest.clock_time_set(1, 5) == 28
        assert abs(time.time() - time.time_ns() / 1e9) < 1  # the host's own is what it was


def test_case_23_one_table_for_sockets_pipes_and_payloads(host):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    runtime = PluggableRuntime(networking=HostNetworking("ipv4:allow=127.0.0.1:*"))
    with Driver(host, FILES + NET, runtime=runtime, generation="G3") as guest:
        assert guest.sock_open(1, 1, 0, 0) == 0
        fd = guest.u32(0)
        guest.write(32, ip4("127.0.0.1", port))
        assert guest.sock_connect(fd, 32) == 0
        peer, _ = server.accept()
        assert guest.send(fd, b"printed") == (0, 7)
        assert peer.recv(100) == b"printed"
        payload = descriptors.open_payload(guest.process, b"payload")
        assert guest.receive(payload) == (0, b"payload")
        assert guest.receive(payload) == (0, b"")
        reader, writer = pipe(guest)
        assert guest.send(writer, b"!") == (0, 1)

        def subscription(number, userdata, kind, **clock):
            body = (
                struct.pack("<IxxxxQQH6x", 1, clock["timeout"], 0, 0)
                if kind == 0
                else struct.pack("<I28x", number)
            )
            return struct.pack("<QB7x", userdata, kind) + body

        subscriptions = (
            subscription(fd, 11, 1) + subscription(reader, 22, 1) + subscription(0, 33, 0, timeout=10**8)
        )
        guest.write(0x1000, subscriptions)
        assert guest.poll_oneoff(0x1000, 0x2000, 3, 0) == 0
        assert guest.u32(0) == 1
        assert struct.unpack("<QHBxxxxxQH", guest.read(0x2000, 26)) == (22, 0, 1, 1, 0)
        assert guest.receive(reader) == (0, b"!")
        started = time.monotonic()
        assert guest.poll_oneoff(0x1000, 0x2000, 3, 0) == 0
        assert (guest.u32(0), guest.u64(0x2000)) == (1, 33)
        assert 0.09 <= time.monotonic() - started < 2
        peer.sendall(b"over")
        assert guest.poll_oneoff(0x1000, 0x2000, 2, 0) == 0
        assert (guest.u32(0), guest.u64(0x2000)) == (1, 11)
        assert guest.fd_fdstat_get(fd, 64) == 0
        assert guest.read(64, 1) == b"\6"
        assert guest.fd_renumber(fd, payload) == 0
        assert guest.receive(payload) == (0, b"over")
        assert guest.receive(fd)[0] == 8
        assert guest.fd_close(payload) == 0
        assert guest.receive(payload)[0] == 8
        assert peer.recv(10) == b""
        peer.close()
    server.close()


def test_socket_pairs_and_files_through_them(host, tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 40)
    with Driver(host, FILES + NET, dirs={"/": str(tmp_path)}) as guest:
        assert guest.sock_pair(3, 1, 0, 0, 4) == 0
        one, two = guest.u32(0), guest.u32(4)
        name = guest.write(100, b"a")
        assert guest.path_open2(3, 0, *name, 0, 2 | 4, 0, 0, 0, 0) == 0
        file = guest.u32(0)
        assert guest.sock_send_file(one, file, 1, 5000, 8) == 0
        assert guest.u64(8) == 5000
        got = b""
        while len(got) < 5000:
            got += guest.receive(two, 8192)[1]
        assert got == (bytes(range(256)) * 40)[1:5001]
        assert guest.sock_send_file(file, file, 0, 1, 8) in (57, 76)


@pytest.mark.parametrize(("generation", "short"), [("G1", 61), ("G2", 61), ("G3", 68)])
def test_case_26_working_directory(host, tmp_path, generation, short):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    functions = ["chdir iie", "getcwd iie", "path_filestat_get iiiiie"]
    with Driver(host, functions, dirs={"/": str(tmp_path)}, generation=generation) as guest:

        def change(path):
            return guest.chdir(*guest.write(100, path.encode()))

        def where(room=100):
            guest.write(0, struct.pack("<I", room))
            return guest.getcwd(200, 0), guest.u32(0), guest.read(200, guest.u32(0))

        assert where() == (0, 1, b"/")
        assert change("sub") == 0
        assert where() == (0, 4, b"/sub")
        assert change("deep/..") == 0
        assert where()[2] == b"/sub"
        assert change("nowhere") == 44
        assert change("/file") == 54
        assert change("/sub/deep") == 0
        assert where()[2] == b"/sub/deep"
        assert where(3)[:2] == (short, 9)
        assert where(9)[0] == (61 if generation == "G1" else 0)
        assert change("..") == 0
        assert change("/") == 0
        assert change("sub") == 0
        assert guest.path_filestat_get(3, 0, *guest.write(100, b"file"), 300) == 0
        assert guest.path_filestat_get(3, 0, *guest.write(100, b"deep"), 300) == 44


def test_epoll(host):
    functions = [*FILES, "epoll_create ie", "epoll_ctl iiiie", "epoll_wait iiiIie"]
    with Driver(host, functions) as guest:
        reader, writer = pipe(guest)
        assert guest.epoll_create(0) == 0
        epoll = guest.u32(0)
        data = struct.pack("<II4xIIxxxxIxxxxQ", 1, 0, 0, 0, 0, 0)[:8] + struct.pack(
            "<IIIxxxxQ", 7, reader, 0, 99
        )
        guest.write(100, data[:32].ljust(32, b"\0"))
        assert guest.epoll_ctl(epoll, 0, reader, 100) == 0
        assert guest.epoll_ctl(epoll, 0, reader, 100) == 20
        assert guest.epoll_wait(epoll, 200, 4, 0, 0) == 0
        assert guest.u32(0) == 0
        guest.send(writer, b"x")
        assert guest.epoll_wait(epoll, 200, 4, 10**9, 0) == 0
        assert (guest.u32(0), guest.u32(200), guest.u32(208)) == (1, 1, 7)
        assert guest.epoll_ctl(epoll, 2, reader, 100) == 0
        assert guest.epoll_ctl(epoll, 2, reader, 100) == 44
        assert guest.epoll_ctl(reader, 0, writer, 100) == 28


def test_topics_are_hashed_as_the_specification_says():
    from guesthouse.interfaces.wasix.buscalls import hash_of

    assert hash_of("echo") == hashlib.sha256(b"echo").digest()[:16]
    assert hash_of(hash_of("echo").hex()) == hash_of("echo")
