"""Typed reading of TOML tables, shared by the three kinds of Pulp manifest.

A table is described once, as a mapping of key to `Kind`; reading checks types, collects unknown keys
and reports both with the file, the key and what would mend it.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from guesthouse.errors import ManifestError

#: TOML integers are 64-bit; Python's parser would take any size.
_INT64 = range(-(1 << 63), 1 << 63)


class Kind(Enum):
    """The TOML types that manifests use, named as messages name them."""

    STRING = "a string"
    INTEGER = "an integer"
    BOOLEAN = "a boolean"
    STRINGS = "an array of strings"
    TABLE = "a table"
    TABLES = "an array of tables"
    COUNT_OR_STRINGS = "an integer or an array of strings"


def read(path: Path) -> dict[str, Any]:
    """Read and parse a TOML file.

    Raises:
        ManifestError: ``read manifest`` or ``parse manifest``, with the file.
    """
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise ManifestError(f"read manifest: {reason(error)}", file=str(path)) from None
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ManifestError(f"parse manifest: not UTF-8 at byte {error.start}", file=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(f"parse manifest: {error}", file=str(path)) from None
    _check_integers(table, path, "")
    return table


def check(table: Mapping[str, Any], keys: Mapping[str, Kind], path: Path, prefix: str = "") -> None:
    """Check the types of a table's keys and refuse keys that are not described.

    Args:
        table: the parsed table.
        keys: what may stand in it.
        path: the manifest, for messages.
        prefix: dotted key of the table itself, with a trailing dot, or nothing.

    Raises:
        ManifestError: ``parse manifest`` for a wrong type, ``unknown manifest fields`` for the rest.
    """
    for key, value in table.items():
        kind = keys.get(key)
        if kind is not None and not _fits(value, kind):
            raise ManifestError(
                f"parse manifest: expected {kind.value}, found {_described(value)}",
                file=str(path),
                key=prefix + key,
            )
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise ManifestError(
            f"unknown manifest fields: {', '.join(prefix + key for key in unknown)}{_offer(unknown, keys)}",
            file=str(path),
            key=prefix + unknown[0],
        )


def invalid(message: str, path: Path, key: str | None = None) -> NoReturn:
    """Refuse a manifest: ``validate manifest: <message>``."""
    raise ManifestError(f"validate manifest: {message}", file=str(path), key=key)


def schema_version(table: Mapping[str, Any], path: Path) -> int:
    """Return the schema version, 1 when absent or 0; refuse what this host does not know."""
    version = table.get("schema_version", 1) or 1
    if version > 1:
        invalid(
            f"schema_version {version} is newer than host supports (1); use a newer host",
            path,
            "schema_version",
        )
    if version < 1:
        invalid(f"schema_version {version} must be at least 1", path, "schema_version")
    return int(version)


def required(table: Mapping[str, Any], key: str, path: Path, prefix: str = "") -> str:
    """Return a trimmed string that must not be blank: ``<key> is required``."""
    value = str(table.get(key, "")).strip()
    if not value:
        invalid(f"{prefix}{key} is required", path, prefix + key)
    return value


def names(table: Mapping[str, Any], key: str, *, lower: bool = False) -> tuple[str, ...]:
    """Return a list of names: trimmed, without empties and repetitions, in the order given."""
    trimmed = (item.strip() for item in table.get(key, ()))
    kept = (item.lower() if lower else item for item in trimmed if item)
    return tuple(dict.fromkeys(kept))


def directory(name: str, path: Path, key: str) -> str:
    """Return a name that files are kept under; it must be able to name a directory."""
    if "/" in name or "\0" in name or name in (".", ".."):
        invalid(f"{key} {name!r} cannot name a directory: it is '.' or '..', or holds '/' or NUL", path, key)
    return name


def digest(value: str, path: Path, key: str) -> str:
    """Return a SHA-256 in lower-case hex without its optional ``sha256:`` prefix; blank stays blank."""
    text = value.strip().lower().removeprefix("sha256:")
    if text and (len(text) != 64 or any(letter not in "0123456789abcdef" for letter in text)):
        invalid(f"{key} must be 64 hexadecimal digits", path, key)
    return text


def reason(error: OSError | ValueError) -> str:
    """Return why a file cannot be read, without repeating its path."""
    return str(getattr(error, "strerror", None) or error)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fits(value: Any, kind: Kind) -> bool:
    match kind:
        case Kind.STRING:
            return isinstance(value, str)
        case Kind.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case Kind.BOOLEAN:
            return isinstance(value, bool)
        case Kind.STRINGS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case Kind.TABLE:
            return isinstance(value, dict)
        case Kind.COUNT_OR_STRINGS:
            return _fits(value, Kind.INTEGER) or _fits(value, Kind.STRINGS)
        case Kind.TABLES:
            return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _described(value: Any) -> str:
    if isinstance(value, list):
        return "an array" if all(not isinstance(item, dict) for item in value) else "an array of tables"
    names_by_type = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", dict: "a table"}
    return names_by_type.get(type(value), "a date or time")


def _offer(unknown: list[str], keys: Mapping[str, Kind]) -> str:
    offers = [
        f"{key} -> {near[0]}" for key in unknown if (near := difflib.get_close_matches(key, list(keys), n=1))
    ]
    return f" (did you mean {', '.join(offers)}?)" if offers else ""


def _check_integers(value: Any, path: Path, key: str) -> None:
    """Refuse integers that Pulp's 64-bit configuration cannot carry."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_integers(item, path, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            _check_integers(item, path, key)
    elif isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        raise ManifestError(
            "parse manifest: the integer does not fit 64 bits; write it as a string", file=str(path), key=key
        )
