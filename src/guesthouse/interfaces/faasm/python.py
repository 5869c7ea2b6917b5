"""The Python fields of a call, for the Python runtime function (spec 2.4)."""

from __future__ import annotations

from guesthouse.calls import Call
from guesthouse.engine import HostFunction
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.message import message_of
from guesthouse.interfaces.faasm.rows import row


def get_py_user(call: Call, buffer: int, length: int) -> None:
    """Write the user of the Python function."""
    user = message_of(call).py_user
    if not user:
        raise Trap("the call names no Python user", guest=call.guest, function="__faasm_get_py_user")
    _write(call, user, buffer, length, "__faasm_get_py_user")


def get_py_func(call: Call, buffer: int, length: int) -> None:
    """Write the name of the Python function."""
    _write(call, message_of(call).py_func, buffer, length, "__faasm_get_py_func")


def get_py_entry(call: Call, buffer: int, length: int) -> None:
    """Write the entry within the Python function."""
    _write(call, message_of(call).py_entry, buffer, length, "__faasm_get_py_entry")


def _write(call: Call, text: str, buffer: int, length: int, function: str) -> None:
    data = text.encode() + b"\0"
    if len(data) > length:
        raise Trap(f"{len(data)} bytes do not fit into {length}", guest=call.guest, function=function)
    call.instance.write(buffer, data)


ROWS: tuple[HostFunction, ...] = (
    row("__faasm_get_py_user", "ii", "", get_py_user, "Write the user of the Python function."),
    row("__faasm_get_py_func", "ii", "", get_py_func, "Write the name of the Python function."),
    row("__faasm_get_py_entry", "ii", "", get_py_entry, "Write the entry of the Python function."),
)
