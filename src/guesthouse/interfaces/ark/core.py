"""The core functions that are not worth native code: log lines, panics, debug context (section 4)."""

from __future__ import annotations

from typing import Any

from guesthouse.engine import OutOfBounds
from guesthouse.interfaces.ark.codes import Code
from guesthouse.interfaces.ark.state import state_of
from guesthouse.observe import log as host_log

#: Names of the levels of ``core__log``, by number; ``trace`` is below what Python's logging knows.
LEVELS = ("error", "warning", "info", "debug", "debug")
TRACE = 4

#: Longest text that a guest can leave in the log with one call, in bytes; the rest is cut off.
LONGEST_TEXT = 16 * 1024
#: Most debug properties of one run; older ones make way.
MOST_CONTEXT = 64


def _text(call: Any, ptr: int, length: int) -> str:
    """Read guest text of which nothing is expected but that it is inside memory.

    Raises:
        OutOfBounds: it is not.
    """
    instance = call.instance
    data: bytes = instance.read(ptr, min(length, LONGEST_TEXT))
    if length > LONGEST_TEXT:
        instance.read(ptr + length, 0)
    return data.decode("utf-8", "replace")


def log(call: Any, level: int, ptr: int, length: int) -> int:
    """``core__log``: one line in the host's log, with tenant, module, request and depth (section 8)."""
    try:
        text = _text(call, ptr, length)
    except OutOfBounds:
        return Code.INVALID_ARGUMENTS
    if level >= len(LEVELS):
        return Code.INVALID_ARGUMENTS
    extra = {"trace": True} if level == TRACE else {}
    getattr(host_log, LEVELS[level])(text, **state_of(call).labels(call), **extra)
    return Code.SUCCESS


def register_panic(
    call: Any, text_ptr: int, text_len: int, file_ptr: int, file_len: int, line: int, column: int
) -> int:
    """``core__register_panic``: remember the text for the request's record (section 4)."""
    try:
        text = _text(call, text_ptr, text_len)
        file = _text(call, file_ptr, file_len)
    except OutOfBounds:
        return Code.INVALID_ARGUMENTS
    state = state_of(call)
    state.panic = f"{text} ({file}:{line}:{column})"
    host_log.error("panic", panic=state.panic, context=dict(state.properties), **state.labels(call))
    return Code.SUCCESS


def add_debug_context(call: Any, name_ptr: int, name_len: int, value_ptr: int, value_len: int) -> None:
    """``core__add_debug_context``: push a property that is logged with a panic."""
    try:
        pair = _text(call, name_ptr, name_len), _text(call, value_ptr, value_len)
    except OutOfBounds:
        return
    properties = state_of(call).properties
    properties.append(pair)
    del properties[:-MOST_CONTEXT]


def remove_debug_context(call: Any, name_ptr: int, name_len: int) -> None:
    """``core__remove_debug_context``: take back the newest property of that name, if there is one."""
    try:
        name = _text(call, name_ptr, name_len)
    except OutOfBounds:
        return
    properties = state_of(call).properties
    for at in range(len(properties) - 1, -1, -1):
        if properties[at][0] == name:
            del properties[at]
            return
