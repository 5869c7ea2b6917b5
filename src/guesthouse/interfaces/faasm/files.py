"""Files: a root per tenant, shared ``faasm://`` files in it, and the descriptor calls of 2.7.

Everything else about files is WASI; this only says which directories a function finds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from guesthouse.calls import Call
from guesthouse.engine import HostFunction, ModuleInfo, Native
from guesthouse.errors import Trap
from guesthouse.interfaces.contract import LoadedGuest
from guesthouse.interfaces.faasm import state_use
from guesthouse.interfaces.faasm.files_native import FUNCTIONS, WASI_PATH_OPEN, read_beneath
from guesthouse.interfaces.faasm.io import text_at
from guesthouse.interfaces.faasm.rows import row
from guesthouse.interfaces.faasm.session import session_of
from guesthouse.interfaces.wasi.state import Root
from guesthouse.resources.files import FileTrees

__all__ = ["CAPABILITY", "ROWS", "FileView"]

CAPABILITY = "faasm.files"

#: Imports that show that a module looks at files at all.
_WITNESSES = ("path_open", "fd_prestat_get", "path_filestat_get")


class FileView:
    """The tree of a guest's tenant, as its functions see it.

    Args:
        guest: the guest; it was granted :data:`CAPABILITY`.

    Attributes:
        directories: guest path to directory, in the order of the descriptors (3 is ``/``, 4 is ``.``).
    """

    def __init__(self, guest: LoadedGuest) -> None:
        trees: FileTrees = guest.service("files")
        self.tree = trees.tree(guest.tenant)
        names = ("/", ".") if looks_at_files(guest.info) else ()
        # Opened once, for all calls; all calls of a tenant count what they write in one account.
        self.directories: Mapping[str, Any] = {
            name: Root(self.tree.root, name, account=self.tree.account, limit=guest.limits.disk)
            for name in names
        }

    def measure(self) -> None:
        """See to it that the tenant's account is right, if the guest can write at all."""
        if self.directories:
            self.tree.usage()

    def read(self, path: bytes, most: int) -> bytes | None:
        """Return a file of at most ``most`` bytes, or ``None`` when it cannot be read."""
        # Opened for each of the few files: a call that goes on after its guest was unloaded finds them, too.
        try:
            root = os.open(self.tree.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return read_beneath(root, path, most)
        finally:
            os.close(root)


def looks_at_files(info: ModuleInfo) -> bool:
    """Say whether a module imports anything that takes paths."""
    return any(item.name in _WITNESSES for item in info.imports)


def write_state_from_file(call: Call, key: int, path: int) -> int:
    """Make a file's bytes the value of a key; return how many there are."""
    files = session_of(call).files
    name, where = text_at(call.instance, key), text_at(call.instance, path)
    function = "__faasm_write_state_from_file"
    if files is None:
        raise Trap("faasm.files was not granted", guest=call.guest, function=function)
    data = files.read(where, 1 << 32)
    if data is None:
        shown = where.decode("utf-8", "backslashreplace")
        raise Trap(f"{shown!r} is no file that can be read", guest=call.guest, function=function)
    state = state_use.session(call.instance)
    if state is None:
        raise Trap("faasm.state was not granted", guest=call.guest, function=function)
    state.write(name, data)
    return len(data)


ROWS: tuple[HostFunction, ...] = (
    row("dup", "i", "i", Native(FUNCTIONS["dup"]), "Copy a descriptor.", CAPABILITY),
    row("__wasi_fd_dup", "ii", "i", Native(FUNCTIONS["__wasi_fd_dup"]), "Copy a descriptor.", CAPABILITY),
    row("__faasm_write_state_from_file", "ii", "i", write_state_from_file, "Set from a file.", "faasm.state"),
    # Takes the place of WASI's where faasm.files is granted.
    HostFunction(
        CAPABILITY, "wasi_snapshot_preview1", "path_open", "iiiiiIIii", "i",
        Native(FUNCTIONS["path_open"], WASI_PATH_OPEN),
        "Open or create a file, and the directories of a shared one.",
    ),
)  # fmt: skip
