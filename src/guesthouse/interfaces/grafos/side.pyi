from typing import Any

from guesthouse.engine import Attachment, Instance
from guesthouse.resources.blocks.pool import Volume
from guesthouse.resources.memory.arena import Window

SLOT: int

class Side(Attachment):
    fabric: Any
    tenant: str
    program: Any
    window: Window | None
    volume: Volume | None
    def __init__(self, fabric: Any, tenant: str, program: Any = None) -> None: ...
    def open_window(self) -> None: ...
    def open_volume(self) -> None: ...
    def close(self) -> None: ...

def side_of(call: Any) -> tuple[Side, Instance]: ...
