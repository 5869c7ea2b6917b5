"""How a guest ends early on purpose, and what a bad guest pointer looks like to Python code."""

from __future__ import annotations

from guesthouse.errors import Trap


class Exit(Exception):
    """The guest left with an exit code (``proc_exit`` and its kin).

    A Python host function raises it to end the guest; :meth:`Instance.invoke` raises it to say that the
    guest has ended that way.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: int = 0) -> None:
        self.code = code
        super().__init__(f"the guest left with code {code}")


class OutOfBounds(Trap):
    """A range that the guest named is not inside its memory.

    Attributes:
        pointer, length: the range, in bytes.
        size: size of the memory, in bytes.
    """

    def __init__(self, pointer: int, length: int, size: int) -> None:
        self.pointer, self.length, self.size = pointer, length, size
        super().__init__(
            f"guest range [{pointer:#x}, {pointer:#x} + {length}) is outside its memory of {size} bytes"
        )
