# Types of the compiled module; its documentation is in linker.pyx.

from collections.abc import Mapping
from typing import Any

from guesthouse.engine.core import Instance
from guesthouse.engine.functions import HostFunction

UNLIMITED: int

class SharedMemory:
    variant: Any
    minimum: int
    maximum: int
    def __init__(self, variant: Any, minimum: int, maximum: int) -> None: ...
    @property
    def handle(self) -> int: ...
    @property
    def address(self) -> int: ...
    @property
    def size(self) -> int: ...

class Template:
    module: Any
    signatures: dict[str, tuple[str, str]]
    import_names: tuple[str, ...]
    shared: SharedMemory | None
    def __init__(
        self,
        module: Any,
        bindings: Mapping[tuple[str, str], HostFunction],
        shared: SharedMemory | None = None,
        *,
        counted: bool = True,
    ) -> None: ...
    def beside(self, instance: Instance) -> bytes: ...
    def open(
        self, *, memory_limit: int = ..., output_limit: int = ..., fuel: int | None = None
    ) -> Instance: ...
