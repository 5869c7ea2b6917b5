"""``storage.fs`` (spec/pulp.md 3.7, acceptance case 24)."""

from __future__ import annotations

import os
import stat

import pytest
from tests.pulp.conftest import Window

from guesthouse.interfaces.pulp import codec

FS = "storage.fs"


@pytest.fixture
def fs(window):
    opened = window(FS)
    opened.root = opened.app.runtime.environment.storage_root / "any"
    return opened


def test_case_24_write_read_list_stat_delete(fs) -> None:
    content = bytes(range(256)) * 100
    assert fs("fs_write", b"a/b/file.bin", content, b"") == (0, b"")
    assert fs("fs_read", b"a/b/file.bin") == (0, content)
    assert (fs.root / "a/b/file.bin").read_bytes() == content
    assert fs("fs_write", b"a/z", b"", codec.encode({"mode": 0o600}))[0] == 0
    assert fs.fs_list(b"a") == (0, [{"name": "b", "is_dir": True}, {"name": "z", "is_dir": False}])
    assert fs("fs_read", b"a/z") == (0, b"")
    code, info = fs.fs_stat({"path": "a/b/file.bin"})
    assert code == 0
    assert list(info) == ["name", "size", "mod_time_ns", "mode", "is_dir"]
    assert (info["name"], info["size"], info["mode"], info["is_dir"]) == ("file.bin", 25_600, 0o644, False)
    assert info["mod_time_ns"] == (fs.root / "a/b/file.bin").stat().st_mtime_ns
    assert fs.fs_stat({"path": "."})[1]["is_dir"] is True
    assert fs("fs_delete", b"a/z")[0] == 0
    assert fs("fs_delete", b"a/z")[0] == 6
    assert fs("fs_delete", b"a")[0] == 4


def test_rename_mkdir_chmod_remove(fs) -> None:
    assert fs("fs_mkdir_all", {"path": "d/e/f", "mode": 0o700})[0] == 0
    assert stat.S_IMODE((fs.root / "d/e/f").stat().st_mode) == 0o700
    assert fs("fs_mkdir_all", {"path": "d/e/f"})[0] == 0
    fs("fs_write", b"d/e/f/x", b"1", b"")
    assert fs("fs_rename", {"old": "d/e/f/x", "new": "d/y"})[0] == 0
    assert fs("fs_rename", {"old": "nothing", "new": "d/y"})[0] == 6
    assert fs("fs_chmod", {"path": "d/y", "mode": 0o4640})[0] == 0
    assert stat.S_IMODE((fs.root / "d/y").stat().st_mode) == 0o640
    assert fs("fs_remove_all", b"d")[0] == 0
    assert not (fs.root / "d").exists()
    assert fs("fs_remove_all", b"d")[0] == 0
    for root in (b".", b"./", b"././."):
        assert fs("fs_remove_all", root)[0] == 4
    assert fs.root.exists()


def test_temporary_names(fs) -> None:
    code, made = fs.fs_create_temp({"dir": "", "pattern": "log-*.txt"})
    assert code == 0
    assert made["path"].startswith("tmp/log-")
    assert made["path"].endswith(".txt")
    assert (fs.root / made["path"]).is_file()
    code, made = fs.fs_mkdir_temp({"dir": "own", "pattern": "x"})
    assert made["path"].startswith("own/x")
    assert (fs.root / made["path"]).is_dir()
    assert fs.fs_create_temp({"pattern": "a/b"})[0] == 5


ESCAPES = [b"", b"/etc/passwd", b"..", b"../other", b"a/../../other", b"a\0b", b"./../x"]


@pytest.mark.parametrize("path", ESCAPES)
def test_case_24_paths_that_leave_the_root_are_rejected(fs, path) -> None:
    (fs.root.parent / "other").write_text("secret")
    assert fs("fs_read", path) == (5, b"")
    assert fs("fs_write", path, b"x", b"")[0] == 5
    assert fs("fs_delete", path)[0] == 5
    assert fs("fs_list", path)[0] == 5
    assert fs("fs_remove_all", path)[0] == 5
    assert fs("fs_stat", {"path": path})[0] == 5
    assert fs("fs_chmod", {"path": path, "mode": 0})[0] == 5
    assert fs("fs_mkdir_all", {"path": path})[0] == 5
    fs("fs_write", b"own", b"x", b"")
    assert fs("fs_rename", {"old": "own", "new": path})[0] == 5
    assert fs("fs_rename", {"old": path, "new": "taken"})[0] == 5
    if path:
        assert fs("fs_create_temp", {"dir": path, "pattern": "x"})[0] == 5
    assert (fs.root.parent / "other").read_text() == "secret"


