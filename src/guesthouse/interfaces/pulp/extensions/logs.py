"""``log``: cells write to the host's log (an addition of this host; spec/pulp.md 8.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.extension import Extension, Refused, take
from guesthouse.interfaces.pulp.printing import pieces
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

LEVELS = ("debug", "info", "warning", "error")
LONGEST = 8192


class Log(Extension):
    """Lines of cells in the log, with their level and the cell's name."""

    name: ClassVar[str] = "log"
    summary: ClassVar[str] = "Writes lines to the host's log."

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (
            self.row(
                "log_write", "iii", self.write, "Log text at a level: 0 debug, 1 info, 2 warning, 3 error."
            ),
        )

    def write(self, call: CellCall, level: int, pointer: int, length: int) -> int:
        """Serve ``log_write``: 1 no text, 2 bad range, 4 no such level; text is cut at 8 KiB."""
        if level >= len(LEVELS):
            raise Refused(memory.FAILED, f"level {level}")
        text = take(call, pointer, min(length, LONGEST)).decode("utf-8", "replace")
        for piece in pieces(text):
            getattr(log, LEVELS[level])("cell log", cell=call.guest, text=piece)
        return memory.OK
