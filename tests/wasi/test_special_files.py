"""FIFOs, devices and sockets in a directory that a guest was given: seen, but never opened."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from tests.wasi.driver import CREAT, READ, TRUNC, WRITE, Wasi

NOTCAPABLE, NOENT, LOOP = 76, 44, 32


@pytest.fixture
def ground(tmp_path):
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(tmp_path / "sub" / "fifo")
    (tmp_path / "link").symlink_to("sub/fifo")
    (tmp_path / "plain").write_text("plain")
    return tmp_path


NAMES = ("fifo", "sub/fifo", "link", "./sub/../fifo", "sub/../link")


def test_nobody_notices_an_attempt_to_open_a_fifo(host, ground, resolver):
    """A writer waits at each FIFO for a reader, and waits on."""
    through = []

    def writer(path):
        with path.open("wb", buffering=0) as fifo:
            through.append(path)
            fifo.write(b"for its reader")

    fifos = [ground / "fifo", ground / "sub" / "fifo"]
    writers = [threading.Thread(target=writer, args=(path,)) for path in fifos]
    for thread in writers:
        thread.start()
    try:
        time.sleep(0.1)
        with Wasi(host, dirs={"/": str(ground)}) as guest:
            for path in NAMES:
                for how in ({"rights": READ}, {"rights": WRITE}, {}, {"flags": CREAT}, {"flags": TRUNC}):
                    assert guest.open(path, **how)[0] == NOTCAPABLE, (path, how)
            assert guest.open("link", follow=0)[0] == LOOP
            assert guest.open("fifo", follow=0)[0] == NOTCAPABLE
        time.sleep(0.1)
        assert not through
    finally:
        for path in fifos:
            with path.open("rb") as fifo:
                assert fifo.read() == b"for its reader"
        for thread in writers:
            thread.join()


def test_they_can_be_looked_at_and_removed(host, ground):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        assert guest.stat("fifo")[0] == 0
        assert guest.stat("link", follow=0)[1] == 7
        assert guest.path_unlink_file(3, *guest.path("fifo")) == 0
        assert guest.open("fifo")[0] == NOENT
    assert not (ground / "fifo").exists()


def test_devices_and_sockets_are_refused(host, tmp_path):
    with Wasi(host, dirs={"/": "/dev"}) as guest:
        for name in ("null", "zero", "full", "tty", "random"):
            assert guest.open(name, rights=READ)[0] == NOTCAPABLE, name
    with socket.socket(socket.AF_UNIX) as listening, Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        listening.bind(str(tmp_path / "socket"))
        assert guest.open("socket", rights=READ)[0] == NOTCAPABLE


@pytest.mark.parametrize("by_guest", [False, True])
def test_a_name_that_was_harmless_before_is_not_trusted(host, ground, resolver, by_guest):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        for _ in range(2):
            assert guest.content("plain") == b"plain"
        if by_guest:
            assert guest.path_rename(3, *guest.path("fifo", 0x2000), 3, *guest.path("plain")) == 0
        else:
            (ground / "fifo").rename(ground / "plain")
        for _ in range(2):
            assert guest.open("plain", rights=READ)[0] == NOTCAPABLE
        (ground / "plain").unlink()
        (ground / "plain").write_text("again")
        assert guest.content("plain") == b"again"


def test_more_names_than_are_remembered(host, tmp_path):
    """Long names, and more than have a place, are looked at each time."""
    names = [f"file-{number}" for number in range(300)] + ["n" * 200]
    for name in names:
        (tmp_path / name).write_text(name)
    with Wasi(host, dirs={"/": str(tmp_path)}) as guest:
        for _ in range(2):
            for name in names:
                assert guest.content(name) == name.encode()
