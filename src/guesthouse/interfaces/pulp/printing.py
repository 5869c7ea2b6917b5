"""What cells print goes to the log, line by line, with the cell's name (spec/pulp.md 8.7)."""

from __future__ import annotations

from collections.abc import Iterator

from guesthouse.observe import log

#: Bytes that wait for the end of their line, and characters of one entry.
_LONGEST_LINE, _LONGEST_PIECE = 4096, 1000


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
        """Log the complete lines, longer ones in pieces; what is left waits for its end."""
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._log(line)

    def flush(self) -> None:
        """Log what has no end yet: the cell's last words before it trapped, for example."""
        rest, self._rest = self._rest, b""
        if rest:
            self._log(rest)

    def _log(self, line: bytes) -> None:
        for text in pieces(line.decode("utf-8", "replace")):
            log.info("cell output", cell=self._cell, stream=self._stream, text=text)


def pieces(text: str) -> Iterator[str]:
    """Cut a text so that the log, which shortens long values, shows all of it; blank text is one piece."""
    for at in range(0, len(text) or 1, _LONGEST_PIECE):
        yield text[at : at + _LONGEST_PIECE]
