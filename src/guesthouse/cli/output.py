"""What commands print: tables or JSON on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guesthouse.engine import Progress
from guesthouse.limits import format_duration


class _Output(Console):
    """Standard output, whose reader may go away."""

    def on_broken_pipe(self) -> None:
        """Let it be told by its exit code (see `main`), as for output that is not a table."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output, as it is now."""
    # Without a terminal there is no width to fit into: lines are as long as they are.
    return _Output(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 500)


def errors() -> Console:
    """Return a console on standard error, as it is now."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Print what went wrong."""
    with contextlib.suppress(OSError):  # nobody is there to be told
        errors().print(f"[bold red]guesthouse:[/] {escape(message)}")


def note(message: str) -> None:
    """Print what is worth knowing beside the result."""
    errors().print(f"[dim]{escape(message)}[/]")


def print_json(value: Any) -> None:
    """Print a value as JSON: indented for people, on one line for programs."""
    sys.stdout.write(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=str) + "\n")


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None
) -> None:
    """Print rows under their columns; what a row does not have stays empty."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row.get(column))) for column in columns))
    console().print(table)


def print_facts(facts: Mapping[str, Any], *, title: str | None = None) -> None:
    """Print names and values, one pair per line; empty values are left out."""
    out = console()
    if title:
        out.print(f"[bold]{escape(title)}[/]")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if value not in (None, "", [], {}, ()):
            out.print(f"  [dim]{escape(name.ljust(width))}[/]  {escape(_cell(value))}")


def write_file(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all; what is no regular file (a device, a pipe) is written to.

    Raises:
        OSError: it cannot be written; the error names it.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.write(data)
            return
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value))
    return str(value)


@contextlib.contextmanager
def compiling(name: str) -> Iterator[Progress | None]:
    """Show that a module compiles and for how long; nothing where nobody looks.

    Yields:
        What ``host.load`` takes as ``progress``.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with errors().status(f"loading {escape(name)}") as status:
        yield lambda seconds: status.update(f"compiling {escape(name)}: {format_duration(seconds)}")
