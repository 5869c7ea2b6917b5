"""The guest side of WASIX: as WASI's, with a runtime plugged in, threads, and processes of the bus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.calls import Call, Outcome
from guesthouse.engine import Instance, ModuleInfo, SharedMemory, Template, notifier, wake_all
from guesthouse.errors import LoadError
from guesthouse.interfaces.contract import Command, LoadedGuest
from guesthouse.interfaces.wasi.guest import Captured, WasiSide
from guesthouse.interfaces.wasi.state import SLOT, Context, context_of
from guesthouse.interfaces.wasix.generations import MODULE, Generation, generation_of, report
from guesthouse.interfaces.wasix.hostnet import HostNetworking
from guesthouse.interfaces.wasix.imports import BUS, IMPORTS, PROCESS, SOCKETS, THREADS
from guesthouse.interfaces.wasix.localbus import LocalBus
from guesthouse.interfaces.wasix.network import VirtualNetworking
from guesthouse.interfaces.wasix.program import GuestThread, Program
from guesthouse.interfaces.wasix.runtime import (
    BaseRuntime,
    PluggableRuntime,
    Runtime,
    ThreadedRuntime,
    TtyState,
)
from guesthouse.interfaces.wasix.spawning import launcher
from guesthouse.interfaces.wasix.terminal import TerminalTty
from guesthouse.interfaces.wasix.threads import stop_timers
from guesthouse.observe import log

#: Options of ``host.load`` and ``guest.run`` that WASIX understands beyond WASI's.
OPTIONS = ("runtime", "net", "tty", "bus", "generation", "addr_layout", "port_order", "pid")


class GrantedRuntime(ThreadedRuntime):
    """What a guest gets that no runtime was plugged under: exactly what it was granted.

    Args:
        threads: it may have threads.
        networking: its network, if any.
        bus: its bus, if any.
        tty: the real terminal, if it has it.
        pid: its process id, if any.
    """

    def __init__(
        self,
        *,
        threads: bool,
        networking: VirtualNetworking | None,
        bus: LocalBus | None,
        tty: TerminalTty | None,
        pid: int | None,
    ) -> None:
        super().__init__(bus=bus, networking=networking, pid=pid)
        self._threads, self._tty = threads, tty

    def thread_spawn(self, callback: Callable[[], None]) -> None:
        """Start a thread, if threads were granted."""
        (super().thread_spawn if self._threads else super(PluggableRuntime, self).thread_spawn)(callback)

    def thread_parallelism(self) -> int:
        """Return the number of processors, if threads were granted."""
        return (
            super().thread_parallelism()
            if self._threads
            else super(PluggableRuntime, self).thread_parallelism()
        )

    def tty_get(self) -> TtyState:
        """Return the real terminal's state, or the fixed one."""
        return self._tty.tty_get() if self._tty else super().tty_get()

    def tty_set(self, state: TtyState) -> None:
        """Change the real terminal, if it was granted."""
        if self._tty:
            self._tty.tty_set(state)


