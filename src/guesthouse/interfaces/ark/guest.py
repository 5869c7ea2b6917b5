"""How an Ark module is run: which exports are called, how input gets in and output out (section 4)."""

from __future__ import annotations

from guesthouse.calls import Call, Outcome
from guesthouse.engine import Instance, ModuleInfo
from guesthouse.errors import CallError, NotFound
from guesthouse.interfaces.ark.journal import Run
from guesthouse.interfaces.ark.limits import LaunchLimits
from guesthouse.interfaces.ark.posting import Posted
from guesthouse.interfaces.ark.requests import SLOT, Request, Requests
from guesthouse.interfaces.ark.state import RunState, drop, promise
from guesthouse.interfaces.contract import INITIALIZE, Beginning, GuestSide, LoadedGuest

#: Exports without parameters and results that are called before the function, in this order, if exported.
STARTUP = (INITIALIZE, "ark_register_panic_hook", "ark_initialize")
#: Functions that a call without an entry runs: the first that the module exports.
DEFAULT_ENTRIES = ("ark_cmdlet_run", "run")
#: Exports by which a module shows that it was built for Ark, even when it imports nothing.
MARKS = frozenset({"ARK_PACKED_FFI_CRATE_VERSION", "ark_initialize", "ark_register_panic_hook"})

_LAUNCHABLE = ("ii", "i")
_ALIGNMENT = 8
_PAGE = 65_536
_MOST_INPUT = (1 << 32) - 1


def owns(info: ModuleInfo) -> bool:
    """Whether a module was built for Ark: by its imports, else by its exports."""
    return any(item.module.startswith("ark-") for item in info.imports) or not MARKS.isdisjoint(info.exports)


def launchable(info: ModuleInfo) -> frozenset[str]:
    """The exports that can be launched: functions of type ``(i32, i32) -> i32``."""
    return frozenset(
        name
        for name, item in info.exports.items()
        if item.kind == "function" and (item.params, item.results) == _LAUNCHABLE
    )


class ArkSide(GuestSide):
    """Runs a module's functions, and keeps the state of those that launch others."""

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        info = guest.info
        self.limits = LaunchLimits.of(guest.options.get("ark", guest.config.get("ark", {})))
        self.child_limits = self.limits.as_limits()
        self.journal = guest.service("launches")
        self.functions = launchable(info) - {"ark_alloc"}
        self.startup = tuple(name for name in STARTUP if _has(info, name, "", ""))
        self.allocates = _has(info, "ark_alloc", "ii", "i")
        self.launches = any(item.module == "ark-module-run-v0" for item in info.imports)

    def accepts(self, entry: str | None) -> bool:
        """Say whether a call may name this entry: true for functions that can be launched.

        Raises:
            NotFound: no function of that name is exported, or there is no default one.
        """
        if entry is None:
            self.default_entry()
            return True
        item = self.guest.info.exports.get(entry)
        if item is None or item.kind != "function":
            raise NotFound("function", entry, known=sorted(self.functions), guest=self.guest.name)
        return entry in self.functions

    def default_entry(self) -> str:
        """Return what a call without an entry runs.

        Raises:
            NotFound: the module has several functions and none of the usual names.
        """
        for name in DEFAULT_ENTRIES:
            if name in self.functions:
                return name
        if len(self.functions) == 1:
            return next(iter(self.functions))
        usual = " or ".join(DEFAULT_ENTRIES)
        raise NotFound("default function", usual, known=sorted(self.functions), guest=self.guest.name)

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Say who makes the call's state, should it need one."""
        if call is not None:
            promise(call, self)
            if isinstance(call.payload, Run):
                call.payload.started = True

    def make_state(self, call: Call) -> RunState:
        """Make the state of a call; called once, when it first needs it."""
        requests = None
        if self.launches:
            limits = self.limits
            requests = Requests(
                limits.max_requests, limits.child_memory, min(limits.max_input, _MOST_INPUT),
                call.depth < limits.max_depth, _bell(call, limits),
            )  # fmt: skip
            call.instance.attach(SLOT, requests)
        run = call.payload if isinstance(call.payload, Run) else None
        state = RunState(self.guest, self.limits, self.child_limits, self.journal, requests, run)
        if requests is not None:
            requests.on_starving = _Starving(call)
            requests.on_posted = Posted(call, state)
        return state

    def release(self, instance: Instance, call: Call | None) -> None:
        """Free handles and outputs; the scheduler cancels what still runs (section 6.2)."""
        state = drop(call) if call is not None else None
        if call is None or state is None:
            return
        if state.requests is not None:
            if state.requests.posted:
                call.scheduler.collect()  # what is on its way refers to them
            state.requests.close()
        if state.run is not None:
            state.run.panic = state.panic

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run one function in the order of section 4.

        Raises:
            NotFound: there is no such function.
            CallError: the run ended without a result.
        """
        entry = call.entry or self.default_entry()
        if entry not in self.functions:
            raise NotFound("function", entry, known=sorted(self.functions), guest=self.guest.name)
        for name in self.startup:
            instance.invoke(name)
        data = call.input
        pointer = self._place(instance, data) if data else 0
        code = instance.invoke(entry, pointer, len(data)) & 0xFFFFFFFF
        # A command may explain a failure in text; anything else of a failed run does not count.
        counts = code == 0 or entry == "ark_cmdlet_run"
        return Outcome(code, instance.output if counts else b"")

    def initialise(self, instance: Instance, *, fully: bool, further: str | None) -> Beginning:
        """Run what precedes every function; a snapshot keeps those exports, since they show whose it is."""
        for name in self.startup:
            instance.invoke(name)
        if not self.startup:
            return Beginning()
        gone = [name for name in self.startup if name == INITIALIZE]
        settled = [name for name in self.startup if name != INITIALIZE]
        return Beginning(after=self.startup[-1], without=gone, settled=settled)

    def _place(self, instance: Instance, data: bytes) -> int:
        """Copy the input into guest memory and return its address (section 4, step 3)."""
        size = len(data)
        if self.allocates:
            pointer: int = instance.invoke("ark_alloc", size, _ALIGNMENT) & 0xFFFFFFFF
            if pointer == 0 or pointer % _ALIGNMENT or pointer + size > instance.memory_size:
                raise CallError(
                    f"ark_alloc({size}, {_ALIGNMENT}) answered {pointer:#x}, which is no usable address",
                    guest=self.guest.name,
                    function="ark_alloc",
                )
        else:
            pointer = instance.grow(-(-size // _PAGE)) * _PAGE
        instance.write(pointer, data)
        return pointer


class _Starving:
    """Tells the scheduler of a request that its guest polls in vain, so that it may lend a place."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def __call__(self, request: Request | None) -> None:
        scheduler = self.call.scheduler
        if request is None:  # no worker has taken it
            scheduler.collect()
        elif request.call is not None:
            scheduler.poll(request.call, self.call)


def _bell(call: Call, limits: LaunchLimits) -> int:
    """Where a call's launches may be posted; 0 where the scheduler might refuse one for itself."""
    bounds = call.scheduler.limits
    wide = call.depth < bounds.depth and limits.max_requests <= bounds.children
    return call.scheduler.bell if wide else 0


def _has(info: ModuleInfo, name: str, params: str, results: str) -> bool:
    item = info.exports.get(name)
    return item is not None and item.kind == "function" and (item.params, item.results) == (params, results)
