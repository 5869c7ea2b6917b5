"""Input and output of a tasklet in its own memory (spec fabric.md 7)."""

from __future__ import annotations

from typing import NamedTuple

from guesthouse.engine import Instance
from guesthouse.errors import MemoryLimit

#: Type of an entry that takes input and output buffers: (in_ptr, in_len, out_ptr, out_cap) -> i32.
ENTRY_TYPE = ("iiii", "i")
_PAGE = 65_536
_ALIGN = 16


class Finished(NamedTuple):
    """How an entry came back.

    Attributes:
        code: 0, or the negative value it returned.
        output: what it wrote; ``None`` when it claims more than there was room for.
    """

    code: int
    output: bytes | None


def call_entry(instance: Instance, entry: str, data: bytes, room: int) -> Finished:
    """Call an entry with its input placed and room for its output.

    Both go where the guest's ``ark_alloc(size, align)`` says, or into pages that are added for them.

    Args:
        instance: a started instance.
        entry: an export of :data:`ENTRY_TYPE`.
        data: the input.
        room: bytes the output may have.

    Raises:
        MemoryLimit: there is no memory for input and output.
        CallError: the entry ended without a result.
    """
    source, target = _place(instance, len(data), room)
    instance.write(source, data)
    answer = instance.invoke(entry, source, len(data), target, room)
    answer -= (answer & 0x8000_0000) << 1  # as a signed number
    if answer < 0:
        return Finished(answer, b"")
    if answer > room:
        return Finished(0, None)
    return Finished(0, instance.read(target, answer))


def _place(instance: Instance, data: int, room: int) -> tuple[int, int]:
    """Find room for input and output: their addresses."""
    if instance.signature("ark_alloc") == ("ii", "i"):
        return instance.invoke("ark_alloc", data, _ALIGN), instance.invoke("ark_alloc", room, _ALIGN)
    data_size = -(-data // _ALIGN) * _ALIGN
    pages = -(-(data_size + room) // _PAGE)
    before = instance.memory_size
    if pages and instance.grow(pages) < 0:
        raise MemoryLimit(before + pages * _PAGE, before)
    return before, before + data_size
