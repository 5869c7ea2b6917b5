"""How rows of the Faasm table are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from guesthouse.engine import Constant, HostFunction, Native, Trapping

#: Import module of everything but WASI (spec faasm 2.0).
ENV = "env"

#: Capabilities of this interface; ``""`` comes with it.
CHAIN = "faasm.chain"

#: WASI's number for "no such function", which its libc shows to guests as ENOSYS.
ENOSYS = 52


def row(
    name: str,
    params: str,
    results: str,
    implementation: Native | Constant | Trapping | Callable[..., Any],
    summary: str,
    capability: str = "",
) -> HostFunction:
    """Return one row of import module ``env``; type letters as in `guesthouse.engine.functions`."""
    return HostFunction(capability, ENV, name, params, results, implementation, summary)


def refused(
    names: Iterable[tuple[str, str, str]], why: str, capability: str = ""
) -> tuple[HostFunction, ...]:
    """Return rows of functions that link and end the call when called.

    Args:
        names: name, parameter letters and result letters of each.
        why: what the guest's user is told, after the function's name.
        capability: the capability that lets them link.
    """
    return tuple(
        row(name, params, results, Trapping(f"{name}: {why}"), f"Ends the call: {why}.", capability)
        for name, params, results in names
    )
