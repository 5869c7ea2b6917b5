"""Nothing outside of a directory is ever reached through it, whatever changes meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tests.wasi.driver import CREAT, DIRECTORY, READDIR, Wasi

NOTCAPABLE = 76
SECRET = b"what lies outside"


@pytest.fixture
def ground(tmp_path):
    """A directory for the guest, with a secret beside it and many ways to point there."""
    inside = tmp_path / "inside"
    (inside / "sub" / "deep").mkdir(parents=True)
    (inside / "file").write_text("inside")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    links = {
        "absolute": str(outside / "secret"),
        "upward": "../outside/secret",
        "sub/higher": "../../outside/secret",
        "directory": "../outside",
        "chain": "sub/higher",
        "root": "/",
        "self": "../inside/file",  # leaves and comes back: leaving is what counts
        "fine": "sub/../file",
    }
    for name, target in links.items():
        (inside / name).symlink_to(target)
    return inside


ESCAPES = [
    "..", "../outside/secret", "/etc/passwd", "sub/../../outside/secret", "sub/deep/../../../outside/secret",
    "absolute", "upward", "sub/higher", "directory/secret", "chain", "root/etc/passwd", "self", "./../outside/secret",
]  # fmt: skip


def test_every_way_out_is_refused(host, ground, resolver):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        assert guest.content("fine") == b"inside"
        for path in ESCAPES:
            assert guest.open(path, rights=2)[0] == NOTCAPABLE, path
            assert guest.open(path, flags=DIRECTORY, rights=2)[0] == NOTCAPABLE, path
            assert guest.stat(path)[0] == NOTCAPABLE, path
            assert guest.path_filestat_set_times(3, 1, *guest.path(path), 1, 1, 5) == NOTCAPABLE, path
        for path in ("../new", "directory/new", "root/tmp/new", "/tmp/new", "sub/../../new"):
            assert guest.open(path, flags=CREAT)[0] == NOTCAPABLE, path
            assert guest.path_create_directory(3, *guest.path(path)) == NOTCAPABLE, path
            assert guest.path_unlink_file(3, *guest.path(path)) == NOTCAPABLE, path
            assert guest.path_remove_directory(3, *guest.path(path)) == NOTCAPABLE, path
            assert guest.path_symlink(*guest.path("x", 0x2000), 3, *guest.path(path)) == NOTCAPABLE, path
            assert guest.path_rename(3, *guest.path("file", 0x2000), 3, *guest.path(path)) == NOTCAPABLE, path
            assert guest.path_rename(3, *guest.path(path), 3, *guest.path("x", 0x2000)) == NOTCAPABLE, path
            assert guest.path_link(3, 0, *guest.path("file", 0x2000), 3, *guest.path(path)) == NOTCAPABLE, (
                path
            )
        for path in ("directory/", "root/"):
            assert guest.path_readlink(3, *guest.path(path), 0x5000, 100, 0x100) == NOTCAPABLE
            assert guest.stat(path, follow=0)[0] == NOTCAPABLE
            assert guest.path_link(3, 0, *guest.path(path), 3, *guest.path("x", 0x2000)) == NOTCAPABLE
        assert guest.path_symlink(*guest.path("/etc", 0x2000), 3, *guest.path("new")) == NOTCAPABLE
    assert sorted(p.name for p in ground.parent.iterdir()) == ["inside", "outside"]
    assert [p.name for p in (ground.parent / "outside").iterdir()] == ["secret"]


def test_a_link_itself_can_be_handled_wherever_it_points(host, ground, resolver):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        assert guest.stat("upward", follow=0)[1] == 7
        assert guest.path_readlink(3, *guest.path("upward"), 0x5000, 100, 0x100) == 0
        assert guest.read(0x5000, guest.u32(0x100)) == b"../outside/secret"
        assert guest.open("upward", follow=0)[0] == 32
        assert guest.path_unlink_file(3, *guest.path("upward")) == 0
    assert (ground.parent / "outside" / "secret").read_bytes() == SECRET


def test_a_directory_is_no_way_to_its_parent(host, ground, resolver):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        sub = guest.opened("sub", flags=DIRECTORY, rights=READDIR)
        assert guest.open("../file", base=sub, rights=2)[0] == NOTCAPABLE
        assert guest.open("deep/../../file", base=sub, rights=2)[0] == NOTCAPABLE
        assert guest.path_remove_directory(sub, *guest.path("deep/..")) in (28, 55)
        assert guest.path_remove_directory(sub, *guest.path("..")) == NOTCAPABLE
        assert guest.path_rename(sub, *guest.path(".."), sub, *guest.path("x", 0x2000)) == NOTCAPABLE


def test_magic_links_are_none(host, resolver):
    with Path("/etc/hostname").open() as held, Wasi(host, dirs={"/": "/proc/self"}) as guest:
        for path in (f"fd/{held.fileno()}", "root/etc/hostname", "cwd", "exe"):
            error = guest.open(path, rights=2)[0]
            assert error in (32, 76), (path, error)


def test_a_directory_that_is_renamed_stays_what_was_opened(host, ground, resolver):
    with Wasi(host, dirs={"/": str(ground)}) as guest:
        sub = guest.opened("sub", flags=DIRECTORY, rights=READDIR)
        (ground / "sub").rename(ground.parent / "moved")
        assert guest.open("new", base=sub, flags=CREAT)[0] == 0
        assert guest.open("../outside/secret", base=sub, rights=2)[0] == NOTCAPABLE
    assert (ground.parent / "moved" / "new").exists()


@pytest.mark.parametrize("target", ["../outside", "/"])
def test_links_swapped_during_the_walk_let_nothing_out(host, ground, resolver, target):
    """Another thread turns a directory into a link to the outside and back, all the time."""
    victim, link, spare = ground / "victim", ground / "link", ground / "spare"
    victim.mkdir()
    (victim / "secret").write_bytes(b"harmless")
    link.symlink_to(target)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            victim.rename(spare)
            link.rename(victim)
            victim.rename(link)
            spare.rename(victim)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        with Wasi(host, dirs={"/": str(ground)}) as guest:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                for path in (
                    "victim/secret",
                    "victim/../victim/secret",
                    "victim/etc/passwd",
                    "victim/../outside/secret",
                ):
                    error, fd = guest.open(path, rights=2)
                    if error == 0:
                        seen.add(guest.receive(fd, 100)[1])
                        assert guest.fd_close(fd) == 0
                    else:
                        seen.add(error)
                assert guest.path_create_directory(3, *guest.path("victim/made")) in (0, 20, 44, 54, 76, 6)
                guest.path_remove_directory(3, *guest.path("victim/made"))
    finally:
        stop.set()
        thread.join()
    assert seen <= {b"harmless", 44, 54, 76, 32, 6}, seen
    assert b"harmless" in seen
    assert sorted(p.name for p in (ground.parent / "outside").iterdir()) == ["secret"]


def test_read_only_means_all_of_it(host, ground, resolver):
    with Wasi(host, dirs={"/ro": f"{ground}:ro", "/rw": str(ground / "sub")}) as guest:
        assert guest.content("file") == b"inside"
        assert guest.open("file", rights=2 | 64)[0] == 69
        assert guest.open("new", flags=CREAT, rights=2)[0] == 69
        assert guest.open("file", flags=8, rights=2)[0] == 69
        assert guest.path_create_directory(3, *guest.path("new")) == 69
        assert guest.path_unlink_file(3, *guest.path("file")) == 69
        assert guest.path_link(3, 0, *guest.path("file"), 4, *guest.path("twin", 0x2000)) == 69
        assert guest.path_rename(3, *guest.path("file"), 4, *guest.path("twin", 0x2000)) == 69
        assert guest.path_rename(4, *guest.path("deep"), 3, *guest.path("twin", 0x2000)) == 69
        assert guest.path_symlink(*guest.path("x", 0x2000), 3, *guest.path("twin")) == 69
        assert guest.path_filestat_set_times(3, 1, *guest.path("file"), 1, 1, 5) == 69
        fd = guest.opened("file", rights=2)
        assert guest.fd_filestat_set_times(fd, 1, 1, 5) in (69, 76)
        assert guest.fd_filestat_set_size(fd, 0) in (69, 76)
        sub = guest.opened("sub", flags=DIRECTORY, rights=READDIR)
        assert guest.open("new", base=sub, flags=CREAT)[0] == 69
        assert guest.open("new", base=4, flags=CREAT)[0] == 0
    assert (ground / "file").read_text() == "inside"
