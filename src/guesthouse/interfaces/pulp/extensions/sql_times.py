"""Text in columns declared DATE, DATETIME or TIMESTAMP that reads as a time is one (spec/pulp.md 3.8).

The standard library tells the declared type of a result column only to its converters, and those are
one table for the process.  Ours act only while `converting` is entered on the same thread; everybody
else keeps what was registered before.
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DECLARED = ("DATE", "DATETIME", "TIMESTAMP")

_active = threading.local()
_registering = threading.Lock()
_registered: list[str] = []
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_WHOLE = re.compile(r"-?\d{1,19}")
_REAL = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")


@contextmanager
def converting() -> Iterator[None]:
    """Convert times on this thread while entered."""
    with _registering:
        if not _registered:
            for name in DECLARED:
                sqlite3.register_converter(name, _converter(getattr(sqlite3, "converters", {}).get(name)))
                _registered.append(name)
    _active.on = True
    try:
        yield
    finally:
        _active.on = False


def _converter(former: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def convert(raw: bytes) -> Any:
        if getattr(_active, "on", False):
            return read(raw)
        return former(raw) if former is not None else raw.decode("utf-8", "replace")

    return convert


def read(raw: bytes) -> Any:
    """Return the time that a text stands for, or the value as it was stored."""
    text = raw.decode("utf-8", "replace")
    if _DATE.match(text):
        try:
            moment = dt.datetime.fromisoformat(text.strip())
        except ValueError:
            return text
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text