class WasixSide(WasiSide):
    """WASIX's part in one guest."""

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        self._given = {name: guest.options[name] for name in OPTIONS if name in guest.options}
        self.generation = self._generation(self._given)
        self._starting = threading.local()
        self._rules(self._given)  # a rule that cannot be read is a reason not to load

    def _generation(self, given: Mapping[str, Any]) -> Generation:
        wanted = given.get("generation")
        if wanted is None:
            return generation_of(self.guest.info)
        try:
            return Generation(wanted)
        except ValueError:
            raise LoadError(f"there is no generation {wanted!r} of WASIX; there are G1, G2 and G3") from None

    # -- what each instance is given

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Attach a new program, or make the instance a thread of the one that is starting it."""
        thread: GuestThread | None = getattr(self._starting, "thread", None)
        if thread is None:
            thread = self._main(call)
        thread.instance = instance
        runtime = thread.program.runtime
        # The default lets other threads run, which needs no Python: only a hook of somebody's own is called.
        own_hook = getattr(type(runtime), "yield_now", None) is not BaseRuntime.yield_now
        context = Context(thread.program.process, thread.tid, runtime.yield_now if own_hook else None)
        context.thread = thread
        instance.attach(SLOT, context)

    def _main(self, call: Call | None) -> GuestThread:
        given = dict(self._given)
        command = None if call is None else call.scratch.get(Command, call.payload)
        if isinstance(command, Command):
            given.update(command.options)
        program_box: list[Program] = []
        runtime = given.get("runtime") or self._granted(given, call, program_box)
        order = given.get("port_order", "little")
        if order not in ("little", "network"):
            raise LoadError(f"port_order is 'little' or 'network', not {order!r}")
        program = Program(
            self.process(call),
            runtime,
            self._generation(given) if "generation" in given else self.generation,
            layout=given.get("addr_layout"),
            network_order=order == "network",
            most_threads=self.guest.limits.threads,
        )
        program_box.append(program)
        thread = GuestThread(program, program.main_id, call=call)
        thread.started = True
        program.threads[thread.tid] = thread
        return thread

    def _rules(self, given: Mapping[str, Any]) -> HostNetworking:
        rules = given.get("net", ())
        try:
            network = HostNetworking("allow" if rules is True else rules or ())
        except (ValueError, TypeError) as error:
            raise LoadError(f"option net: {error}") from None
        name = self.guest.name
        network.rules.report = lambda text: log.warning("network_refused", guest=name, why=text)
        return network

    def _granted(self, given: Mapping[str, Any], call: Call | None, program: list[Program]) -> Runtime:
        granted = self.guest.granted
        if call is not None and call.capabilities is not None:
            granted &= call.capabilities
        bus = given.get("bus")
        if bus is None and granted & {BUS, PROCESS}:
            bus = LocalBus()
        if isinstance(bus, LocalBus) and call is not None and PROCESS in granted:
            bus = bus.bound(launcher(self.guest, call, program))
        return GrantedRuntime(
            threads=THREADS in granted,
            networking=self._rules(given) if SOCKETS in granted else None,
            bus=bus if granted & {BUS, PROCESS} else None,
            tty=TerminalTty() if given.get("tty") else None,
            pid=given.get("pid"),
        )

    def release(self, instance: Instance, call: Call | None) -> None:
        """Let go of a thread; with the main thread the program's descriptors are closed."""
        context = context_of(instance)
        if context is None or not isinstance(context.thread, GuestThread):
            return
        thread = context.thread
        program = thread.program
        if thread.tid != program.main_id:
            return
        program.end(0)
        program.leave(thread)
        program.settle()
        stop_timers(program)
        runtime = program.runtime
        if isinstance(runtime, GrantedRuntime) and runtime._tty is not None:
            runtime._tty.restore()
        context.thread = None  # the two hold one another
        program.process.close()

    # -- running

    def serve(self, call: Call) -> Outcome:
        """Run one call as a new program.

        Raises:
            CallError: it ended without a result.
        """
        shared = self.guest.module.shared_memory(self.guest.limits.memory)
        template = None if shared is None else self.guest.module.link(self.guest.links, shared=shared)
        instance = self.guest.open(call, template)
        try:
            if template is not None and shared is not None:
                self._allow_threads(instance, call, template, shared)
            self.guest.start(instance, call)
            return self.run(instance, call)
        finally:
            self.guest.dismiss(instance, call)

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run ``_start``, or the call's entry, as the main thread.

        Raises:
            NotFound: the entry is not exported.
            CallError: the program ended without a result.
        """
        context = context_of(instance)
        assert context is not None
        thread: GuestThread = context.thread
        returned: list[tuple[int, bytes]] = []
        code = thread.program.run_main(thread, lambda: returned.append(self._enter(instance, call)))
        own, extra = returned[0] if returned else (0, b"")
        return Outcome(code or own, Captured.of(context.process, instance.output + extra))

    def _allow_threads(
        self, instance: Instance, call: Call, template: Template, shared: SharedMemory
    ) -> None:
        """Tell the program how to start a thread, and how to wake its threads at the end."""
        context = context_of(instance)
        assert context is not None
        program: Program = context.thread.program
        waker: list[Template] = []

        def sweep() -> None:
            if not waker:
                waker.append(notifier(shared))
            wake_all(waker[0])

        program.sweep = sweep
        program.start = lambda tid, entry, values: self._run_thread(
            program, template, call, tid, entry, values
        )

    def _run_thread(
        self, program: Program, template: Template, call: Call, tid: int, entry: str, values: tuple[int, ...]
    ) -> None:
        """Run one thread on this host thread: an instance of its own over the program's memory."""
        thread = program.threads.get(tid)
        if thread is None or not program.enter(thread):
            return
        thread.call = call

        def body() -> None:
            self._starting.thread = thread
            try:
                instance = self.guest.open(None, template)
            finally:
                del self._starting.thread
            try:
                instance.deadline = call.deadline
                instance.call = thread
                if not program.ended:
                    instance.start()
                    instance.invoke(entry, *values)
            finally:
                thread.instance = None
                self.guest.dismiss(instance, None)

        program.run_thread(thread, body)


class WasixInterface:
    """WASIX in its three generations, and wasi-threads."""

    name = "wasix"
    functions = IMPORTS
    options = OPTIONS

    def owns(self, info: ModuleInfo) -> bool:
        """Claim what imports WASIX, a thread's start, or a shared memory."""
        return any(
            item.module == MODULE
            or (item.module, item.name) == ("wasi", "thread-spawn")
            or (item.kind == "memory" and getattr(item.type, "shared", False))
            for item in info.imports
        )

    def note(self, info: ModuleInfo) -> str | None:
        """Say which generation of WASIX a module was built for, if for any."""
        return report(info)

    def attach(self, guest: LoadedGuest) -> WasixSide:
        """Make the guest side."""
        return WasixSide(guest)
