"""Types of the compiled module; its documentation is in io.pyx."""

from guesthouse.engine import Instance

FUNCTIONS: dict[str, int]

def text_at(instance: Instance, pointer: int) -> bytes: ...
