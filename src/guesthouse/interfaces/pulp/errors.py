"""What can go wrong with a cell, in Pulp's words (spec/pulp.md 5.1).

Every class is a leaf of the tree in `guesthouse.errors`; the texts are those that Pulp's users know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from guesthouse.errors import CallError, Error, GuestFailed, LoadError, UnknownCapability

MESSAGE_LIMIT = 8 << 20
"""Largest envelope, function name, argument or response, in bytes."""

AnyError = TypeVar("AnyError", LoadError, CallError)


class UnknownCellCapability(UnknownCapability):
    """A cell declares a capability that nobody registered.

    Attributes:
        cell: the cell.
    """

    def __init__(self, cell: str, capability: str, *, suggestion: str | None = None) -> None:
        super().__init__(capability, suggestion=suggestion, guest=cell)
        self.cell = cell
        mend = f'; did you mean "{suggestion}"?' if suggestion else ""
        self.message = f'cell "{cell}" declares unknown capability "{capability}"{mend}'

    def __str__(self) -> str:
        return self.message


class BadExports(LoadError):
    """A cell lacks required exports, or exports one with another type.

    Attributes:
        missing: names of the absent exports, in Pulp's order.
    """

    def __init__(self, message: str, *, cell: str, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing
        super().__init__(message, guest=cell)


class CellFailed(GuestFailed):
    """An entry point returned a code that is not 0.

    Attributes:
        detail: what the guest said about it, or nothing.
    """

    def __init__(self, cell: str, function: str, code: int, detail: str = "") -> None:
        super().__init__(code, guest=cell, function=function)
        self.detail = detail
        self.message = f"{function} returned {code}" + (f": {detail}" if detail else "")

    def __str__(self) -> str:
        return f"{self.message} (cell {self.guest!r})"


class CellClosed(CallError):
    """The cell is closed, or its instance has ended and was not replaced."""

    def __init__(self, message: str, *, cell: str) -> None:
        super().__init__(message, guest=cell)

    def __str__(self) -> str:
        return self.message


class NotAProvider(CallError):
    """The cell does not export what the call needs, such as ``pulp_on_call``.

    Attributes:
        export: the absent export.
    """

    def __init__(self, cell: str, export: str) -> None:
        super().__init__(f"cell does not export {export}", guest=cell)
        self.export = export


class NoPostReturn(NotAProvider):
    """A typed call needs the export ``pulp_post_return``."""

    def __init__(self, cell: str) -> None:
        super().__init__(cell, "pulp_post_return")


class AllocationFailed(CallError):
    """``pulp_alloc`` is missing, trapped or returned null."""


class HostFunctionFailed(CallError):
    """A host function raised something that is no error of this host; its cause is the exception."""

    def __init__(self, cell: str, function: str, error: BaseException) -> None:
        message = f"a host function raised {type(error).__name__}: {error}"
        super().__init__(message, guest=cell, function=function)


@contextmanager
def no_strangers(cell: str, function: str) -> Iterator[None]:
    """Turn exceptions of host functions by others into `HostFunctionFailed`.

    An embedder that enters a cell gets them unchanged; what runs cells by itself must survive them.
    """
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise known(error, cell, function) from error


def known(error: Exception, cell: str, function: str) -> Error:
    """Return an error of this host as it is, and a stranger as `HostFunctionFailed`."""
    if isinstance(error, Error):
        return error
    failure = HostFunctionFailed(cell, function, error)
    failure.__cause__ = error
    return failure


class MessageTooLarge(CallError):
    """A message between host and cell is larger than Pulp allows.

    Attributes:
        size: its size in bytes.
    """

    def __init__(self, cell: str, size: int) -> None:
        super().__init__(f"cell message exceeds {MESSAGE_LIMIT}-byte limit ({size} bytes)", guest=cell)
        self.size = size


def prefixed(error: AnyError, prefix: str) -> AnyError:
    """Put the stage that failed in front of an error's message; its type and fields stay."""
    if not error.message.startswith(prefix):
        error.message = f"{prefix}: {error.message}"
    return error
