"""Where a file stands: kept by the host where nobody else can move it, and always what the kernel would say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.wasi.driver import CREAT, READ, WRITE, Wasi

import guesthouse
from guesthouse.engine import wat_to_wasm

SET, CUR, END = 0, 1, 2
APPEND = 1
NOT_VALID = 28


def seek(guest, fd, offset, whence=SET):
    error = guest.fd_seek(fd, offset, whence, 0x100)
    return int.from_bytes(guest.read(0x100, 8), "little") if error == 0 else -error


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_reads_and_writes_go_on_from_where_the_guest_moved_to(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}) as guest:
        fd = guest.opened("file")
        assert guest.receive(fd, 2)[1] == b"01"  # the kernel's position
        assert [seek(guest, fd, 1, CUR), seek(guest, fd, -2, END), seek(guest, fd, 4)] == [3, 8, 4]
        assert guest.receive(fd, 2)[1] == b"45"
        assert guest.send(fd, b"ab")[0] == 0
        assert seek(guest, fd, 0, CUR) == 8
        assert guest.receive(fd, 9)[1] == b"89"
        assert guest.receive(fd, 9)[1] == b""
        assert (seek(guest, fd, -11, CUR), seek(guest, fd, -1)) == (-NOT_VALID, -NOT_VALID)
        assert seek(guest, fd, 0, CUR) == 10
        assert file.read_bytes() == b"012345ab89"


def test_positions_far_beyond_what_is_kept(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}, disk="4TiB") as guest:
        fd = guest.opened("file")
        far = (1 << 31) + 5
        assert [seek(guest, fd, 3), seek(guest, fd, far), seek(guest, fd, 1, CUR)] == [3, far, far + 1]
        assert guest.send(fd, b"x")[0] == 0
        assert seek(guest, fd, -far, CUR) == 2
        assert guest.receive(fd, 2)[1] == b"23"
        assert seek(guest, fd, (1 << 63) - 1, CUR) == -NOT_VALID
        assert guest.receive(fd, 2)[1] == b"45"
    with file.open("rb") as there:
        there.seek(far + 1)
        assert there.read() == b"x"


def test_appending_goes_to_the_end_wherever_the_position_is(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}) as guest:
        fd = guest.opened("file", fdflags=APPEND)
        assert seek(guest, fd, 2) == 2
        assert guest.send(fd, b"ab")[0] == 0
        assert seek(guest, fd, 0, CUR) == 12
        assert guest.fd_fdstat_set_flags(fd, 0) == 0
        assert seek(guest, fd, 1) == 1
        assert guest.send(fd, b"cd")[0] == 0
        assert seek(guest, fd, 0, CUR) == 3
        assert guest.fd_fdstat_set_flags(fd, APPEND) == 0
        assert guest.send(fd, b"ef")[0] == 0
        assert guest.receive(fd, 9)[1] == b""
        assert file.read_bytes() == b"0cd3456789abef"


def test_each_descriptor_has_a_position_of_its_own_and_takes_it_along(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}) as guest:
        one, two = guest.opened("file"), guest.opened("file")
        assert (seek(guest, one, 3), seek(guest, two, 7)) == (3, 7)
        assert guest.receive(one, 2)[1] == b"34"
        assert guest.fd_renumber(two, one) == 0
        assert guest.receive(one, 2)[1] == b"78"


def test_what_the_host_writes_for_the_guest_lands_where_the_guest_stands(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}) as guest:
        fd = guest.opened("file")
        assert seek(guest, fd, 3) == 3
        assert seek(guest, fd, 5) == 5
        assert guest.fd_renumber(fd, 1) == 0
        guest.process.emit(1, b"ab")
        assert guest.send(1, b"c")[0] == 0
        assert file.read_bytes() == b"01234abc89"


def test_the_disk_budget_counts_from_the_position(host, file):
    with Wasi(host, dirs={"/": str(file.parent)}, disk=100) as guest:
        fd = guest.opened("new", flags=CREAT, rights=READ | WRITE)
        assert [seek(guest, fd, 10), seek(guest, fd, 60)] == [10, 60]
        assert guest.send(fd, b"x" * 50) == (0, 40)
        assert guest.send(fd, b"x")[0] == 19
        assert seek(guest, fd, 0) == 0
        assert guest.send(fd, b"y" * 100) == (0, 100)


TEXT = """
(module
  (import "wasi_snapshot_preview1" "path_open" (func $open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "test" "look" (func $look))
  {memory}
  (func (export "_start")
    (memory.init $name (i32.const 0) (i32.const 0) (i32.const 4))
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
      (i64.const 6) (i64.const 0) (i32.const 0) (i32.const 8)))
    (drop (call $seek (i32.load (i32.const 8)) (i64.const 5) (i32.const 0) (i32.const 16)))
    (drop (call $seek (i32.load (i32.const 8)) (i64.const 7) (i32.const 0) (i32.const 16)))
    (call $look))
  (data $name "file"))
"""


@pytest.mark.parametrize(
    ("memory", "kernels"),
    [('(memory (export "memory") 1)', 5), ('(import "env" "memory" (memory 1 1 shared))', 7)],
)
def test_a_program_that_may_have_threads_leaves_positions_to_the_kernel(file, memory, kernels):
    seen = []

    @guesthouse.host_function
    def look(_call) -> None:
        for entry in Path("/proc/self/fd").iterdir():
            if entry.is_symlink() and entry.readlink() == file:
                text = Path("/proc/self/fdinfo", entry.name).read_text()
                seen.append(int(text.split()[1]))

    registry = guesthouse.Registry().always(guesthouse.capability("test.look", look))
    with guesthouse.Host(registry=registry) as host:
        wasm = wat_to_wasm(TEXT.format(memory=memory))
        program = host.load(wasm, name="program", grant=["wasi.files", "wasix.threads"])
        assert program.run(dirs={"/": str(file.parent)}).code == 0
    assert seen == [kernels]
