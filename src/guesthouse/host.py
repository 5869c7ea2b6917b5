"""The host: owns the engine, the registry, the resources and the scheduler, and loads guests."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from guesthouse.calls import Call, CallLimits, Outcome, Result, Scheduler, crossing
from guesthouse.engine import Engine, Module, ModuleInfo, Progress, read
from guesthouse.errors import CallRefused, Error, LoadError, NotFound, ResourceError
from guesthouse.guest import Guest
from guesthouse.interfaces import Interface, available
from guesthouse.limits import Limits
from guesthouse.loading import ARGUMENTS, bind, check_options, has_threads, outline, owner_of, reshaped
from guesthouse.observe import Instrument, Instruments
from guesthouse.registry import Links, Registry
from guesthouse.snapshots import take as take_snapshot
from guesthouse.variants import Variants

#: Resources by name: what opens them, given the host's option of the same name (a URL or a mapping).
SERVICES: dict[str, str] = {
    "state": "guesthouse.resources.state:open_state",
    "files": "guesthouse.resources.files:open_files",
    "launches": "guesthouse.interfaces.ark.journal:Journal",
    "pulp": "guesthouse.interfaces.pulp.resident:Residence",
    "fabric": "guesthouse.interfaces.grafos.fabric:open_fabric",
}

#: Seconds after which a thread that holds the GIL lets others have it (DESIGN section 3, item 11).
SWITCH_INTERVAL = 0.0005

DEFAULT_TENANT = "default"


@functools.cache
def builtin_registry() -> Registry:
    """Return the registry of everything that comes with Guesthouse; do not register into it."""
    registry = Registry()
    for interface in available():
        registry.interface(interface.name, interface.functions)
    return registry


class Host:
    """One WebAssembly host; one per process as a rule.  Any thread may use it.

    ::

        with guesthouse.Host() as host:
            guest = host.load("hello.wasm", name="hello", grant=["faasm.state"])
            print(guest.call(b"input"))

    Args:
        registry: capabilities of yours, beside all that come with Guesthouse and installed packages.
        limits: what a call may use where ``load`` says nothing else.
        tenants: limits of whole tenants by name; ``None`` lets any tenant in, under ``limits``.
        workers: threads that run submitted calls; ``None`` for one per processor.
        calls: bounds of all calls together: depth, fan-out, queues, how long results are kept.
        cache: directory of the compile cache, ``None`` for the user's own, ``False`` for none.
        engine: an engine to share with other hosts of this process.
        instruments: told what happens; more can be added to ``host.instruments`` at any time.
        **resources: URL or options of each resource, such as ``state="sqlite:///path"``; those that are
            given are opened at once, the others when a guest first needs them.

    Raises:
        LoadError: the cache directory is not safe.
        ResourceError: an option names a resource that does not exist, or that cannot be opened.
        TypeError, ValueError: limits, tenants or workers are of another type, or out of range.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        limits: Limits | None = None,
        tenants: Mapping[str, Limits] | None = None,
        workers: int | None = None,
        calls: CallLimits | None = None,
        cache: Path | str | bool | None = None,
        engine: Engine | None = None,
        instruments: Iterable[Instrument] = (),
        **resources: Any,
    ) -> None:
        for name in resources:
            if name not in SERVICES:
                raise ResourceError(f"there is no resource {name!r}; there are: {', '.join(SERVICES)}")
        _check_types(limits, tenants, workers)
        self.limits = limits or Limits()
        self.tenants = dict(tenants) if tenants is not None else None
        # What the embedder registers comes first: it may take the place of what comes with Guesthouse.
        self.registry = Registry().include(registry if registry is not None else Registry())
        self.registry.include(builtin_registry(), absent=True).discover()
        self.engine = engine or Engine(cache)
        self._owns_engine = engine is None
        self.instruments = Instruments(*instruments)
        self.scheduler = Scheduler(self, workers, calls, on_end=self._ended)
        self._guests: dict[tuple[str, str], Guest] = {}
        self._resources = resources
        self._services: dict[str, Any] = {}
        self._set_up: list[str] = []
        self._lock = threading.RLock()
        self._closed = False
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        try:
            for name, given in resources.items():
                if given is not None:  # what was asked for is there from the start, or the host is not
                    self.service(name)
        except BaseException:
            self.close()
            raise

    # -- loading

    def load(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        name: str | None = None,
        grant: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        tenant: str = DEFAULT_TENANT,
        interface: str | None = None,
        sha256: str | None = None,
        lenient: bool = False,
        replace: bool = False,
        progress: Progress | None = None,
        provides: Iterable[str] = (),
        consumes: Iterable[str] | None = None,
        private: bool = False,
        snapshot: bool = False,
        entry: str | None = None,
        **options: Any,
    ) -> Guest:
        """Load a guest; none of its code runs before it is called, unless its interface says so.

        Args:
            source: path of a ``.wasm`` or ``.wat`` file, or the module's bytes.
            name: what it is called by; the file's stem by default.
            grant: capabilities, or bare interface names for all of their own.
            config: free-form configuration, for interfaces that hand one to the guest.
            limits: what each call may use; the host's limits by default.
            tenant: the isolation domain.
            interface: whose guest side runs it, where that cannot be told from the module.
            sha256: the digest that the bytes must have; checked before anything else.
            lenient: link unknown functions to a refusal instead of refusing the module.
            replace: take the place of a loaded guest of that name.
            progress: called while the module compiles, with the seconds spent.
            provides: entries that it offers to guests of other tenants; ``*`` for all (docs/calls.md).
            consumes: what it may call; ``None`` for every guest of its own tenant.
            private: hide it from other tenants whatever it provides.
            snapshot: initialise it once, now, and begin every later instance from there.
            entry: what a call runs that names no entry, instead of the interface's own.
            **options: what an interface takes beyond that (docs/capabilities.md lists them).

        Raises:
            LoadError: with all its kinds; nothing of the guest is kept.
        """
        name = name or ("guest" if isinstance(source, bytes) else Path(source).stem)
        guest = self.prepare(
            source, name=name, grant=grant, config=config, limits=limits, tenant=tenant, interface=interface,
            sha256=sha256, lenient=lenient, progress=progress, provides=provides, consumes=consumes,
            private=private, snapshot=snapshot, entry=entry, **options,
        )  # fmt: skip
        try:
            self._introduce(guest)
            self._admit(guest, replace)
        except BaseException:
            self._farewell(guest)
            raise
        try:
            guest.owner.loaded()
        except BaseException:
            self.unload(name, tenant=tenant)
            raise
        self.instruments.emit("guest_loaded", guest)
        return guest

    def prepare(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        name: str,
        grant: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        tenant: str = DEFAULT_TENANT,
        interface: str | None = None,
        sha256: str | None = None,
        lenient: bool = False,
        progress: Progress | None = None,
        provides: Iterable[str] = (),
        consumes: Iterable[str] | None = None,
        private: bool = False,
        snapshot: bool = False,
        entry: str | None = None,
        amend: Callable[[Links], object] | None = None,
        **options: Any,
    ) -> Guest:
        """Make a guest that nobody can call by its name; the arguments are those of :meth:`load`.

        Beyond them, `amend` is called with what answers the imports, to change it before it is linked.

        Raises:
            LoadError: with all its kinds.
        """
        try:
            check_options(options, *ARGUMENTS)
            self._check_tenant(tenant)
            info = outline(source, sha256)
            granted = self.registry.expand(grant, guest=name)
            owner = owner_of(info, interface, granted)
            if snapshot:
                taken = take_snapshot(
                    self, bytes(info.source), name, grant=grant, config=config, limits=limits,
                    tenant=tenant, interface=owner.name, lenient=lenient, **options,
                )  # fmt: skip
                info = read(taken.wasm)
            info = reshaped(info, owner)

            def resolved(grants: frozenset[str]) -> tuple[Links, list[Interface]]:
                links, parties = bind(self.registry, info, grants, owner, lenient=lenient, guest=name)
                if amend is not None:
                    amend(links)
                return links, parties

            links, parties = resolved(granted)
            bounds = self._bounded(limits, tenant)
            module = self._compile(info, granted, bounds, progress)
            variants = Variants(
                self.engine, module, links, granted,
                metered=bounds.fuel is not None, threads=has_threads(granted),
                resolve=lambda fewer: resolved(fewer)[0],
            )  # fmt: skip
            return Guest(
                self, name=name, tenant=tenant, module=module, links=links, granted=granted,
                config=config or {}, limits=bounds, options=options, interfaces=(owner, *parties),
                variants=variants, provides=tuple(provides), private=private, entry=entry,
                consumes=None if consumes is None else tuple(consumes),
            )  # fmt: skip
        except LoadError as error:
            raise error.within(name) from error.__cause__

    def _introduce(self, guest: Guest) -> None:
        """Tell the capabilities that were granted; each is set up once, before its first guest."""
        for capability in sorted(guest.granted):
            hooks = self.registry[capability].hooks
            with self._lock:
                if hooks.setup is not None and capability not in self._set_up:
                    hooks.setup(self)
                if capability not in self._set_up:
                    self._set_up.append(capability)
            if hooks.attach is not None:
                hooks.attach(guest)

    def _farewell(self, guest: Guest) -> None:
        """Close a guest and tell the capabilities that it had."""
        guest.close()
        self.instruments.emit("guest_closed", guest)
        for capability in sorted(guest.granted):
            release = self.registry[capability].hooks.release
            if release is not None:
                release(guest)

    def _check_tenant(self, tenant: str) -> None:
        if self.tenants is not None and tenant not in self.tenants:
            raise LoadError(f"there is no tenant {tenant!r}; there are: {', '.join(self.tenants) or 'none'}")

    def _bounded(self, limits: Limits | None, tenant: str) -> Limits:
        wanted = limits or self.limits
        ceiling = (self.tenants or {}).get(tenant)
        return wanted if ceiling is None else wanted.at_most(ceiling)

    def _compile(
        self,
        info: ModuleInfo,
        granted: frozenset[str],
        limits: Limits,
        progress: Progress | None,
    ) -> Module:
        begun = time.perf_counter()
        module = self.engine.compile(
            info, metered=limits.fuel is not None, threads=has_threads(granted), progress=progress
        )
        spent = time.perf_counter() - begun
        self.instruments.emit("module_compiled", info.sha256, info.size, spent, cached=module.cached)
        return module

    def _admit(self, guest: Guest, replace: bool) -> None:
        key = (guest.tenant, guest.name)
        with self._lock:
            if self._closed:
                raise LoadError("the host is closed", guest=guest.name)
            former = self._guests.get(key)
            if former is not None and not replace:
                raise LoadError(
                    "a guest of that name is loaded; unload it, or pass replace=True", guest=guest.name
                )
            self._guests[key] = guest
        if former is not None:
            self._farewell(former)

    def unload(self, name: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Forget a guest; calls that are running end in their own time.

        Raises:
            NotFound: there is no such guest.
        """
        with self._lock:
            guest = self.guest(name, tenant=tenant)
            del self._guests[tenant, name]
        self._farewell(guest)

    def guest(self, name: str, *, tenant: str = DEFAULT_TENANT) -> Guest:
        """Return a loaded guest.

        Raises:
            NotFound: there is no such guest; other tenants' guests are never mentioned.
        """
        try:
            return self._guests[tenant, name]
        except KeyError:
            known = [own for domain, own in self._guests.copy() if domain == tenant]
            raise NotFound("guest", name, known=known) from None

    @property
    def guests(self) -> tuple[Guest, ...]:
        """All loaded guests."""
        return tuple(self._guests.values())

    # -- calling

    def call(
        self, name: str, data: bytes = b"", *, entry: str | None = None, tenant: str = DEFAULT_TENANT
    ) -> bytes:
        """Call a guest by name on this thread; see :meth:`Guest.call`."""
        return self.guest(name, tenant=tenant).call(data, entry=entry)

    def invoke(
        self, name: str, data: bytes = b"", *, entry: str | None = None, tenant: str = DEFAULT_TENANT
    ) -> Result:
        """Call a guest by name on this thread; see :meth:`Guest.invoke`."""
        return self.guest(name, tenant=tenant).invoke(data, entry=entry)

    def submit(
        self, name: str, data: bytes = b"", *, entry: str | None = None, tenant: str = DEFAULT_TENANT
    ) -> Future[Result]:
        """Call a guest by name on the host's workers; see :meth:`Guest.submit`."""
        return self.guest(name, tenant=tenant).submit(data, entry=entry)

    def run(self, call: Call) -> Outcome:
        """Run a call that the scheduler decided to start; not for callers.

        Raises:
            CallError: the call ended without a result.
        """
        if self.instruments.watch_calls:
            self.instruments.emit("call_started", call)
        target: Guest | crossing.Unresolved | None = call.terms.target
        if target is None:
            target = self.guest(call.guest, tenant=call.tenant)
        return target.serve(call)

    def _ended(self, call: Call) -> None:
        if self.instruments.watch_calls:
            self.instruments.emit("call_ended", call, call.result)

    def callee(self, caller: Guest, name: str, entry: str | None = None) -> crossing.Callee:
        """Return what a guest means by a name (docs/calls.md).

        Args:
            caller: who asks.
            name: a guest of its tenant, or ``tenant:guest`` for another tenant's. Without an entry also
                ``guest/entry``, or the name of an entry that exactly one guest of its tenant provides.
            entry: what is to be called there; ``None`` for the guest's own entry.

        Raises:
            NotFound: there is none that the caller may see.
            NotAllowed: there is one, but the caller's ``consumes`` leaves it out.
        """
        tenant, own = crossing.split(name, caller.tenant)
        for guest, part in crossing.parts(own) if entry is None else ((own, entry),):
            callee = self._guests.get((tenant, guest))
            if callee is not None and crossing.visible(caller, callee, part):
                break
        else:
            domain = caller.tenant
            providers = [one for one in self.guests if one.tenant == domain and name in one.provides]
            if entry is not None or len(providers) != 1:
                raise NotFound("guest", name)
            callee, part = providers[0], name
        if not crossing.allowed(caller, callee, part):
            raise crossing.NotAllowed("guest", name)
        return crossing.Callee(callee, part or callee.entry)

    # -- resources

    def service(self, name: str) -> Any:
        """Return a resource, made on first use from the host's option of the same name.

        Raises:
            ResourceError: there is no such resource, or it cannot be opened.
        """
        with self._lock:
            found = self._services.get(name)
            if found is None:
                found = self._services[name] = self._open_service(name)
            return found

    def _open_service(self, name: str) -> Any:
        try:
            module, _, function = SERVICES[name].partition(":")
        except KeyError:
            raise ResourceError(f"there is no resource {name!r}; there are: {', '.join(SERVICES)}") from None
        opener: Callable[..., Any] = getattr(importlib.import_module(module), function)
        given = self._resources.get(name)
        if given is not None and not inspect.signature(opener).parameters:
            raise ResourceError(f"the resource {name!r} has no options; leave {name}={given!r} out")
        try:
            return opener() if given is None else opener(given)
        except Error:
            raise
        except Exception as error:
            raise ResourceError(f"option {name}={given!r}: {error}", resource=name) from error

    # -- the end

    def close(self) -> None:
        """Cancel what runs, end all guests, close the resources; harmless when done twice.

        Raises:
            CallRefused: a host function asked for it, in a call of this very host; nothing was closed.
        """
        if self._runs_caller():
            raise CallRefused("close")
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.scheduler.close()
        for guest in self.guests:
            self._farewell(guest)
        self._guests.clear()
        for capability in reversed(self._set_up):
            teardown = self.registry[capability].hooks.teardown
            if teardown is not None:
                teardown()
        for service in self._services.values():
            if hasattr(service, "close"):
                service.close()
        if self._owns_engine:
            with contextlib.suppress(RuntimeError):
                self.engine.close()

    def _runs_caller(self) -> bool:
        """Whether this thread is inside a guest of this host; looked up here, since calls are many."""
        own = self._services.get("pulp")  # cells that are stepped, which is no call
        if own is not None and own.runs_caller():
            return True
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code is Host.run.__code__ and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _check_types(limits: Any, tenants: Any, workers: Any) -> None:
    """Refuse what would only be noticed at the first call."""
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits: a guesthouse.Limits is needed, not {limits!r}")
    for name, own in (tenants or {}).items():
        if not isinstance(own, Limits):
            raise TypeError(f"tenants[{name!r}]: a guesthouse.Limits is needed, not {own!r}")
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers: a whole number of at least 1 is needed, or None, not {workers!r}")
