"""What a Faasm call carries beside input and name: the fields of the reference's message (spec 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.calls import Call, Result


@dataclass(frozen=True, slots=True)
class Message:
    """Payload of a call of a Faasm function; children inherit all of it but the pointer.

    Attributes:
        pointer: index of a table function to run instead of the function's entry.
        cmdline: command line, split at single spaces.
        py_user, py_func, py_entry: which Python function the Python runtime is to run.
        record_graph: whether the caller asked for the execution graph.
    """

    pointer: int | None = None
    cmdline: str = ""
    py_user: str = ""
    py_func: str = ""
    py_entry: str = ""
    record_graph: bool = False

    def child(self, *, pointer: int | None = None, py_entry: str | None = None) -> Message:
        """Return what a chained call carries."""
        if pointer is None and py_entry is None and self.pointer is None:
            return self
        return Message(
            pointer,
            self.cmdline,
            self.py_user,
            self.py_func,
            self.py_entry if py_entry is None else py_entry,
            self.record_graph,
        )


_PLAIN = Message()


def message_of(call: Call) -> Message:
    """Return the message of a call; an empty one when it was made by somebody who knows nothing of Faasm."""
    payload = call.payload
    return payload if isinstance(payload, Message) else _PLAIN


def signed(value: int) -> int:
    """Return an i32 with its sign, whether it has one already or not."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def output_of(result: Result) -> bytes:
    """Return the output that Faasm reports for a call, which is a text for one that threw (spec 5.1)."""
    if result.error is None:
        return result.output
    return f"Task {result.call_id} threw exception. What: {result.error}".encode()