@pytest.mark.parametrize("target", ["/etc", "../other-dir", "/", "..", "inner/../../other-dir"])
def test_case_24_symbolic_links_that_leave_the_root_are_rejected(fs, target) -> None:
    outside = fs.root.parent / "other-dir"
    outside.mkdir()
    (outside / "passwd").write_text("secret")
    (fs.root / "inner").mkdir()
    (fs.root / "link").symlink_to(target)
    (fs.root / "file").symlink_to(f"{target}/passwd")
    for name in ("fs_read", "fs_list"):
        assert fs(name, b"link/passwd")[0] == 5
    assert fs("fs_read", b"file")[0] == 5
    assert fs("fs_write", b"file", b"overwritten", b"")[0] == 5
    assert fs("fs_write", b"link/new", b"x", b"")[0] == 5
    assert fs("fs_list", b"link")[0] == 5
    assert fs("fs_stat", {"path": "link"})[0] == 5
    assert fs("fs_chmod", {"path": "file", "mode": 0})[0] == 5
    assert fs("fs_mkdir_all", {"path": "link/new"})[0] == 5
    assert fs("fs_remove_all", b"link/passwd")[0] == 5
    assert fs("fs_rename", {"old": "link/passwd", "new": "stolen"})[0] == 5
    # The link itself may be deleted; what it points to stays.
    assert fs("fs_remove_all", b"link")[0] == 0
    assert [path.name for path in outside.iterdir()] == ["passwd"]
    assert (outside / "passwd").read_text() == "secret"


def test_symbolic_links_inside_the_root_work(fs) -> None:
    fs("fs_write", b"real/file", b"content", b"")
    (fs.root / "link").symlink_to("real")
    assert fs("fs_read", b"link/file") == (0, b"content")


def test_a_tree_with_links_out_of_it_is_removed_without_following_them(fs) -> None:
    outside = fs.root.parent / "keep"
    outside.mkdir()
    (outside / "file").write_text("kept")
    fs("fs_mkdir_all", {"path": "tree/sub"})
    (fs.root / "tree/sub/out").symlink_to(outside)
    assert fs("fs_remove_all", b"tree")[0] == 0
    assert (outside / "file").read_text() == "kept"


def test_special_files_do_not_block(fs) -> None:
    os.mkfifo(fs.root / "pipe")
    assert fs("fs_read", b"pipe") == (4, b"")
    assert fs("fs_write", b"pipe", b"x", b"")[0] == 4


def test_a_file_that_does_not_fit_the_cell_is_refused(window) -> None:
    fs = window(FS, max_memory_pages=32)
    path = fs.app.runtime.environment.storage_root / "any" / "big"
    with path.open("wb") as file:
        file.truncate(32 * 65_536 + 1)
    assert fs("fs_read", b"big") == (4, b"")
    with path.open("wb") as file:
        file.truncate(31 * 65_536)
    assert fs("fs_read", b"big") == (7, b"")


def test_case_24_each_cell_has_its_own_root(application, tmp_path) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": [FS]} for name in ("a", "b", "with-dash")]
    app = application(*tables, settings={"PULP_FS_ROOT_WITH_DASH": str(tmp_path / "elsewhere")})
    a, b, c = (Window(app.runtime.cell(name)) for name in ("a", "b", "with-dash"))
    a("fs_write", b"f", b"1", b"")
    c("fs_write", b"f", b"3", b"")
    assert b("fs_read", b"f") == (6, b"")
    assert (tmp_path / "elsewhere" / "f").read_bytes() == b"3"


def test_malformed_requests(fs) -> None:
    assert fs("fs_stat", b"")[0] == 1
    assert fs("fs_stat", b"\xc1")[0] == 3
    assert fs("fs_read", 0xFFFFFFF0, 100)[0] == 2
    assert fs("fs_write", b"x", 0xFFFFFFF0, 100, b"")[0] == 2
    assert fs("fs_list", b"nowhere")[0] == 6


def test_instances_share_the_root_until_the_last_one_is_gone(application) -> None:
    app = application({"wasm": "any.c", "name": "any", "capabilities": [FS], "instances": 2})
    first, second = app.runtime.units["any"].cells
    Window(first)("fs_write", b"f", b"1", b"")
    first.close()
    assert Window(second)("fs_read", b"f") == (0, b"1")
