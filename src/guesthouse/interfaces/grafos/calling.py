"""How a Python host function of the fabric is called: ranges first, refusals as codes (spec fabric.md 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from guesthouse.errors import CallError
from guesthouse.interfaces.grafos.side import side_of
from guesthouse.observe import log
from guesthouse.resources.leases.status import INTERNAL, INVALID_ARGUMENT, LeaseError


class Range(NamedTuple):
    """Guest memory that a function uses.

    Attributes:
        pointer: which argument holds its address.
        length: which argument holds its length; -1 where `size` alone tells it.
        size: bytes, per unit of length where there is one.
        result: the function writes a result there, so 0 is no address.
        optional: 0 is allowed and means that the result is not wanted.
    """

    pointer: int
    length: int = -1
    size: int = 1
    result: bool = False
    optional: bool = False


def data(pointer: int, length: int) -> Range:
    """Bytes whose number is another argument."""
    return Range(pointer, length)


def result(pointer: int, size: int, *, optional: bool = False) -> Range:
    """A result of a fixed size."""
    return Range(pointer, size=size, result=True, optional=optional)


def fits(ranges: Sequence[Range], args: Sequence[int], memory: int) -> bool:
    """Whether all ranges lie inside guest memory and no result is to go to the null address."""
    for pointer, length, size, is_result, optional in ranges:
        address = args[pointer]
        if is_result and address == 0:
            if optional:
                continue
            return False
        if address + (size if length < 0 else size * args[length]) > memory:
            return False
    return True


def guarded(function: Callable[..., int], ranges: Sequence[Range]) -> Callable[..., int]:
    """Wrap ``function(side, instance, *args)`` as a host function.

    Args:
        function: returns a status, and may raise :class:`LeaseError` instead.
        ranges: the guest memory that it uses.
    """

    def answer(call: Any, *args: int) -> int:
        side, instance = side_of(call)
        if not fits(ranges, args, instance.memory_size):
            return INVALID_ARGUMENT
        try:
            return function(side, instance, *args)
        except LeaseError as error:
            return error.code
        except CallError:  # the call's own end: deadline, cancellation
            raise
        except Exception as error:  # noqa: BLE001 - a fault of a backend is the guest's -11, not its end
            log.warning("fabric_fault", function=function.__name__, error=repr(error))
            return INTERNAL

    return answer
