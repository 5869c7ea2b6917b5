"""Bounds of module-run; all of them are on by default (module-run specification, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from guesthouse.errors import LoadError
from guesthouse.limits import Limits, parse_duration, parse_size

_SIZES = frozenset({"max_input", "max_output", "child_memory"})


@dataclass(frozen=True, slots=True)
class LaunchLimits:
    """What one calling instance may launch, and what each child gets.

    Attributes:
        max_functions: live function handles of one instance.
        max_requests: unretrieved requests of one instance.
        max_input: bytes of input of one launch.
        max_output: bytes that a launched function may return.
        max_depth: launches above one another.
        child_fuel: instructions of one child; ``None`` does not meter, which is faster.
        child_memory: bytes of memory of one child; unretrieved outputs and the memory of a caller
            together stay below it, too.
        child_wall: seconds that one child may take, if its caller has as much left.
    """

    max_functions: int = 1_024
    max_requests: int = 1_024
    max_input: int = 64 << 20
    max_output: int = 64 << 20
    max_depth: int = 16
    child_fuel: int | None = 1_000_000_000
    child_memory: int = 256 << 20
    child_wall: float = 30.0

    @classmethod
    def of(cls, given: LaunchLimits | Mapping[str, Any]) -> LaunchLimits:
        """Return limits as they are, or made from what a manifest or ``host.load`` says.

        Raises:
            LoadError: something in there is no limit, or its value does not fit.
        """
        if isinstance(given, LaunchLimits):
            return given
        try:
            return cls().changed(given)
        except ValueError as error:
            raise LoadError(str(error)) from None

    def as_limits(self) -> Limits:
        """Return what each child may use, as limits of a call."""
        return Limits(
            memory=self.child_memory,
            wall=self.child_wall,
            fuel=self.child_fuel,
            output=self.max_output,
            input=self.max_input,
        )

    def changed(self, options: Mapping[str, Any]) -> Self:
        """Return these limits with some changed: sizes and durations also as ``"64MiB"`` and ``"2s"``.

        Raises:
            ValueError: an option is no limit, or its value does not fit.
        """
        known = {field.name for field in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name not in known:
                raise ValueError(f"ark has no limit named {name!r}; there are: {', '.join(sorted(known))}")
            if name in _SIZES:
                value = parse_size(value)
            elif name == "child_wall":
                value = parse_duration(value)
            elif not (value is None and name == "child_fuel") and not _whole(value):
                raise ValueError(f"ark limit {name!r}: {value!r} is not a whole number of at least 0")
            changes[name] = value
        return replace(self, **changes)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
