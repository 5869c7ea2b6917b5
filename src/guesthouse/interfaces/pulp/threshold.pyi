# Types of the compiled module; its documentation is in threshold.pyx.

from collections.abc import Callable
from typing import Any, TypeVar

from guesthouse.interfaces.pulp.body import Body
from guesthouse.interfaces.pulp.turns import Chain, Turn

_Done = TypeVar("_Done")

class Threshold:
    def __init__(self, label: str, budget: float) -> None: ...
    @property
    def label(self) -> str: ...
    @property
    def _turn(self) -> Turn: ...
    _closed: bool
    _body: Body
    @property
    def busy(self) -> bool: ...
    def idle_step(self, call_number: int, wall_time: int) -> int | None: ...
    def _take(self, timeout: float | None, check: Callable[[], object] | None) -> None: ...
    def _enter(
        self,
        function: str,
        timeout: float | None,
        check: Callable[[], object] | None,
        work: Callable[..., _Done],
        *args: Any,
    ) -> _Done: ...
    def end(self, chain: Chain, reason: str) -> None: ...
    def _failed(self, function: str, body: Body, error: Exception) -> Exception: ...
