"""``demo.greet``: the sample capability (spec/pulp.md 3.11)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Extension, take

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall


class Greet(Extension):
    """Prints a greeting from a cell."""

    name = "demo.greet"
    summary = "Prints a greeting; the sample of how a capability is written."

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (self.row("demo_greet", "ii", self.greet, "Print a greeting to whoever is named."),)

    def greet(self, call: CellCall, pointer: int, length: int) -> int:
        """Print ``[demo.greet] cell=<name> hello, <text>!``."""
        text = take(call, pointer, length).decode("utf-8", "replace")
        printable = "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
        )
        print(f"[demo.greet] cell={call.guest} hello, {printable}!", file=sys.stdout, flush=True)
        return memory.OK
