"""Finds the commands, runs one, and turns what went wrong into one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.metadata
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence

import cyclopts

from guesthouse.cli import commands, exits, output
from guesthouse.errors import Error


def build(*, eager: bool = False) -> cyclopts.App:
    """Return the application: every module below ``commands`` is a command of its name.

    Args:
        eager: import all commands now, so that the help can say what each does; otherwise only the one that
            is used is imported, which keeps ``run`` quick.
    """
    app = cyclopts.App(
        name="guesthouse",
        help="One WebAssembly host for Pulp, Faasm, grafOS, WASI/WASIX and Ark guests.",
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # ours to report
        console=output.console(),
    )
    for found in pkgutil.iter_modules(commands.__path__):
        name = found.name.replace("_", "-")
        if eager:
            app.command(importlib.import_module(f"{commands.__name__}.{found.name}").command, name=name)
        else:
            app.command(f"{commands.__name__}.{found.name}:command", name=name)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code (DESIGN section 7): the guest's own for ``run``; 124 deadline, 125 refused by the host,
        134 trap, 130 interrupted, 2 for a command line that cannot be understood.
    """
    if arguments is not None:
        return _run(list(arguments))
    _open_streams()
    code = _run(sys.argv[1:])
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left is the interpreter's
    if code == exits.INTERRUPTED:
        # A compilation cannot be stopped, and the interpreter would wait for it: leave without.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def _open_streams() -> None:
    """Put the null device where the caller closed a standard stream.

    Otherwise the next file that the host opens takes its number, and a guest that prints writes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _run(words: list[str]) -> int:
    try:
        answer = build(eager=not words or words[0].startswith("-"))(
            words, exit_on_error=False, print_error=False
        )
        sys.stdout.flush()  # what cannot be written is an error, too
    except cyclopts.CycloptsError as error:
        output.complain(f"{error}\n`guesthouse {_command(words)}--help` shows how it is used")
        return exits.USAGE
    except KeyboardInterrupt:
        output.complain("interrupted")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone: say nothing, and keep the interpreter from trying again.
        _discard_output()
        return exits.PIPE
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            _discard_output()
        output.complain(_told(error))
        return exits.REFUSED
    except (Error, ValueError) as error:
        output.complain(str(error))
        return exits.of(error)
    except MemoryError:
        output.complain("this process may have no more memory; raise the limit (`ulimit -v`)")
        return exits.REFUSED
    except Exception as error:
        # What a capability written by somebody raised, or a fault of ours.
        if os.environ.get("GUESTHOUSE_DEBUG"):
            raise
        if str(error) == "can't start new thread":
            output.complain("no more threads can be started; raise the limit on processes (`ulimit -u`)")
            return exits.REFUSED
        output.complain(f"{type(error).__name__}: {error}\nGUESTHOUSE_DEBUG=1 shows where it was raised")
        return exits.REFUSED
    return answer if isinstance(answer, int) else 0


#: What a file system answers that takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Which limit of the shell speaks through an error.
_LIMITS = {errno.EMFILE: "`ulimit -n`", errno.EAGAIN: "`ulimit -u`", errno.ENOMEM: "`ulimit -v`"}


def _told(error: OSError) -> str:
    """Say which file, and what about it."""
    if error.strerror is None:
        return str(error)
    if error.filename is not None:
        names = [
            os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
        ]
        return f"{' -> '.join(names) or error.filename}: {error.strerror}"
    if error.errno in _FULL:
        return f"the output cannot be written: {error.strerror}"
    limit = _LIMITS.get(error.errno or 0)
    return f"{error.strerror}; raise the limit ({limit})" if limit else error.strerror


def _discard_output() -> None:
    """Keep the interpreter from writing again what could not be written."""
    with contextlib.suppress(OSError, ValueError):  # no output at all, or one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    try:
        return importlib.metadata.version("guesthouse")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown (not installed)"


def _command(words: Sequence[str]) -> str:
    known = {found.name for found in pkgutil.iter_modules(commands.__path__)}
    return f"{words[0]} " if words and words[0] in known else ""
