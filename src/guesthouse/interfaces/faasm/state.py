"""State: named bytes that all functions of one user share, by copy and by pointer (faasm.md 2.3, 4)."""

from __future__ import annotations

from guesthouse.engine import HostFunction, Native
from guesthouse.interfaces.faasm.rows import row
from guesthouse.interfaces.faasm.state_native import FUNCTIONS
from guesthouse.interfaces.faasm.state_use import bind

__all__ = ["CAPABILITY", "ROWS", "bind"]

CAPABILITY = "faasm.state"


def _row(name: str, params: str, results: str, native: str, summary: str, word: int = 0) -> HostFunction:
    return row(name, params, results, Native(FUNCTIONS[native], word), summary, CAPABILITY)


ROWS: tuple[HostFunction, ...] = (
    _row("__faasm_read_state", "iii", "i", "read_state", "Copy a value, or tell its size."),
    _row("__faasm_read_state_ptr", "ii", "i", "read_state_ptr", "Map a value; its address."),
    _row("__faasm_read_state_offset", "iiiii", "", "read_state_offset", "Copy a range of a value."),
    _row("__faasm_read_state_offset_ptr", "iiii", "i", "read_state_offset_ptr", "Map a range of a value."),
    _row("__faasm_write_state", "iii", "", "write_state", "Set a local value."),
    _row("__faasm_write_state_offset", "iiiii", "", "write_state_offset", "Set a range of a local value."),
    _row("__faasm_push_state", "i", "", "push_state", "Make a changed value global."),
    _row("__faasm_push_state_partial", "i", "", "push_state", "Make changed bytes global.", 1),
    _row("__faasm_push_state_partial_mask", "ii", "", "push_state_partial_mask", "Make masked bytes global."),
    _row("__faasm_pull_state", "ii", "", "pull_state", "Fetch the global value again."),
    _row("__faasm_append_state", "iii", "", "append_state", "Append an element to a key's list."),
    _row("__faasm_read_appended_state", "iiii", "", "read_appended_state", "Copy the first elements."),
    _row("__faasm_clear_appended_state", "i", "", "clear_appended_state", "Empty a key's list."),
    _row("__faasm_flag_state_dirty", "ii", "", "flag_state_dirty", "Mark a value as changed."),
    _row("__faasm_flag_state_offset_dirty", "iiii", "", "flag_state_offset_dirty", "Mark bytes as changed."),
    _row("__faasm_lock_state_read", "i", "", "lock_state", "Take the shared lock of a value."),
    _row("__faasm_unlock_state_read", "i", "", "unlock_state", "Give the shared lock back."),
    _row("__faasm_lock_state_write", "i", "", "lock_state", "Take the exclusive lock of a value.", 1),
    _row("__faasm_unlock_state_write", "i", "", "unlock_state", "Give the exclusive lock back.", 1),
    # Removed from the interface in 2022; old guests still import them (faasm.md 2.3).
    _row("__faasm_lock_state_global", "i", "", "lock_state", "Old name of the exclusive lock.", 1),
    _row("__faasm_unlock_state_global", "i", "", "unlock_state", "Old name of giving it back.", 1),
)
