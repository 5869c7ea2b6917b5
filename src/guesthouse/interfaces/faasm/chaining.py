"""Chained calls: a function starts others, by name or by pointer, and waits for them (spec 2.2, 3.3)."""

from __future__ import annotations

from guesthouse.engine import HostFunction, Native
from guesthouse.interfaces.faasm.chaining_native import FUNCTIONS
from guesthouse.interfaces.faasm.rows import CHAIN, row


def _row(name: str, params: str, summary: str) -> HostFunction:
    return row(name, params, "i", Native(FUNCTIONS[name]), summary, CHAIN)


ROWS: tuple[HostFunction, ...] = (
    _row("__faasm_chain_name", "iii", "Start another function of the same user."),
    _row("__faasm_chain_function", "iii", "Old name of __faasm_chain_name."),
    _row("__faasm_chain_ptr", "iii", "Start a function of this module's table."),
    _row("__faasm_chain_py", "iii", "Start this Python function at another entry."),
    _row("__faasm_await_call", "i", "Wait for a call; its return value."),
    _row("__faasm_await_call_output", "iii", "Wait for a call and its output."),
)
