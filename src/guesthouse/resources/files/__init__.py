"""A file tree per tenant: files of this host, and below ``faasm:`` the files that its functions share."""

from __future__ import annotations

import os
import pathlib

from guesthouse.resources.files.trees import FileError, FileTrees, Tree

__all__ = ["FileError", "FileTrees", "Tree", "open_files"]


def open_files(option: str | os.PathLike[str] | FileTrees | None = None) -> FileTrees:
    """Open a host's file trees from its ``files`` option.

    Args:
        option: a directory to keep them in (``dir:///path`` or a path), or ``None`` for a private one that
            goes with the host.
    """
    if isinstance(option, FileTrees):
        return option
    if option is None:
        return FileTrees()
    path = os.fspath(option).removeprefix("dir://")
    if "://" in path:
        raise FileError("no backend for files at a URL; there are: dir:///path, or a path", path=path)
    return FileTrees(pathlib.Path(path))
