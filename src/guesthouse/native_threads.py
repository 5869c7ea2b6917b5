"""Threads that a library starts out of Python's sight, and how to outlive them.

The HTTP server answers from native threads of its own, and says that it has ended a moment before they
have.  One that asks for the interpreter while that shuts down takes the process with it.  Such threads carry
the name of the thread that started them: whoever starts a server names its thread, and in the end waits for
the name to be gone.
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

_TASKS = Path("/proc/self/task")
_LONGEST = 15  # bytes of a thread's name that the kernel keeps
_numbers = itertools.count(1)


def name_this_thread(prefix: str) -> str:
    """Give the calling thread, and the native ones that it starts, a name that nobody else has.

    Args:
        prefix: what the name begins with; a number follows.

    Returns:
        The name.
    """
    number = str(next(_numbers))
    name = prefix[: _LONGEST - len(number)] + number
    (_TASKS / str(threading.get_native_id()) / "comm").write_text(name, encoding="ascii")
    return name


def running(name: str) -> set[int]:
    """Return the kernel's ids of the threads of that name, without those that Python knows."""
    known = {thread.native_id for thread in threading.enumerate()}
    found = set()
    for task in _TASKS.iterdir():
        try:
            if (task / "comm").read_text(encoding="utf-8", errors="replace").strip() == name:
                found.add(int(task.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended in between
    return found - known


def wait_for_end(name: str, timeout: float = 2.0) -> bool:
    """Wait until no native thread of that name is left.

    Args:
        name: what :func:`name_this_thread` returned.
        timeout: seconds to wait at most.

    Returns:
        Whether all have ended.
    """
    until = time.monotonic() + timeout
    while running(name):
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
