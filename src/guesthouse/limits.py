"""What a call may use: sizes and times, their spelling, and the limits that bound every call.

Every limit has a default (DESIGN section 8, invariant 4).  A child call never gets more than its parent
has: see :meth:`Limits.at_most`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

#: A number of bytes, or a string such as ``"64MiB"``; see :func:`parse_size`.
Size = int | str
#: A number of seconds, or a string such as ``"2s"``; see :func:`parse_duration`.
Duration = float | str

SIZE_UNITS = {
    "": 1, "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 10**3,
    "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
    "g": 1 << 30, "gib": 1 << 30, "gb": 10**9,
    "t": 1 << 40, "tib": 1 << 40, "tb": 10**12,
}  # fmt: skip
DURATION_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|h|d)\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_size(value: Size) -> int:
    """Return a size in bytes.

    Args:
        value: bytes as a number, or a string with a unit: ``KiB``, ``MiB``, ``GiB``, ``TiB`` (and ``K``,
            ``M``, ``G``, ``T``) count in 1024s, ``KB``, ``MB``, ``GB``, ``TB`` in 1000s.

    Raises:
        ValueError: the value is no size; the message shows how one is written.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(
            f"{value!r} is not a size; write bytes as a whole number, or a string such as '64MiB'"
        )
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"a size cannot be negative: {value}")
        return value
    match = _SIZE.fullmatch(value)
    unit = SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{value!r} is not a size; write for example '512KiB', '64MiB' or '2GB'")
    whole = float(match[1]) * unit if "." in match[1] else int(match[1]) * unit
    if whole != int(whole):
        raise ValueError(f"{value!r} is not a whole number of bytes")
    return int(whole)


def parse_duration(value: Duration) -> float:
    """Return a duration in seconds.

    Args:
        value: seconds as a number, or a string: ``"500ms"``, ``"2s"``, ``"1h30m"``; units are ``ns``,
            ``us``, ``ms``, ``s``, ``m``, ``h``, ``d``, and a bare number means seconds.

    Raises:
        ValueError: the value is no duration; the message shows how one is written.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"a duration must be finite and not negative: {value}")
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return float(text)
        parts = _DURATION_PART.findall(text)
        if parts and _DURATION_PART.sub("", text) == "":
            return math.fsum(float(number) * DURATION_UNITS[unit] for number, unit in parts)
    raise ValueError(f"{value!r} is not a duration; write for example '500ms', '2s' or '1h30m'")


def format_size(size: float) -> str:
    """Return a size for people: three digits and a binary unit, exact where it can be."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g}{unit}" if size != int(size) else f"{int(size)}{unit}"
        size /= 1024
    return f"{size:.3g}TiB" if size != int(size) else f"{int(size)}TiB"


def format_duration(seconds: float) -> str:
    """Return a duration for people, in the unit that leaves one to three digits before the point."""
    for unit, factor in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < factor * 999.5:
            return f"{seconds / factor:.3g}{unit}"
    return f"{seconds:.4g}s"


_SIZES = frozenset({"memory", "output", "input", "disk"})
_OPTIONAL = frozenset({"wall", "fuel"})
#: What native code can count to: bytes and instructions, seconds (as nanoseconds), and everything else.
_MOST_BYTES = (1 << 63) - 1
_MOST_SECONDS = 9e9
_MOST_THINGS = (1 << 31) - 1


@dataclass(frozen=True, init=False, slots=True)
class Limits:
    """What one call may use.

    All arguments are keywords.  Sizes are given as :data:`Size`, durations as :data:`Duration`; the
    attributes hold bytes and seconds.

    Attributes:
        memory: bytes over all linear memories of the instance.
        wall: seconds from start to end of a call; ``None`` for no deadline of its own.
        fuel: instructions, roughly; ``None`` (the default) does not meter, which is faster.
        output: bytes that a call may return or print.
        input: bytes that a call accepts.
        handles: descriptors, sockets, leases and the like open at once.
        children: calls that a call may start in all.
        fan_out: children that a call may have unfinished at once.
        depth: how deep calls may nest.
        threads: threads that a call may have beside its first one.
        disk: bytes by which files may grow in a call, and that a tenant's Faasm files may have in all.
    """

    memory: int
    wall: float | None
    fuel: int | None
    output: int
    input: int
    handles: int
    children: int
    fan_out: int
    depth: int
    threads: int
    disk: int

    def __init__(
        self,
        *,
        memory: Size = "64MiB",
        wall: Duration | None = "2s",
        fuel: int | None = None,
        output: Size = "16MiB",
        input: Size = "64MiB",
        handles: int = 256,
        children: int = 16_384,
        fan_out: int = 16_384,
        depth: int = 256,
        threads: int = 8,
        disk: Size = "256MiB",
    ) -> None:
        given = locals()
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, given[field.name]))

    def at_most(self, other: Limits) -> Limits:
        """Return these limits, lowered where the other's are lower: what a child of ``other`` gets."""
        return Limits(
            **{
                field.name: _lower(getattr(self, field.name), getattr(other, field.name))
                for field in fields(self)
            }
        )

    def within(self, other: Limits) -> bool:
        """True when none of these limits allows more than the other's."""
        return self.at_most(other) == self

    def replace(self, **changes: Any) -> Limits:
        """Return these limits with some changed; the values as in the constructor.

        Raises:
            ValueError: a name is no limit, or a value does not fit it.
        """
        if unknown := changes.keys() - {field.name for field in fields(self)}:
            raise ValueError(f"there is no limit named {min(unknown)!r}")
        return Limits(**{**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the limits by name, in bytes and seconds."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _checked(name: str, value: Any) -> Any:
    if value is None and name in _OPTIONAL:
        return None
    try:
        if name in _SIZES:
            return _below(parse_size(value), _MOST_BYTES, value)
        if name == "wall":
            seconds = parse_duration(value)
            if seconds == 0:
                raise ValueError("a deadline of 0 lets nothing run; write null/None for none at all")
            return _below(seconds, _MOST_SECONDS, value)
        if isinstance(value, bool) or not isinstance(value, int) or value < (name == "fuel"):
            raise ValueError(f"{value!r} is not a whole number of at least {int(name == 'fuel')}")
        _below(value, _MOST_BYTES if name == "fuel" else _MOST_THINGS, value)
    except ValueError as error:
        raise ValueError(f"limit {name!r}: {error}") from None
    return value


def _below(value: float, most: float, given: Any) -> float:
    if value > most:
        raise ValueError(f"{given!r} is more than a host can count to ({most:g})")
    return value


def _lower(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else min(one, other)
