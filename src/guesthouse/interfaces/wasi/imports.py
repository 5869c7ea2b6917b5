"""The table of WASI preview 1 and of its forerunner ``wasi_unstable`` (spec wasix 3.1 and 3.2)."""

from __future__ import annotations

from guesthouse.engine import HostFunction, Native
from guesthouse.interfaces.wasi import basics, files, listing, paths, polls, sockets, streams

PREVIEW1 = "wasi_snapshot_preview1"
UNSTABLE = "wasi_unstable"

#: Addresses of the native functions by name.
ADDRESSES: dict[str, int] = {
    name: address
    for area in (basics, files, listing, paths, polls, sockets, streams)
    for name, address in area.FUNCTIONS.items()
}

#: Name, parameters, and one line of prose; all but ``proc_exit`` return an errno.
FUNCTIONS: tuple[tuple[str, str, str], ...] = (
    ("args_get", "ii", "Write the arguments and the pointers to them."),
    ("args_sizes_get", "ii", "Write the number of arguments and their size in bytes."),
    ("environ_get", "ii", "Write the environment and the pointers to its entries."),
    ("environ_sizes_get", "ii", "Write the number of environment entries and their size in bytes."),
    ("clock_res_get", "ii", "Write the resolution of a clock in nanoseconds."),
    ("clock_time_get", "iIi", "Write the time of a clock in nanoseconds."),
    ("fd_advise", "iIIi", "Tell how a range of a file will be used."),
    ("fd_allocate", "iII", "Make room for a range of a file."),
    ("fd_close", "i", "Close a descriptor."),
    ("fd_datasync", "i", "Wait until a file's data is on disk."),
    ("fd_fdstat_get", "ii", "Write type, flags and rights of a descriptor."),
    ("fd_fdstat_set_flags", "ii", "Set the flags of a descriptor."),
    ("fd_fdstat_set_rights", "iII", "Drop rights of a descriptor."),
    ("fd_filestat_get", "ii", "Write the status of an open file."),
    ("fd_filestat_set_size", "iI", "Cut or extend an open file."),
    ("fd_filestat_set_times", "iIIi", "Set the times of an open file."),
    ("fd_pread", "iiiIi", "Read at an offset, leaving the position alone."),
    ("fd_prestat_get", "ii", "Tell about a preopened directory."),
    ("fd_prestat_dir_name", "iii", "Write the name of a preopened directory."),
    ("fd_pwrite", "iiiIi", "Write at an offset, leaving the position alone."),
    ("fd_read", "iiii", "Read at the position."),
    ("fd_readdir", "iiiIi", "Write entries of a directory, from a cookie on."),
    ("fd_renumber", "ii", "Move a descriptor onto the number of another, closing that."),
    ("fd_seek", "iIii", "Move the position of a file."),
    ("fd_sync", "i", "Wait until a file is on disk."),
    ("fd_tell", "ii", "Write the position of a file."),
    ("fd_write", "iiii", "Write at the position."),
    ("path_create_directory", "iii", "Create a directory."),
    ("path_filestat_get", "iiiii", "Write the status of a file by path."),
    ("path_filestat_set_times", "iiiiIIi", "Set the times of a file by path."),
    ("path_link", "iiiiiii", "Give a file one more name."),
    ("path_open", "iiiiiIIii", "Open or create a file or directory."),
    ("path_readlink", "iiiiii", "Write where a symbolic link points to."),
    ("path_remove_directory", "iii", "Remove an empty directory."),
    ("path_rename", "iiiiii", "Rename a file or directory."),
    ("path_symlink", "iiiii", "Create a symbolic link."),
    ("path_unlink_file", "iii", "Remove a name of a file."),
    ("poll_oneoff", "iiii", "Wait for clocks and descriptors."),
    ("proc_exit", "i", "End the program with a code."),
    ("proc_raise", "i", "Send the program a signal."),
    ("random_get", "ii", "Write random bytes."),
    ("sched_yield", "", "Let other threads run."),
    ("sock_accept", "iii", "Accept a connection."),
    ("sock_recv", "iiiiii", "Receive from a socket."),
    ("sock_send", "iiiii", "Send to a socket."),
    ("sock_shutdown", "ii", "Shut down one or both directions of a socket."),
)

#: Functions whose layout or numbers differ in snapshot 0; their native code is told so by its `env` word.
_DIFFERENT = {"fd_seek", "fd_filestat_get", "path_filestat_get", "poll_oneoff"}


def row(module: str, name: str, params: str, summary: str, *, unstable: bool = False) -> HostFunction:
    """Return the row of one function of preview 1 under an import module of any name.

    Args:
        module: import module.
        name: as in :data:`FUNCTIONS`.
        params: as there.
        summary: as there.
        unstable: with the layouts of snapshot 0.
    """
    native = Native(ADDRESSES[name], int(unstable and name in _DIFFERENT))
    # Paths reach directories that were given and nothing else, so they link without a grant, too.
    files = name.startswith("path_")
    return HostFunction(
        "wasi.files" if files else "",
        module,
        name,
        params,
        "" if name == "proc_exit" else "i",
        native,
        summary,
        native if files else None,
    )


IMPORTS: tuple[HostFunction, ...] = tuple(row(PREVIEW1, *entry) for entry in FUNCTIONS) + tuple(
    row(UNSTABLE, *entry, unstable=True) for entry in FUNCTIONS if entry[0] != "sock_accept"
)
