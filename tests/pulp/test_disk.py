"""What cells keep on disk is bounded, and a full disk leaves nothing half written (DESIGN 8, invariant 4)."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from pathlib import Path

import pytest
from tests.pulp.conftest import Window
from tests.pulp.test_up import manifest, up  # noqa: F401 - a fixture

from guesthouse.interfaces.pulp import disk
from guesthouse.interfaces.pulp.disk import Quota

FS, SQL = "storage.fs", "storage.sqlite"
NO_MODE = b""


def files_of(cell) -> Path:
    return cell.app.runtime.environment.storage_root / "any"


def names(cell) -> list[str]:
    return sorted(path.name for path in files_of(cell).iterdir())


@pytest.fixture
def small(window):
    """A cell that may keep 10 000 bytes in 5 files."""
    return window(FS, max_disk_bytes=10_000, max_disk_files=5)


def write(cell, path: bytes, size: int) -> int:
    return cell("fs_write", path, bytes(size), NO_MODE)[0]


def test_bytes_are_bounded_and_what_was_there_stays(small, caplog) -> None:
    assert write(small, b"a", 9_000) == 0
    assert write(small, b"b", 1_001) == 4
    assert write(small, b"a", 10_001) == 4
    assert names(small) == ["a"]
    assert (files_of(small) / "a").stat().st_size == 9_000
    assert write(small, b"b", 1_000) == 0
    assert write(small, b"a", 8_999) == 0  # less than before is always fine
    assert write(small, b"b", 1_001) == 0
    assert caplog.text.count("disk quota used up") == 1
    assert "raise max_disk_bytes in the cell's manifest" in caplog.text
    (row,) = small.app.runtime.status()
    assert row["drops"] == {"storage.fs.over_quota": 2}


def test_files_and_directories_are_bounded(small) -> None:
    assert small("fs_mkdir_all", {"path": "a/b/c"})[0] == 0
    assert write(small, b"d", 1) == 0
    assert small.fs_create_temp({"dir": "a", "pattern": "x"})[0] == 0
    assert write(small, b"e", 1) == 4
    assert small("fs_mkdir_all", {"path": "f"})[0] == 4
    assert small.fs_create_temp({"dir": "a", "pattern": "x"})[0] == 4
    assert small.fs_mkdir_temp({"dir": "a", "pattern": "x"})[0] == 4
    assert write(small, b"new/file", 1) == 4
    assert write(small, b"d", 2) == 0
    assert small("fs_delete", b"d")[0] == 0
    assert write(small, b"e", 1) == 0
    assert small("fs_remove_all", b"a")[0] == 0
    assert small("fs_mkdir_all", {"path": "1/2/3/4"})[0] == 0


def test_what_goes_away_makes_room(small) -> None:
    for _ in range(3):
        assert write(small, b"x/a", 9_500) == 0
        assert write(small, b"b", 600) == 4
        assert small("fs_remove_all", b"x")[0] == 0
        assert write(small, b"c", 9_500) == 0
        assert write(small, b"d", 100) == 0
        assert small("fs_rename", {"old": "d", "new": "c"})[0] == 0  # the large one is gone
        assert write(small, b"e", 9_500) == 0
        assert small("fs_delete", b"e")[0] == 0
        assert small("fs_delete", b"c")[0] == 0


def test_no_way_of_moving_files_makes_the_count_shrink(small) -> None:
    assert write(small, b"a", 9_000) == 0
    for _ in range(5):
        assert small("fs_rename", {"old": "a", "new": "a"})[0] == 0
        assert small("fs_rename", {"old": "a", "new": "./a"})[0] == 0
        assert small("fs_delete", b"none")[0] == 6
        assert small("fs_rename", {"old": "none", "new": "a"})[0] == 6
        assert write(small, b"a/b", 1) == 4
    assert write(small, b"b", 1_001) == 4


def test_what_operators_put_there_or_take_away_is_seen(window, monkeypatch) -> None:
    monkeypatch.setattr(disk, "_PATIENCE", 0.0)
    cell = window(FS, max_disk_bytes=10_000)
    assert write(cell, b"a", 9_000) == 0
    (files_of(cell) / "a").unlink()
    assert write(cell, b"b", 9_500) == 0
    cell.app.runtime.stop()
    cell = window(FS, max_disk_bytes=10_000)
    assert write(cell, b"c", 501) == 4
    assert write(cell, b"c", 500) == 0


def test_many_at_once_do_not_exceed_it_together(application) -> None:
    keys = {"wasm": "any.c", "name": "any", "capabilities": [FS], "instances": 4, "max_disk_bytes": 100_000}
    app = application(keys)
    cells = [Window(cell) for cell in app.runtime.units["any"].cells]

    def work(number: int) -> None:
        for turn in range(40):
            write(cells[number], b"%d" % (turn % 7), 5_000 + 900 * number)
            write(cells[number], b"own-%d-%d" % (number, turn), 5_000)
            cells[number]("fs_delete", b"%d" % (turn % 5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    folder = app.runtime.environment.storage_root / "any"
    kept = sum(path.stat().st_size for path in folder.iterdir())
    assert 50_000 < kept <= 100_000
    (counted,) = app.runtime.environment.disks._disks.values()
    assert (counted._bytes, counted._files) == (kept, len(list(folder.iterdir())))


def test_the_defaults_are_on_and_the_operator_has_the_last_word(window) -> None:
    cell = window(FS)
    assert cell.cell.spec.disk == Quota(4 << 30, 100_000)
    limits = {"PULP_MAX_DISK_BYTES": "1KiB", "PULP_MAX_DISK_FILES": "2"}
    cell = window(FS, settings=limits, max_disk_bytes=1 << 40, max_disk_files=1000)
    assert write(cell, b"a", 1025) == 4
    assert write(cell, b"a", 1024) == 0
    assert [write(cell, name, 0) for name in (b"b", b"c")] == [0, 4]


@pytest.mark.parametrize("setting", ["PULP_MAX_DISK_BYTES", "PULP_MAX_DISK_FILES"])
def test_a_setting_that_is_no_size_fails_the_load(window, setting) -> None:
    with pytest.raises(Exception, match=r"bind capabilities: storage\.fs: .*lots"):
        window(FS, settings={setting: "lots"})


def test_paths_have_a_depth_and_deep_trees_can_be_removed(window) -> None:
    cell = window(FS)
    deep = "/".join("d" * disk.DEEPEST)
    assert cell("fs_mkdir_all", {"path": deep})[0] == 0
    assert cell("fs_mkdir_all", {"path": deep + "/d"})[0] == 5
    assert write(cell, deep.encode() + b"/f", 1) == 5
    assert cell("fs_mkdir_all", {"path": "top"})[0] == 0
    assert cell("fs_rename", {"old": "d", "new": "top/d"})[0] == 5
    assert cell("fs_remove_all", b"d")[0] == 0
    assert names(cell) == ["top"]


def test_files_and_database_share_the_quota(window) -> None:
    cell = window(FS, SQL, max_disk_bytes=1 << 20)
    cell.sqlite_exec("CREATE TABLE t (data BLOB)", b"")
    for _ in range(7):
        assert cell.sqlite_exec("INSERT INTO t VALUES (zeroblob(100000))", b"")[0] == 0
    assert write(cell, b"a", 400_000) == 4
    assert write(cell, b"a", 100_000) == 0
    codes = [cell.sqlite_exec("INSERT INTO t VALUES (zeroblob(100000))", b"")[0] for _ in range(4)]
    assert codes[0] == 0
    assert codes[-1] == 5
    assert cell("fs_delete", b"a")[0] == 0
    assert cell.sqlite_exec("INSERT INTO t VALUES (zeroblob(100000))", b"")[0] == 0
    assert (files_of(cell) / "data.db").stat().st_size <= 1 << 20


# --- a disk that is really full ----------------------------------------------------------------------

ROOM = 400_000


@pytest.fixture
def full(tmp_path):
    """Storage on a disk of 400 000 bytes: a mounted one for root, files of at most that size otherwise."""
    folder = tmp_path / "data"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if os.getuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_file_half_written(full, window) -> None:
    cell = window(FS)
    assert cell("fs_write", b"a", b"before", NO_MODE)[0] == 0
    for path in (b"a", b"b"):
        assert write(cell, path, 2 * ROOM) == 4
    assert cell("fs_read", b"a") == (0, b"before")
    assert names(cell) == ["a"]
    assert write(cell, b"c", 1000) == 0


def test_a_full_disk_leaves_the_database_as_it_was(full, window) -> None:
    cell = window(SQL)
    cell.sqlite_exec("CREATE TABLE t (data BLOB)", b"")
    cell.sqlite_exec("INSERT INTO t VALUES (x'01')", b"")
    code, reply = cell.sqlite_exec("INSERT INTO t VALUES (zeroblob(2000000))", b"")
    assert code == 5
    assert "full" in reply["error"] or "I/O" in reply["error"]
    assert cell.sqlite_query("SELECT count(*), sum(length(data)) FROM t", b"")[1]["rows"] == [[1, 1]]
    assert cell.sqlite_query("PRAGMA integrity_check", b"")[1]["rows"] == [["ok"]]
    assert cell.sqlite_exec("INSERT INTO t VALUES (x'02')", b"")[0] == 0


def test_manifests_say_how_much(up, tmp_path, build) -> None:  # noqa: F811
    process = up(
        manifest(tmp_path, "any", build("any.c"), 'capabilities = ["storage.fs"]\nmax_disk_bytes = 0')
    )
    process.wait_for("serving at")
    assert process.interrupt()[0] == 0
    process = up(manifest(tmp_path, "any", build("any.c"), "max_disk_bytes = -1"))
    assert process.process.wait(60) == 125
    assert "max_disk_bytes -1 must be between 1 and" in process.log.read_text()
