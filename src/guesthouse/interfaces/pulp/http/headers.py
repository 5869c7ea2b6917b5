"""Header names and values on their way between granian and cells (spec/pulp.md 2.6, 3.4)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BREAKS = re.compile(r"[\r\n\0]+")
#: The server frames messages itself; a guest that sets these can only break the framing.
_FRAMING = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"}
)


@functools.lru_cache(maxsize=1024)
def canonical(name: str) -> str:
    """Return a header name as Go writes it: ``content-type`` becomes ``Content-Type``."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def inbound(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers that a cell sees: canonical names, the first value of each, no ``Host``."""
    seen: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = canonical(raw_name.decode("latin-1"))
        if name != "Host":
            seen.setdefault(name, raw_value.decode("utf-8", "replace"))
    return seen


def outbound(headers: Mapping[str, str], cookies: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a reply: names that are none and framing headers left out, no line breaks."""
    lines = [
        (name.encode("latin-1"), _value(value))
        for name, value in headers.items()
        if _TOKEN.fullmatch(name) and name.lower() not in _FRAMING
    ]
    lines += [(b"Set-Cookie", _value(cookie)) for cookie in cookies]
    return lines


def query(query_string: bytes) -> dict[str, str]:
    """Return the first value of each query parameter."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="replace"):
        values.setdefault(name, value)
    return values


def _value(value: str) -> bytes:
    return _BREAKS.sub(" ", value).strip().encode("utf-8", "replace")
