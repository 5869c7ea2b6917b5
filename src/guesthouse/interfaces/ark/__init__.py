"""Ark modules: functions that are launched, alone or by one another (spec/module-run.md)."""

from guesthouse.engine import HostFunction, ModuleInfo
from guesthouse.interfaces.ark import guest as _guest
from guesthouse.interfaces.ark.imports import FUNCTIONS
from guesthouse.interfaces.contract import GuestSide, LoadedGuest, refuse_to_reach
from guesthouse.registry import Links

#: The import module whose functions run other modules.
MODULE_RUN = "ark-module-run-v0"


class Ark:
    """The interface ``ark``; see :class:`guesthouse.interfaces.Interface`."""

    name = "ark"
    functions: tuple[HostFunction, ...] = FUNCTIONS
    options = ("ark",)

    def owns(self, info: ModuleInfo) -> bool:
        """Say whether the module was built for Ark."""
        return _guest.owns(info)

    def isolate(self, links: Links) -> None:
        """Keep a module that is initialised to be frozen from launching others."""
        refuse_to_reach(links, lambda row: row.module != MODULE_RUN)

    def attach(self, guest: LoadedGuest) -> GuestSide:
        """Make the guest side of a loaded module."""
        return _guest.ArkSide(guest)


interface = Ark()
