"""What a call gives back: outcome, receipt, result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guesthouse.errors import GuestFailed


class Outcome(NamedTuple):
    """What a runner returns for a guest that ran to its end.

    Attributes:
        code: the guest's return code; 0 is success.
        output: what the guest wrote.
    """

    code: int
    output: bytes


_NOTHING: Mapping[str, int] = {}


class Receipt:
    """What a call cost.

    The scheduler fills in times, bytes and children; the runner fills in what only it can know, through
    :meth:`Call.receipt <guesthouse.calls.call.Call>`.

    Attributes:
        wall_s: seconds from the start of the call to its end, waiting for children included.
        queued_s: seconds between submission and start.
        guest_s: seconds that the guest's own instance was entered.
        fuel: instructions metered, ``None`` when the call was not metered.
        peak_memory: most bytes of guest memory at any time.
        host_calls: host functions called, by name.
        bytes_in: bytes of input.
        bytes_out: bytes of output.
        children: ids of the calls that this one made, in order.
        refusals: host functions that the guest called without holding their capability.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "children",
        "fuel",
        "guest_s",
        "host_calls",
        "peak_memory",
        "queued_s",
        "refusals",
        "wall_s",
    )

    def __init__(self) -> None:
        self.wall_s: float = 0.0
        self.queued_s: float = 0.0
        self.guest_s: float = 0.0
        self.fuel: int | None = None
        self.peak_memory: int = 0
        self.host_calls: Mapping[str, int] = _NOTHING
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.children: tuple[int, ...] = ()
        self.refusals: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return all fields by name, for JSON."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}

    def __repr__(self) -> str:
        return f"Receipt({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"


@dataclass(slots=True)
class Result:
    """The stable end of a call.

    Attributes:
        call_id: id of the call.
        code: the guest's return code; 1 when ``error`` is set.
        output: what the guest wrote; empty when ``error`` is set.
        error: why the call ended early, ``None`` when the guest ran to its end.
        receipt: what it cost.
        guest: name of the guest.
    """

    call_id: int
    code: int
    output: bytes
    error: Exception | None
    receipt: Receipt
    guest: str = ""

    @property
    def ok(self) -> bool:
        """True when the guest ran to its end and returned 0."""
        return self.error is None and self.code == 0

    def without_output(self) -> Result:
        """Return the same without the bytes."""
        return Result(self.call_id, self.code, b"", self.error, self.receipt, self.guest)

    def unwrap(self) -> bytes:
        """Return the output of a successful call.

        Raises:
            Exception: what ended the call early, as it was raised.
            GuestFailed: the guest returned a non-zero code.
        """
        if self.error is not None:
            raise self.error
        if self.code:
            failure = GuestFailed(self.code, output=self.output, guest=self.guest or None)
            failure.receipt = self.receipt
            raise failure
        return self.output
