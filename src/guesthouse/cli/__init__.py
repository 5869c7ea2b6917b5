"""The command line.  A command is one module below :mod:`guesthouse.cli.commands`, found by itself."""

import os
import signal
from collections.abc import Sequence

__all__ = ["main"]

#: What a shell tells of a process that ctrl-C has ended; also in `exits`, which is not imported this early.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; see :func:`guesthouse.cli.dispatch.main`.

    Args:
        arguments: without the program's name; those of the process by default. Then ctrl-C ends the process
            quietly while the command line is still being imported.
    """
    own = arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if own:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from guesthouse.cli import dispatch

    try:
        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return dispatch.main(arguments)
    except KeyboardInterrupt:
        if not own:
            raise
        os._exit(_INTERRUPTED)  # in between
