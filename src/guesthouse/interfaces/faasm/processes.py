"""Functions whose memory is shared between threads: one linked process for each call (faasm.md 2.8)."""

from __future__ import annotations

from guesthouse.calls import Call
from guesthouse.engine import Instance, Module, ModuleInfo, Template
from guesthouse.engine.compile import beside
from guesthouse.engine.exporting import with_exports
from guesthouse.engine.waking import notifier, wake_all
from guesthouse.interfaces.contract import LoadedGuest
from guesthouse.interfaces.faasm import state
from guesthouse.interfaces.faasm.crew import Crew, Spawn
from guesthouse.interfaces.faasm.session import session_of
from guesthouse.interfaces.faasm.space import share
from guesthouse.interfaces.wasi.state import SLOT as WASI_SLOT
from guesthouse.interfaces.wasi.state import Context, context_of
from guesthouse.resources.state import StateStore

_STACK, _TABLE = "__stack_pointer", "__indirect_function_table"


def has_shared_memory(info: ModuleInfo) -> bool:
    """Say whether a module imports a shared memory."""
    return any(item.kind == "memory" and getattr(item.type, "shared", False) for item in info.imports)


class Processes:
    """Makes the processes of one guest.

    Args:
        guest: a guest that imports a shared memory.
        store: the state of its tenant, if it was granted that.
    """

    def __init__(self, guest: LoadedGuest, store: StateStore | None) -> None:
        self.guest, self._store = guest, store
        self._module = reachable(guest.module)

    def open(self, call: Call) -> Instance:
        """Open the main thread's instance of a new process; its further threads are the session's crew's.

        Raises:
            LoadError: the memory is larger than the guest's limit.
        """
        guest = self.guest
        shared = self._module.shared_memory(guest.limits.memory)
        template = self._module.link(guest.links, shared=shared)
        instance = guest.open(call, template)
        assert shared is not None

        def sweep() -> None:
            wake_all(notifier(shared))

        session_of(call).crew = Crew(call, instance, self._spawner(call, instance, template), sweep)
        return instance

    def _spawner(self, call: Call, main: Instance, template: Template) -> Spawn:
        limits, store = self.guest.limits, self._store

        def spawn(number: int) -> Instance:
            instance = template.open(
                memory_limit=limits.memory, output_limit=limits.output, fuel=limits.fuel
            )  # fmt: skip
            instance.call, instance.deadline, instance.input = call, call.deadline, call.input
            if store is not None:
                state.bind(instance, store, self.guest.tenant)
            share(main, instance)
            context = context_of(main)
            if context is not None:
                instance.attach(WASI_SLOT, Context(context.process, number))
            instance.start()
            return instance

        return spawn


def reachable(module: Module) -> Module:
    """Return the module with stack pointer and function table exported, which threads cannot do without.

    The stack pointer is the first global (faasm.md 3.1).
    """
    info, added = module.info, list[tuple[str, str, int]]()
    if (
        _STACK not in info.exports
        and info.globals
        and info.globals[0].mutable
        and info.globals[0].type == "i"
    ):
        added.append((_STACK, "global", 0))
    if _TABLE not in info.exports and info.tables:
        added.append((_TABLE, "table", 0))
    if not added:
        return module
    return beside(module, with_exports(bytes(info.source), info, added))
