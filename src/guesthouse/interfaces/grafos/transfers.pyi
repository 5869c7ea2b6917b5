from collections.abc import Iterable

REFUSE: int
FUNCTIONS: dict[str, int]

def describe(ranges: Iterable[tuple[int, int, int]]) -> int: ...
