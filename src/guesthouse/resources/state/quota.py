"""How much state one tenant may keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds of one tenant's state, on one host (``keys``, ``local_bytes``) and in the global tier.

    Attributes:
        keys: values that the host holds at a time.
        local_bytes: bytes of values that the host holds, each rounded up to whole pages of 4096.
        global_bytes: bytes of all values in the global tier, each with 256 bytes of book-keeping.
        list_bytes: bytes of all appended elements, each with 64 bytes of book-keeping.
    """

    keys: int = 100_000
    local_bytes: int = 1 << 30
    global_bytes: int = 4 << 30
    list_bytes: int = 256 << 20
