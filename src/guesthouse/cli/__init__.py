"""The command line.  A command is one module below :mod:`guesthouse.cli.commands`, found by itself."""

from guesthouse.cli.main import main

__all__ = ["main"]
