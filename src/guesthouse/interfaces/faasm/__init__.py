"""Functions built for Faasm: input and output, chaining, two-tier state, files, threads."""

from __future__ import annotations

from guesthouse.engine import HostFunction, ModuleInfo
from guesthouse.interfaces.contract import GuestSide, LoadedGuest
from guesthouse.interfaces.faasm.guest import MAINS, ZYGOTE, FaasmSide
from guesthouse.interfaces.faasm.imports import IMPORTS
from guesthouse.interfaces.faasm.message import Message, message_of, output_of
from guesthouse.interfaces.faasm.reshaping import reshaped

__all__ = ["ZYGOTE", "FaasmInterface", "Message", "interface", "message_of", "output_of"]

#: What only a Faasm function imports; the rows under WASI's names are there for those that are one.
_NAMES = frozenset((row.module, row.name) for row in IMPORTS if not row.module.startswith("wasi"))


class FaasmInterface:
    """The interface as the host sees it."""

    name = "faasm"
    functions: tuple[HostFunction, ...] = IMPORTS
    options = ()
    unmarked = True

    def owns(self, info: ModuleInfo) -> bool:
        """True for modules that import anything of this interface, or bring a zygote."""
        return ZYGOTE in info.exports or any((item.module, item.name) in _NAMES for item in info.imports)

    def reshape(self, info: ModuleInfo) -> ModuleInfo:
        """Return the module with what the host needs to reach, or must keep from running twice."""
        return reshaped(info, ZYGOTE, MAINS)

    def attach(self, guest: LoadedGuest) -> GuestSide:
        """Return Faasm's part in a guest."""
        return FaasmSide(guest)


interface = FaasmInterface()
