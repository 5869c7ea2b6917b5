"""Options that several commands share: how they are named, read and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from guesthouse.limits import Limits
from guesthouse.reading import MOST, drain, read_whole


def flag(text: str) -> Parameter:
    """Return a switch that is off unless given."""
    return Parameter(negative="", show_default=False, help=text)


def repeatable(text: str, name: str | None = None) -> Parameter:
    """Return an option that may be given several times, with one value each."""
    return Parameter(
        name=name, negative="", show_default=False, consume_multiple=False, help=f"{text}; repeatable."
    )


Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON.")]
Grants = Annotated[Sequence[str], repeatable("Grant a capability, or an interface's own ones", "--grant")]
Wall = Annotated[str | None, Parameter(help="Wall time the call may take, such as 500ms or 2s.")]
Memory = Annotated[str | None, Parameter(help="Memory the guest may have, such as 64MiB.")]
Fuel = Annotated[int | None, Parameter(help="Instructions the call may use; not metered by default.")]
Disk = Annotated[str | None, Parameter(help="By how much files may grow, such as 1GiB.")]
Input = Annotated[
    str | None, Parameter(allow_leading_hyphen=True, help="File with the input, - for standard input.")
]
Receipt = Annotated[bool, flag("Print what the call cost, on standard error.")]


def limits(wall: str | None, memory: str | None, fuel: int | None, disk: str | None = None) -> Limits:
    """Return the default limits with those that were given.

    Raises:
        ValueError: a value is no size or duration.
    """
    given = {"wall": wall, "memory": memory, "fuel": fuel, "disk": disk}
    return Limits(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # checked there


def read_input(source: str | None, most: int = MOST) -> bytes | None:
    """Return the input a user names, ``None`` when there is none.

    Args:
        source: a path, ``-`` for standard input, or ``None``.
        most: bytes that are accepted.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    if source is None:
        return None
    return drain(sys.stdin.buffer, "standard input", most) if source == "-" else read_whole(source, most)


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return an environment from ``K=V`` pairs.

    Raises:
        ValueError: a pair has no ``=`` or no name.
    """
    result = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--env {pair}: write it as NAME=VALUE")
        result[name] = value
    return result


def directories(specs: Sequence[str]) -> dict[str, str]:
    """Return preopened directories from ``HOST:GUEST[:ro]``, as guest path to host path (``…:ro`` kept).

    ``HOST`` alone is seen by the guest under the same path.

    Raises:
        ValueError: the host's directory does not exist, or one guest path is named twice.
    """
    result: dict[str, str] = {}
    for spec in specs:
        rest, read_only = (spec[:-3], ":ro") if spec.endswith(":ro") else (spec, "")
        host, _, guest = rest.partition("::" if "::" in rest else ":")  # two: as others have it
        if not host or not Path(host).is_dir():
            raise ValueError(
                f"--dir {spec}: there is no directory {host!r}; write it as HOST:GUEST or HOST:GUEST:ro"
            )
        guest = guest or host
        if guest in result:
            raise ValueError(f"--dir {spec}: {guest!r} is named twice")
        result[guest] = str(Path(host).resolve()) + read_only
    return result
