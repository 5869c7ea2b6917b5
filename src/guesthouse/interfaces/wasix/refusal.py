"""How a WASIX function says no."""

from __future__ import annotations


class Refusal(Exception):
    """Ends a host function with a number for the guest.

    Attributes:
        errno: the number, an errno or a bus error as the function has it.
    """

    def __init__(self, errno: int) -> None:
        self.errno = errno
        super().__init__(f"errno {errno}")
