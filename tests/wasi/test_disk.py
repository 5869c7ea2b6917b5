"""``Limits.disk``: by how much the files of the host may grow in one call (DESIGN section 8, invariant 4)."""

from __future__ import annotations

import pytest
from tests.wasi.driver import CREAT, READ, TRUNC, WRITE, Wasi

DQUOT = 19
ALLOCATE, SIZE = 1 << 8, 1 << 22
MIB = 1 << 20
PIECE = 0x8000


@pytest.fixture
def wasi(host, tmp_path):
    with Wasi(host, dirs={"/d": str(tmp_path)}, disk="1MiB") as driver:
        yield driver


def filled(wasi, fd, most):
    """Write until an error or so many bytes; return both."""
    wasi.vector(0x400, 0x4000, PIECE)
    done = 0
    while done < most:
        error = wasi.fd_write(fd, 0x400, 1, 0x100)
        if error:
            return error, done
        done += wasi.u32(0x100)
    return 0, done


def used(path):
    return sum(entry.stat().st_blocks * 512 for entry in path.iterdir())


def test_files_stop_growing_at_the_limit(wasi, tmp_path):
    error, done = filled(wasi, wasi.opened("one", flags=CREAT), 3 * MIB)
    assert (error, done) == (DQUOT, MIB)
    assert filled(wasi, wasi.opened("two", flags=CREAT), 3 * MIB)[0] == DQUOT
    assert used(tmp_path) <= MIB + PIECE


def test_writing_over_what_is_there_is_free(wasi, tmp_path):
    (tmp_path / "there").write_bytes(bytes(MIB // 2))
    fd = wasi.opened("there")
    for _ in range(8):
        assert filled(wasi, fd, MIB // 2)[0] == 0
        assert wasi.fd_seek(fd, 0, 0, 0x100) == 0
    for _ in range(8):
        again = wasi.opened("there")
        assert filled(wasi, again, MIB // 2)[0] == 0
        assert wasi.fd_close(again) == 0


def test_what_is_cut_can_be_written_again(wasi, tmp_path):
    for _ in range(5):
        fd = wasi.opened("scratch", flags=CREAT | TRUNC)
        assert filled(wasi, fd, MIB // 2)[0] == 0
        assert wasi.fd_close(fd) == 0
    fd = wasi.opened("scratch", rights=READ | WRITE | SIZE)
    for _ in range(5):
        assert wasi.fd_filestat_set_size(fd, 0) == 0
        assert wasi.fd_seek(fd, 0, 0, 0x100) == 0
        assert filled(wasi, fd, MIB // 2)[0] == 0
    assert used(tmp_path) <= MIB


def test_cutting_a_file_through_another_descriptor_gives_nothing_away(wasi, tmp_path):
    for number in range(6):
        one = wasi.opened(f"f{number}", flags=CREAT, rights=READ | WRITE | SIZE)
        two = wasi.opened(f"f{number}")
        if filled(wasi, one, MIB // 2)[0]:
            break
        wasi.vector(0x400, 0x4000, 1)
        assert wasi.fd_write(two, 0x400, 1, 0x100) == 0  # as large as it will be when it was first seen
        assert wasi.fd_filestat_set_size(one, 0) == 0
        filled(wasi, two, MIB // 2)
        assert wasi.fd_close(two) == wasi.fd_close(one) == 0
    assert used(tmp_path) <= MIB + 2 * PIECE


def test_single_bytes_far_apart_count_as_the_blocks_they_fill(wasi, tmp_path):
    fd = wasi.opened("holes", flags=CREAT)
    wasi.vector(0x400, 0x4000, 1)
    errors = [wasi.fd_pwrite(fd, 0x400, 1, number * 4096, 0x100) for number in range(4096)]
    assert DQUOT in errors
    assert used(tmp_path) <= 3 * MIB


def test_space_set_aside_counts(wasi, tmp_path):
    fd = wasi.opened("room", flags=CREAT, rights=READ | WRITE | ALLOCATE)
    assert wasi.fd_allocate(fd, 0, 8 * MIB) == DQUOT
    assert (tmp_path / "room").stat().st_blocks == 0


def test_a_file_that_shrank_behind_a_descriptor_is_charged_again(wasi, tmp_path):
    for number in range(6):
        one = wasi.opened(f"f{number}", flags=CREAT, rights=READ | WRITE | SIZE)
        if filled(wasi, one, MIB // 2)[0]:
            break
        two = wasi.opened(f"f{number}")
        assert wasi.fd_filestat_set_size(one, 0) == 0
        filled(wasi, two, MIB // 2)
        assert wasi.fd_close(two) == wasi.fd_close(one) == 0
    assert used(tmp_path) <= MIB + 2 * PIECE


def test_names_stop_at_the_limit_as_well(wasi):
    made = 0
    while (error := wasi.path_create_directory(3, *wasi.path(f"name{made}"))) == 0:
        made += 1
    assert (error, made) == (DQUOT, 2048)
    assert wasi.open("file", flags=CREAT) == (DQUOT, None)
    assert wasi.path_symlink(*wasi.path("name0"), 3, *wasi.path("link", 0x3100)) == DQUOT
    for _ in range(3):
        assert wasi.path_remove_directory(3, *wasi.path("name0")) == 0
        assert wasi.open("file", flags=CREAT)[0] == 0
        assert wasi.open("file", flags=CREAT)[0] == 0  # it is there: nothing new
        assert wasi.path_link(3, 0, *wasi.path("file"), 3, *wasi.path("again", 0x3100)) == DQUOT
        assert wasi.path_unlink_file(3, *wasi.path("file")) == 0
        assert wasi.path_create_directory(3, *wasi.path("name0")) == 0
        assert (
            wasi.path_create_directory(3, *wasi.path("name0")) == DQUOT
        )  # it is there, which nobody looked at
