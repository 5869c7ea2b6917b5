"""What cells print goes to the log, line by line, with the cell's name (spec/pulp.md 8.7)."""

from __future__ import annotations

from guesthouse.observe import log

_LONGEST_LINE = 4096


class Printer:
    """Takes what a cell writes to one of its streams.

    Args:
        cell: the cell.
        stream: ``stdout`` or ``stderr``.
    """

    def __init__(self, cell: str, stream: str) -> None:
        self._cell, self._stream = cell, stream
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        """Log the complete lines; what is left waits for its end, up to 4096 bytes."""
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            text = line[:_LONGEST_LINE].decode("utf-8", "replace")
            log.info("cell output", cell=self._cell, stream=self._stream, text=text)
