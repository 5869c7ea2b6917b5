"""The guest side of the fabric: state per instance, and how a fabric program is run."""

from __future__ import annotations

from guesthouse.calls import Call, Outcome
from guesthouse.engine import Instance, ModuleInfo
from guesthouse.errors import NotFound, OutputLimit
from guesthouse.interfaces.contract import GuestSide, LoadedGuest
from guesthouse.interfaces.grafos.fabric import Fabric
from guesthouse.interfaces.grafos.imports import FUNCTIONS, MODULES
from guesthouse.interfaces.grafos.placing import ENTRY_TYPE, call_entry
from guesthouse.interfaces.grafos.side import SLOT, Side
from guesthouse.interfaces.grafos.tasklets import Tasklet

#: Entries of a fabric program, the first that is there.
ENTRIES = ("tasklet_run", "run", "main")
#: Bytes of output that a program gets room for.
OUTPUT_ROOM = 1 << 16

_SIDE = object()


class GrafosSide(GuestSide):
    """Gives each instance its view of the fabric, and runs programs that have no other owner.

    The option ``output_room`` of ``host.load`` is the number of bytes of output that ``tasklet_run`` gets
    room for.

    Attributes:
        children: modules of tasklets that the guest submitted, by SHA-256, ready to be run again.
    """

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        self._fabric: Fabric = guest.service("fabric")
        self._open: dict[Instance, Side] = {}
        self.children: dict[bytes, LoadedGuest] = {}

    def accepts(self, entry: str | None) -> bool:
        """Say whether a call may name an entry: of the tasklet type, or without parameters.

        Raises:
            NotFound: no function of that name is exported.
        """
        item = self.guest.info.exports.get(entry) if entry is not None else None
        return super().accepts(entry) or (item is not None and (item.params, item.results) == ENTRY_TYPE)

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Attach the tenant's leases to an instance; its memory window is opened by fbmu_hello."""
        side = Side(self._fabric, self.guest.tenant, self)
        instance.attach(SLOT, side)
        self._open[instance] = side

    def release(self, instance: Instance, call: Call | None) -> None:
        """Drop the memory window; leases belong to the tenant and stay (spec fabric.md 8.5)."""
        self._open.pop(instance).close()

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run one entry: of the tasklet type with input and output, or without any parameters.

        Raises:
            NotFound: there is no such entry, or its type is neither.
            OutputLimit: the program claims more output than there was room for.
        """
        if instance.signature("_initialize") == ("", ""):
            instance.invoke("_initialize")
        if isinstance(call.payload, Tasklet):
            return self._run_buffers(instance, call, call.payload.entry, call.payload.room)
        entry = call.entry or next((name for name in ENTRIES if instance.signature(name)), ENTRIES[0])
        signature = instance.signature(entry)
        if signature == ENTRY_TYPE:
            room = min(int(self.guest.options.get("output_room", OUTPUT_ROOM)), self.guest.limits.output)
            return self._run_buffers(instance, call, entry, room)
        if signature is None or signature[0] or signature[1] not in {"", "i"}:
            known = [name for name, item in self.guest.info.exports.items() if item.kind == "function"]
            raise NotFound("entry of type (i32, i32, i32, i32) -> i32 or () -> i32", entry, known=known)
        answer = instance.invoke(entry)
        return Outcome(_signed(answer or 0), instance.output)

    def _run_buffers(self, instance: Instance, call: Call, entry: str, room: int) -> Outcome:
        finished = call_entry(instance, entry, call.input, room)
        if finished.output is None:
            raise OutputLimit(room, guest=self.guest.name, function=entry)
        return Outcome(finished.code, finished.output)

    def close(self) -> None:
        """Let go of the modules of submitted tasklets."""
        self.children.clear()


class Grafos:
    """The fabric interface."""

    name = "grafos"
    functions = FUNCTIONS
    options = ("output_room",)

    def owns(self, info: ModuleInfo) -> bool:
        """Whether a module is a fabric program: a tasklet, or an importer of the fabric, but no command."""
        if "_start" in info.exports:
            return False
        entry = info.exports.get("tasklet_run")
        is_tasklet = entry is not None and (entry.params, entry.results) == ENTRY_TYPE
        return is_tasklet or any(item.module in MODULES for item in info.imports)

    def attach(self, guest: LoadedGuest) -> GuestSide:
        """Make the guest side."""
        return GrafosSide(guest)


def _signed(value: int) -> int:
    return value - ((value & 0x8000_0000) << 1)
