"""File trees: names that cannot be confused, paths that cannot leave, private trees that go."""

from __future__ import annotations

import pathlib

import pytest

from guesthouse.resources.files import FileError, FileTrees, open_files


def test_shared_files_round_trip(tmp_path: pathlib.Path) -> None:
    tree = FileTrees(tmp_path).tree("t")
    for path, data in (("a.txt", b""), ("deep/er/b.bin", bytes(range(256))), ("faasm://c", b"x")):
        tree.put(path, data)
        assert tree.get(path) == data
    assert tree.shared_files() == ["a.txt", "c", "deep/er/b.bin"]
    assert tree.delete("c") and not tree.delete("c")
    assert tree.get("c") is None and tree.get("deep") is None and tree.get("a.txt/x") is None


@pytest.mark.parametrize("path", ["", "/abs", "../up", "a/../../b", "a\0b", "faasm://", "faasm:///x"])
def test_paths_that_are_no_names_of_shared_files(tmp_path: pathlib.Path, path: str) -> None:
    tree = FileTrees(tmp_path).tree("t")
    for action in (lambda: tree.put(path, b""), lambda: tree.get(path), lambda: tree.delete(path)):
        with pytest.raises(FileError):
            action()


def test_links_that_guests_made_are_not_followed_by_the_host(tmp_path: pathlib.Path) -> None:
    tree = FileTrees(tmp_path / "trees").tree("t")
    (tmp_path / "secret").write_bytes(b"secret")
    (tree.shared / "file").symlink_to(tmp_path / "secret")
    (tree.shared / "folder").symlink_to(tmp_path)
    for path in ("file", "folder/secret"):
        with pytest.raises(FileError):
            tree.get(path)
        with pytest.raises(FileError):
            tree.put(path, b"overwritten")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_tenants_of_any_name_have_trees_of_their_own(tmp_path: pathlib.Path) -> None:
    trees = FileTrees(tmp_path)
    names = ["a", "a/b", "..", ".", "a%2Fb", "tenant-a", "ü"]
    for name in names:
        trees.tree(name).put("f", name.encode())
    assert [trees.tree(name).get("f") for name in names] == [name.encode() for name in names]
    assert {path.parent for path in (trees.tree(name).root for name in names)} == {tmp_path}
    with pytest.raises(FileError):
        trees.tree("")


def test_named_trees_stay_and_private_ones_go(tmp_path: pathlib.Path) -> None:
    named = open_files(f"dir://{tmp_path}/kept")
    named.tree("t").put("f", b"data")
    named.close()
    assert open_files(tmp_path / "kept").tree("t").get("f") == b"data"
    private = open_files()
    root = private.tree("t").root
    private.close()
    assert not root.exists()
