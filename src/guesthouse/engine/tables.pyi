"""Types of the compiled module; its documentation is in tables.pyx."""

from typing import Any

from guesthouse.engine.core import Instance

def signature_at(instance: Instance, index: int) -> tuple[str, str] | None: ...
def invoke_at(instance: Instance, index: int, *args: float) -> Any: ...
