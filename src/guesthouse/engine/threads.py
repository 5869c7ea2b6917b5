"""Whether threads can be started, asked before somebody starts them who would end the process otherwise."""

from __future__ import annotations

import threading

from guesthouse.errors import ResourceError


def require_threads(count: int, purpose: str) -> None:
    """Start so many threads at once, and let them end.

    Args:
        count: how many.
        purpose: who needs them, for the error.

    Raises:
        ResourceError: the system does not start so many.
    """
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise ResourceError(
            f"{purpose} needs {count}, and the system starts no more for this process; raise the limit on "
            "processes (`ulimit -u`, or that of the container)",
            resource="threads",
        ) from None
    finally:
        over.set()
        for thread in started:
            thread.join()
