"""A cell: a loaded guest that lives on, with one entry at a time (spec/pulp.md 5.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from guesthouse.engine import Exit
from guesthouse.errors import CallError, LoadError
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.body import Body, Tree
from guesthouse.interfaces.pulp.errors import (
    CellClosed,
    CellFailed,
    HostFunctionFailed,
    no_strangers,
    prefixed,
)
from guesthouse.interfaces.pulp.loading import LoadedCell, load
from guesthouse.interfaces.pulp.spec import CellSpec, SpecLike
from guesthouse.interfaces.pulp.structs import Envelope
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.interfaces.pulp.threshold import Threshold
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability
    from guesthouse.registry import Registry

Lifted = TypeVar("Lifted")
Check = Callable[[], object]


class Cell(Threshold):
    """A live cell.  Any thread may call any method; entries into the guest take turns.

    Made by `load`.  A context manager: leaving it closes the cell.

    Attributes:
        spec: what it was loaded from.
        tenant: isolation domain.
        services: what a runtime offers to capabilities, such as its directory of sibling cells.
        on_end: told, by the thread that was inside, that an entry has ended the guest: the export and
            the error.
    """

    def __init__(self, loaded: LoadedCell, *, tenant: str = "default", services: Any = None) -> None:
        super().__init__(loaded.spec.label, loaded.spec.timeout)
        self.spec = loaded.spec
        self.tenant = tenant
        self.services = services
        self._loaded = loaded
        self.on_end: Callable[[str, CallError], object] | None = None
        self._stopped = False
        self._coming: Body | None = None  # the instance that a reload initialises
        self._attached: list[Capability] = []
        try:
            self._attach()
            self._body = self._open(loaded)
        except BaseException:
            self._release()
            loaded.close()
            raise

    @classmethod
    def load(
        cls,
        spec: SpecLike,
        registry: Registry | None = None,
        *,
        surroundings: Surroundings,
        tenant: str = "default",
        services: Any = None,
    ) -> Self:
        """Load a cell: read, compile, bind, instantiate, run its start function.

        Args:
            spec: see `CellSpec.of`.
            registry: capabilities; ``None`` offers WASI only.
            surroundings: the engine and the neighbouring interfaces.
            tenant: isolation domain.
            services: handed to capabilities as ``call.cell.services``.

        Raises:
            ManifestError: the manifest is malformed.
            LoadError: with the stage in front; see `guesthouse.interfaces.pulp.loading.load`.
            CallError: ``instantiate wasm``: the start function failed.
        """
        return cls(load(CellSpec.of(spec), registry, surroundings), tenant=tenant, services=services)

    def _open(self, loaded: LoadedCell) -> Body:
        body = Body(self, loaded, self.tenant)
        try:
            body.instance.deadline = time.monotonic_ns() + int(self.spec.timeout * 1e9)
            body.start()
        except CallError as error:
            body.close()
            raise prefixed(error, "instantiate wasm") from error.__cause__
        except BaseException:
            body.close()
            raise
        return body

    def _attach(self, renewed: Sequence[Capability] | None = None) -> None:
        for capability in self._loaded.capabilities if renewed is None else renewed:
            if capability.hooks.attach is not None:
                try:
                    capability.hooks.attach(self)
                except Exception as error:
                    message = f"bind capabilities: {capability.name}: {error}"
                    raise LoadError(message, guest=self.label) from error
            self._attached.append(capability)

    def _release(self, kept: Sequence[Capability] = ()) -> None:
        """Let the capabilities go of the cell, the last one first; none can keep the others from it."""
        leaving = [capability for capability in self._attached if capability not in kept]
        while leaving:
            capability = leaving.pop()
            self._attached.remove(capability)
            if capability.hooks.release is None:
                continue
            try:
                capability.hooks.release(self)
            except Exception:  # noqa: BLE001 - code of strangers
                log.exception("capability release failed", cell=self.label, capability=capability.name)

    # -- who it is

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.spec.name

    @property
    def id(self) -> str:
        """The routing id, by which capabilities key what they keep for the cell."""
        return self.spec.id

    @property
    def granted(self) -> frozenset[str]:
        """The declared capabilities."""
        return self._loaded.granted

    def has_provider(self) -> bool:
        """Whether siblings can call the cell: it exports ``pulp_on_call``."""
        return not self._closed and bool(self._body.instance.exports("pulp_on_call"))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def usable(self) -> bool:
        """Whether the guest can be entered: not closed, and not ended by a trap or timeout."""
        return not self._closed and self._body.usable

    # -- entry points

    def init(self, config: Mapping[str, Any] | bytes | None = None, *, timeout: float | None = None) -> None:
        """Run ``pulp_init`` with a configuration: the one of the spec by default.

        Args:
            config: a mapping, or the encoded MessagePack map; an empty one reaches the guest as (0, 0).
            timeout: budget in seconds instead of the cell's.

        Raises:
            CellFailed: ``pulp_init returned N``, with what the guest said about it.
            CallError: ``pulp_init trap``, or the cell is closed.
            EncodeError: the configuration has no MessagePack form.
        """
        given = self.spec.config if config is None else config
        data = given if isinstance(given, bytes) else codec.encode(given) if given else b""
        if self._closed:
            raise CellClosed("cell is closed or not initialized", cell=self.label)
        self._enter("pulp_init", timeout, None, Body.init, data)

    def step(
        self,
        envelope: Envelope | bytes | None = None,
        *,
        timeout: float | None = None,
        check: Check | None = None,
    ) -> int:
        """Run ``pulp_step`` once.

        Args:
            envelope: what to hand over; ``None`` is an idle tick now.
            timeout: budget in seconds instead of the cell's.
            check: called while waiting for the turn; raising ends the wait, not the guest.

        Returns:
            The guest's own code; the runner ignores it.

        Raises:
            CallError: ``pulp_step trap``, a message beyond the limit, or the cell is closed.
        """
        if envelope is None:
            envelope = Envelope(wall_time=time.time_ns())
        data = envelope if isinstance(envelope, bytes) else envelope.encode()
        return self._enter("pulp_step", timeout, check, Body.step, data)

    def call(
        self, name: str, args: bytes = b"", *, timeout: float | None = None, check: Check | None = None
    ) -> bytes | None:
        """Call a function that the cell provides.

        Args:
            name: the function.
            args: opaque bytes, MessagePack by convention.
            timeout: budget in seconds instead of the cell's, waiting included.
            check: called while waiting for the turn; raising ends the wait, not the guest.

        Returns:
            The response, ``None`` for an empty one.

        Raises:
            CellFailed: ``pulp_on_call returned N``.
            CycleError: the call would wait for itself.
            CallError: ``pulp_on_call trap``, no provider, a message beyond the limit, closed.
        """
        return self._enter("pulp_on_call", timeout, check, Body.on_call, name.encode(), args) or None

    def call_typed(
        self,
        name: str,
        args: bytes,
        lift: Callable[[Tree[Lifted]], Lifted],
        *,
        timeout: float | None = None,
    ) -> Lifted:
        """Call a function whose response is read in place (spec/pulp.md 2.3, item 5).

        Args:
            name: as for `call`.
            args: as for `call`.
            timeout: as for `call`.
            lift: reads the response while it is pinned and returns what it stands for.

        Raises:
            NoPostReturn: the cell is not a typed one.
            CallError: as `call`.
        """
        typed: Callable[..., Lifted] = Body.on_call_typed
        return self._enter("pulp_on_call", timeout, None, typed, name.encode(), args, lift)

    def probe_config_marker(self) -> int | None:
        """Return the diagnostic ``probe_config_marker`` (i64); ``None`` when absent or closed."""
        value = self._probe("probe_config_marker")
        return value - (1 << 64) if value is not None and value >> 63 else value

    def probe_last_call(self) -> int | None:
        """Return the diagnostic ``probe_last_call`` (u64); ``None`` when absent or closed."""
        return self._probe("probe_last_call")

    def probe_alloc_live(self) -> int | None:
        """Return the number of live allocations that the guest counts; ``None`` when it does not."""
        return self._probe("probe_alloc_live")

    def shutdown(self, *, timeout: float | None = None) -> None:
        """Run ``pulp_shutdown`` once; nothing happens on a closed, ended or stopped cell.

        Raises:
            CellFailed: ``pulp_shutdown returned N``.
            CallError: ``pulp_shutdown trap``.
        """
        if self._over():
            return

        def shut_down(body: Body) -> int:
            if self._over():  # another thread was first
                return 0
            self._stopped = True
            return body.invoke("pulp_shutdown")

        code = self._enter("pulp_shutdown", timeout, None, shut_down)
        if code:
            raise CellFailed(self.label, "pulp_shutdown", code)

    # -- the end, and a new beginning

    @property
    def ended(self) -> str | None:
        """Why the guest cannot be entered any more; ``None`` while it can."""
        return self._body.ended

    def interrupt(self, reason: str = "interrupted") -> None:
        """End what the guest is doing, from any thread; its instance cannot be used afterwards."""
        for body in (self._coming, self._body):
            if body is not None:
                body.instance.cancel(reason)

    def reload(self, loaded: LoadedCell | None = None, *, timeout: float | None = None) -> None:
        """Replace the instance by a fresh one, and initialise it as before.

        The guest is shut down first, if it still lives.  What capabilities keep for an instance, such as
        open streams, goes with it.

        Args:
            loaded: the cell loaded anew; the same module by default.
            timeout: budget of each of shutdown, start and initialisation, in seconds.

        Raises:
            CallError: the new instance failed to start or to initialise; or the cell is closed.
            LoadError: a capability refused the new instance.
        """
        config = codec.encode(self.spec.config) if self.spec.config else b""
        budget = timeout or self.spec.timeout
        self._take(None, None)
        try:
            if self._closed:
                raise CellClosed("cell is closed", cell=self.label)
            self._say_goodbye(budget)
            with self._renewed():
                body = self._coming = self._open(loaded or self._loaded)
                try:
                    body.instance.deadline = _deadline(budget)
                    body.init(config)
                except BaseException:
                    body.close()
                    raise
                finally:
                    self._coming = None
            self._body, old = body, self._body
            self._stopped = False
            old.close()
            if loaded is not None:
                self._loaded, gone = loaded, self._loaded
                gone.close()
        finally:
            self._turn.release()

    def _say_goodbye(self, budget: float) -> None:
        """Shut the instance down before it is replaced; what it answers is only logged."""
        if self._over():
            return
        self._stopped = True
        try:
            self._body.instance.deadline = _deadline(budget)
            with no_strangers(self.label, "pulp_shutdown"):
                code = self._body.invoke("pulp_shutdown")
            if code:
                log.error("shutdown failed", cell=self.label, code=code)
        except CallError as error:
            log.error("shutdown failed", cell=self.label, error=str(error))

    @contextmanager
    def _renewed(self) -> Iterator[None]:
        """Let capabilities go of the old instance and attach them to the new one.

        What they keep for a cell of several instances is used by the others too: that stays.
        """
        with ExitStack() as stack:
            shared = self.spec.instances > 1
            lasting = [each for each in self._attached if shared or each.hooks.renew is not None]
            # Of all, not of those attached now: an attempt before this one may have failed half-way.
            passing = [each for each in self._loaded.capabilities if each not in lasting]
            for capability in lasting:
                if capability.hooks.renew is not None:
                    stack.enter_context(capability.hooks.renew(self))
            self._release(kept=lasting)
            self._attach(passing)
            yield

    def close(self) -> None:
        """Drop the instance, after the entry that runs now; harmless when repeated."""
        if self._closed:
            return
        self._take(None, None)
        try:
            if not self._closed:
                self._closed = True
                self._body.close()
                self._release()
                self._loaded.close()
        finally:
            self._turn.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "live" if self._body.usable else "ended"
        return f"<Cell {self.name!r} {state}>"

    # -- inside

    def _failed(self, function: str, body: Body, error: Exception) -> Exception:
        """Return what an entry that failed raises; told with the turn held."""
        if isinstance(error, CellFailed | CellClosed):
            return error
        if isinstance(error, Exit):
            error = body.left(error)
        if isinstance(error, CallError):
            error.within(self.label)
        if body.usable:
            return error
        if isinstance(error, CallError):
            self._end(function, body, error)
            return prefixed(error, f"{function} trap")
        if body.ended is None:
            self._end(function, body, HostFunctionFailed(self.label, function, error))
        return error

    def _end(self, function: str, body: Body, error: CallError) -> None:
        """Note that an entry has ended the guest, and tell who wants to know."""
        body.ended = body.ended or error.message
        if self.on_end is not None:
            self.on_end(function, error)

    def _over(self) -> bool:
        return self._closed or self._stopped or not self._body.usable

    def _probe(self, export: str) -> int | None:
        if self._closed:
            return None
        return self._enter(export, None, None, Body.probe, export)


def _deadline(seconds: float) -> int:
    """A budget in seconds as an instant of the monotonic clock, in nanoseconds."""
    return time.monotonic_ns() + max(1, int(seconds * 1e9))
