"""What an interface package offers to the host, and what the host offers to it.

Every interface package has the same floor plan (DESIGN section 2): ``imports.py`` with the table,
``guest.py`` with the guest side (which exports are called in which order, how input gets in and output
out), and one module per area.  Its ``__init__`` exposes ``interface``, an :class:`Interface`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

from guesthouse.calls import Call, Outcome, Result
from guesthouse.calls.crossing import Callee
from guesthouse.engine import HostFunction, Instance, Module, ModuleInfo, Template, signature
from guesthouse.engine.snapshot import SnapshotRefused
from guesthouse.errors import LoadError, NotFound
from guesthouse.limits import Limits
from guesthouse.registry import Links

#: Exports that run before a guest's first call.
INITIALIZE, CONSTRUCTORS = "_initialize", "__wasm_call_ctors"
#: Guests that were made to be frozen by Wizer export this; it runs their constructors itself.
WIZER = "wizer.initialize"


class Reached(SnapshotRefused):
    """A guest that is initialised to be frozen called an import that reaches beyond it.

    Attributes:
        function: the import.
    """

    def __init__(self, function: str) -> None:
        self.function = function
        super().__init__(f"it calls {function}, whose effect no file can keep")


def refuse_to_reach(links: Links, harmless: Callable[[HostFunction], bool]) -> None:
    """Make imports refuse, before anything has happened, in a guest that is initialised to be frozen.

    Args:
        links: what answers its imports; changed.
        harmless: says which rows may answer as ever.
    """

    def refusal(function: str) -> Callable[..., NoReturn]:
        def refuse(*_: object) -> NoReturn:
            raise Reached(function)

        return refuse

    for key, row in links.items():
        if not harmless(row):
            links[key] = replace(row, implementation=refusal(f"{row.module}.{row.name}"))


def check_types(info: ModuleInfo, types: Mapping[str, Collection[tuple[str, str]]]) -> None:
    """Refuse a module that exports something under a name that the host calls, and of another type.

    Args:
        info: what the module declares.
        types: by name of the export, the parameter and result letters that it may have.

    Raises:
        LoadError: the first such export.
    """
    for name, wanted in types.items():
        item = info.exports.get(name)
        if item is None or (item.kind == "function" and (item.params, item.results) in wanted):
            continue
        found = signature(item.params, item.results) if item.kind == "function" else f"a {item.kind}"
        called = " or ".join(signature(*each) for each in wanted)
        raise LoadError(
            f"its export {name!r} is {found}, but the host calls it as {called}; rename it, or build it with "
            f"that type"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a WASI command is run; the payload of a call made by ``guest.run``.

    An interface that owns a guest leaves one in ``call.scratch[Command]`` to say how its calls are to find
    their WASI part.

    Attributes:
        args: arguments after the program's own name.
        stdin: bytes, or the number of a host file descriptor to read from.
        env: environment, nothing of the host's own.
        dirs: preopened directories, guest path to host path; a host path may end in ``:ro``.
        stdout, stderr: ``None`` captures; a descriptor number or a callable taking bytes receives at once.
        options: what an interface understands beyond that (``net``, ``tty``, …); ``program`` is ``argv[0]``.
    """

    args: Sequence[str] = ()
    stdin: bytes | int = b""
    env: Mapping[str, str] = field(default_factory=dict)
    dirs: Mapping[str, str] = field(default_factory=dict)
    stdout: int | Callable[[bytes], object] | None = None
    stderr: int | Callable[[bytes], object] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How far a guest was brought before it is frozen.

    Attributes:
        after: what ran last, in words; ``None`` for nothing.
        without: exports that have run and must not run again; a snapshot has none of them.
        settled: exports that have run and have to be there: in a snapshot they do nothing and answer 0.
        note: what the interface wants to know when the snapshot is loaded; plain JSON.
    """

    after: str | None = None
    without: Collection[str] = ()
    settled: Collection[str] = ()
    note: Mapping[str, Any] = field(default_factory=dict)


class LoadedGuest(Protocol):
    """A guest as its interfaces see it; the host's :class:`guesthouse.Guest`.

    Attributes:
        name, tenant: who it is.
        module: the compiled module; ``info`` what it declares.
        links: what answers each of its imports.
        granted: the capabilities it was granted.
        config: the free-form configuration it was loaded with.
        limits: what each of its calls may use.
        owner: the guest side of the interface that runs it.
        interface: name of that interface.
        options: further options of ``host.load`` that an interface understands.
        template: what instances are opened from; ``None`` for a module that imports a shared memory,
            which is linked anew for each process.
    """

    name: str
    tenant: str
    module: Module
    info: ModuleInfo
    links: Links
    granted: frozenset[str]
    config: Mapping[str, Any]
    limits: Limits
    owner: GuestSide
    interface: str
    options: Mapping[str, Any]
    template: Template | None

    def service(self, name: str) -> Any:
        """Return a resource of the host, such as ``state``; made on first use.

        Raises:
            ResourceError: the host has no such resource.
        """

    def child(
        self,
        wasm: bytes,
        *,
        name: str,
        limits: Limits,
        interface: str | None = None,
        amend: Callable[[Links], object] | None = None,
    ) -> LoadedGuest:
        """Make a guest of the same tenant that only this one can run: as ``Terms.target`` of a call.

        It has this guest's capabilities and none beyond.

        Args:
            wasm: its module.
            name: what messages call it.
            limits: what its calls may use, beside this guest's own limits.
            interface: whose guest side runs it, where that cannot be told.
            amend: changes what answers its imports, before they are linked.

        Raises:
            LoadError: the module cannot be loaded.
        """

    def callee(self, name: str, entry: str | None = None) -> Callee:
        """Return what this guest means by a name, as it is loaded now.

        Args:
            name: a guest of the same tenant, or ``tenant:guest``; without an entry also ``guest/entry``, or
                an entry that exactly one guest provides.
            entry: what is to be called there; ``None`` for the guest's own entry.

        Raises:
            NotFound: there is none that this guest may see (:mod:`guesthouse.calls.crossing`).
            NotAllowed: there is one, but this guest's ``consumes`` leaves it out.
        """

    def cross(self, callee: Callee, data: bytes, *, parent: Call | None, wall: float | None = None) -> Result:
        """Call another guest on this thread, with no more capabilities than this one has.

        Args:
            callee: what :meth:`callee` returned.
            data: its input.
            parent: the running call that asks; ``None`` for a guest that runs outside of calls.
            wall: seconds it may take; the parent's deadline holds in any case.

        Raises:
            CallRefused: a bound was reached, or the host is shutting down.
            Cancelled, DeadlineExceeded: the parent was interrupted meanwhile.
        """

    def open(self, call: Call | None, template: Template | None = None) -> Instance:
        """Open an instance under this guest's limits and the call's deadline, with all interfaces bound.

        Nothing of the guest has run; the caller hands it to :meth:`start`, and to :meth:`dismiss` in the end.
        """

    def start(self, instance: Instance, call: Call | None) -> None:
        """Start an instance; a call waits where the pool of instances is full.

        Raises:
            PoolFull: no place came free until the call's deadline, or none can.
            CallError: the module's own start function ended early, or the call was cancelled.
        """

    def dismiss(self, instance: Instance, call: Call | None) -> None:
        """Release what the interfaces attached, note what the instance cost, and close it."""


class GuestSide:
    """One interface's part in one guest; made by :meth:`Interface.attach`.

    Args:
        guest: the guest.
    """

    def __init__(self, guest: LoadedGuest) -> None:
        self.guest = guest

    def accepts(self, entry: str | None) -> bool:
        """Say whether a call may name this entry; only for the interface that owns the guest.

        Args:
            entry: the entry; ``None`` for the guest's own.

        Returns:
            False when there is something of that name that cannot be called.

        Raises:
            NotFound: there is nothing of that name.
        """
        if entry is None:
            return True
        item = self.guest.info.exports.get(entry)
        if item is None or item.kind != "function":
            raise NotFound("function", entry, guest=self.guest.name)
        return not item.params

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Attach native state to an instance that was opened and has not been started."""

    def release(self, instance: Instance, call: Call | None) -> None:
        """Let go of what :meth:`bind` attached; called once, on every path, before the store is dropped."""

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run one call in a fresh, started instance; only for the interface that owns the guest.

        Raises:
            CallError: the call ended without a result.
        """
        raise NotImplementedError(f"{type(self).__name__} runs no guests")

    def initialise(self, instance: Instance, *, fully: bool, further: str | None) -> Beginning:
        """Run what a guest runs once, before its first call: what a snapshot freezes; only for the owner.

        Args:
            instance: a started instance.
            fully: go as far as the interface can; otherwise no further than constructors.
            further: an export that will be run afterwards.

        Raises:
            Unsafe: with `fully`: it should not be brought beyond its constructors.
            CallError: it failed.
            LoadError: guests of this interface have nothing that could be frozen.
        """
        # A program's constructors are left to `_start`, unless something is to run before that.
        early = further is not None and further != WIZER and CONSTRUCTORS in self.guest.info.exports
        for name in (INITIALIZE, *((CONSTRUCTORS,) if early else ())):
            if instance.exports(name):
                check_types(self.guest.info, {name: (("", ""),)})
                instance.invoke(name)
                return Beginning(after="its constructors", without=(name,))
        return Beginning()

    def holdings(self, instance: Instance) -> Mapping[str, int]:
        """Count what an instance holds outside of its own memory, by kind; a snapshot cannot keep those."""
        return {}

    def serve(self, call: Call) -> Outcome:
        """Run one call: in a fresh instance, unless the interface keeps guests resident.

        Raises:
            CallError: the call ended without a result.
        """
        instance = self.guest.open(call)
        try:
            self.guest.start(instance, call)
            return self.run(instance, call)
        finally:
            self.guest.dismiss(instance, call)

    def loaded(self) -> None:
        """The guest can be called now: begin what it does of its own accord; only for the owner.

        Raises:
            Error: it cannot begin; the guest is unloaded again.
        """

    def close(self) -> None:
        """The guest is being unloaded: end what is resident."""


class Interface(Protocol):
    """One family of imports and exports.

    Attributes:
        name: such as ``wasi``; granting it grants all of its capabilities.
        functions: the rows of its table.
        options: names of the options of ``host.load`` that it takes, for :attr:`LoadedGuest.options`.

    An interface may also have

    - ``reshape(info: ModuleInfo) -> ModuleInfo``: what it makes of the modules that it owns before they are
      compiled;
    - ``unmarked = True``: its guests may show no sign of it, and a module that shows none is its own where it
      is granted nothing but its capabilities (and WASI's);
    - ``isolate(links: Links) -> None``: takes out of the links of a guest that is initialised to be frozen
      what must not happen then;
    - ``initialiser: str``: the export that :meth:`GuestSide.initialise` runs beyond the constructors.
    """

    name: str
    functions: tuple[HostFunction, ...]
    options: tuple[str, ...]

    def owns(self, info: ModuleInfo) -> bool:
        """Say whether this interface's guest side runs such a module."""

    def attach(self, guest: LoadedGuest) -> GuestSide:
        """Make the guest side for a guest that imports from this interface or is owned by it.

        Raises:
            LoadError: the module or its configuration does not fit the interface.
        """
