"""What a cell's SQL may not do: leave its file, take the host's memory, compute without end (DESIGN 8).

A statement can be stopped between two steps of SQLite's machine, but not within one.  So whatever takes one
step is bounded: values in size, patterns in length, and the functions that take quadratic time are served by
others that do not.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

#: Bytes of one value, or one row.
LARGEST_VALUE = 16 << 20
#: Bytes of a pattern for LIKE or GLOB: the time to match is this by the length of the text.
LONGEST_PATTERN = 256

_NUMBER = re.compile(r"\s*'?([+-]?\d{1,9})'?\s*")
#: Pragmas that a cell may give an argument to, and the range of the argument where it has one; asking for a
#: value is always allowed.
_PRAGMAS: dict[str, range | None] = {
    **dict.fromkeys(
        (
            "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
            "foreign_key_list", "foreign_key_check", "foreign_keys", "defer_foreign_keys", "user_version",
            "application_id", "recursive_triggers", "case_sensitive_like", "integrity_check", "quick_check",
            "optimize", "wal_checkpoint", "synchronous", "auto_vacuum", "incremental_vacuum", "secure_delete",
            "count_changes", "encoding",
        )
    ),
    "busy_timeout": range(10_001),  # milliseconds that nothing can end
    "cache_size": range(-(64 << 10), (16 << 10) + 1),  # KiB where negative, otherwise pages
}  # fmt: skip


def restrict(connection: sqlite3.Connection) -> None:
    """Put a connection under the rules."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN)
    for name, arguments, function in (
        ("instr", 2, _instr), ("replace", 3, _replace),
        ("trim", 2, _trim), ("ltrim", 2, _ltrim), ("rtrim", 2, _rtrim),
    ):  # fmt: skip
        connection.create_function(name, arguments, function, deterministic=True)
    connection.set_authorizer(authorize)


def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Say whether a statement may be prepared."""
    if action == sqlite3.SQLITE_ATTACH and first != "":  # plain VACUUM attaches a file without name
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and second is not None and not _allowed((first or "").lower(), second):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _allowed(pragma: str, argument: str) -> bool:
    if pragma not in _PRAGMAS:
        return False
    within = _PRAGMAS[pragma]
    number = _NUMBER.fullmatch(argument)
    return within is None or (number is not None and int(number[1]) in within)


# -- functions of SQLite that search, without its quadratic time


def _text(value: Any) -> str:
    """A value as SQLite reads it where it wants text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int):
        return str(value)
    mantissa, e, exponent = f"{value or 0.0:.15g}".partition("e")
    return f"{mantissa}{'' if '.' in mantissa or not mantissa[-1:].isdigit() else '.0'}{e}{exponent}"


def _instr(within: Any, wanted: Any) -> int | None:
    if within is None or wanted is None:
        return None
    if isinstance(within, bytes) and isinstance(wanted, bytes):
        return within.find(wanted) + 1
    return _text(within).find(_text(wanted)) + 1


def _replace(text: Any, old: Any, new: Any) -> Any:
    if text is None or old is None:
        return None
    given, wanted = _text(text), _text(old)
    if not wanted:
        return given if isinstance(text, bytes) else text
    if new is None:
        return None
    instead = _text(new)
    grown = len(given) + given.count(wanted) * (len(instead) - len(wanted))
    if grown > LARGEST_VALUE:
        raise OverflowError("string or blob too big")
    return given.replace(wanted, instead)


def _trim(text: Any, signs: Any) -> str | None:
    return None if text is None or signs is None else _text(text).strip(_few(signs))


def _ltrim(text: Any, signs: Any) -> str | None:
    return None if text is None or signs is None else _text(text).lstrip(_few(signs))


def _rtrim(text: Any, signs: Any) -> str | None:
    return None if text is None or signs is None else _text(text).rstrip(_few(signs))


def _few(signs: Any) -> str:
    """Each sign once: stripping looks at all of them for each character."""
    return "".join(dict.fromkeys(_text(signs)))
