"""Moving bytes between host and cell under Pulp's ownership rules (spec/pulp.md 2.3).

Codes that imports answer with are those of spec/pulp.md 3.2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from guesthouse.engine import Exit, OutOfBounds
from guesthouse.errors import Trap
from guesthouse.interfaces.pulp.errors import AllocationFailed, NotAProvider

if TYPE_CHECKING:
    from guesthouse.engine import Instance

OK = 0
EMPTY = 1
BAD_RANGE = 2
UNDECODABLE = 3
FAILED = 4
UNENCODABLE = 5
NO_MEMORY = 7
UNWRITABLE = 8
DENIED = 11
ABSENT = 99

SMALLEST_BLOCK = 33
"""Guests built with Go >= 1.25 keep blocks of up to 32 bytes on a stack that moves under them."""

_PAIR = struct.Struct("<II")


def allocate(instance: Instance, size: int, cell: str) -> tuple[int, int]:
    """Ask the guest for a block.

    Args:
        instance: the guest.
        size: bytes that will be written, at least 1.
        cell: for messages.

    Returns:
        The address, and the size that was asked for: the one to free it with.

    Raises:
        NotAProvider: the guest has no ``pulp_alloc``.
        AllocationFailed: it trapped or returned null.
        CallError: the call is over (deadline, cancellation, fuel).
    """
    asked = max(size, SMALLEST_BLOCK)
    if not instance.exports("pulp_alloc"):
        raise NotAProvider(cell, "pulp_alloc")
    try:
        pointer: int = instance.invoke("pulp_alloc", asked)
    except Trap as error:
        raise AllocationFailed(f"pulp_alloc trap: {error.reason}", guest=cell) from error
    if not pointer:
        raise AllocationFailed("pulp_alloc returned null", guest=cell)
    return pointer, asked


def free(instance: Instance, pointer: int, asked: int) -> None:
    """Give a block back; a guest without a fitting ``pulp_free`` keeps it, and its faults are ignored."""
    if not pointer or not instance.usable or instance.signature("pulp_free") != ("ii", ""):
        return
    try:
        instance.invoke("pulp_free", pointer, asked)
    except (Trap, Exit):
        return


def place(instance: Instance, data: bytes, cell: str) -> tuple[int, int]:
    """Allocate a block and write bytes into it; nothing is allocated for no bytes.

    Returns:
        Address and the size to free with; (0, 0) for no bytes.

    Raises:
        CallError: as `allocate`; also when the block is not inside the memory.
    """
    if not data:
        return 0, 0
    pointer, asked = allocate(instance, len(data), cell)
    try:
        instance.write(pointer, data)
    except OutOfBounds as error:
        raise AllocationFailed("pulp_alloc returned a block outside the memory", guest=cell) from error
    return pointer, asked


def deliver(call: Any, data: bytes, pointer_out: int, length_out: int) -> int:
    """Hand the result of an import to the guest that called it, in a block that the guest owns.

    Args:
        call: the cell's call, as host functions receive it.
        data: the result; no bytes are delivered as (0, 0).
        pointer_out: where the guest wants the address, as u32.
        length_out: where it wants the length, as u32.

    Returns:
        0, 7 (no block) or 8 (an address is outside the memory).

    Raises:
        CallError: the call is over (deadline, cancellation, fuel).
    """
    code: int = call.passage.give(data, pointer_out, length_out)
    return code


def pair(instance: Instance, address: int) -> tuple[int, int]:
    """Read two u32, as entry points leave (pointer, length) in their out block."""
    pointer, length = _PAIR.unpack(instance.read(address, 8))
    return pointer, length
