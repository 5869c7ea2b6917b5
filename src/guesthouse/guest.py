"""A loaded guest: a module under a name, with what it was granted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.calls import Call, Outcome, Result, Terms
from guesthouse.calls.crossing import Callee
from guesthouse.engine import Instance, Module, Template
from guesthouse.errors import CallError, DeadlineExceeded, InputLimit, LoadError, OutputLimit
from guesthouse.interfaces import Command, GuestSide, Interface
from guesthouse.limits import Duration, Limits, parse_duration
from guesthouse.loading import check_options
from guesthouse.registry import Links
from guesthouse.starting import start
from guesthouse.variants import Variants

if TYPE_CHECKING:
    from guesthouse.host import Host


#: Ceilings of callers that a guest remembers its limits under.
_MOST_CEILINGS = 64


@dataclass(frozen=True, slots=True)
class Exit:
    """How a WASI command ended.

    Attributes:
        code: its exit code.
        stdout, stderr: what it printed, where that was captured.
        receipt: what it cost.
    """

    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    receipt: Any = None


class Guest:
    """A module under a name with what it was granted; made by :meth:`Host.load`.

    The attributes are those of :class:`guesthouse.interfaces.LoadedGuest`.  Any thread may call it.
    """

    def __init__(
        self,
        host: Host,
        *,
        name: str,
        tenant: str,
        module: Module,
        links: Links,
        granted: frozenset[str],
        config: Mapping[str, Any],
        limits: Limits,
        options: Mapping[str, Any],
        interfaces: Sequence[Interface],
        variants: Variants,
        provides: Sequence[str] = (),
        consumes: Sequence[str] | None = None,
        private: bool = False,
        entry: str | None = None,
    ) -> None:
        self.host, self.name, self.tenant = host, name, tenant
        self.module, self.info, self.links, self.granted = module, module.info, links, granted
        self.config, self.limits, self.options = config, limits, options
        self.provides = tuple(provides)
        self.consumes = None if consumes is None else tuple(consumes)
        self.private, self.entry = private, entry
        self._variants = variants
        self._ceilings: dict[int, tuple[Limits, Limits]] = {}
        self.template: Template | None = variants.plain.template
        self.interface = interfaces[0].name
        self.owner: GuestSide = interfaces[0].attach(self)
        self.sides = (self.owner, *(interface.attach(self) for interface in interfaces[1:]))

    # -- calling it

    def call(self, data: bytes = b"", *, entry: str | None = None, wall: Duration | None = None) -> bytes:
        """Call the guest on this thread and return its output.

        Args:
            data: its input.
            entry: an entry other than the guest's own.
            wall: seconds it may take (or ``"500ms"``), if less than its limit.

        Raises:
            GuestFailed: it returned a non-zero code.
            CallError: it ended without a result.
            Exception: what a host function raised, unchanged.
        """
        return self.invoke(data, entry=entry, wall=wall).unwrap()

    def invoke(self, data: bytes = b"", *, entry: str | None = None, wall: Duration | None = None) -> Result:
        """Call the guest on this thread and return everything about it; failures do not raise.

        The arguments are those of :meth:`call`.
        """
        return self.host.scheduler.run(
            self.name, data, tenant=self.tenant, entry=entry, wall=self._wall(wall)
        )

    def submit(
        self, data: bytes = b"", *, entry: str | None = None, wall: Duration | None = None
    ) -> Future[Result]:
        """Call the guest on the host's workers; the arguments are those of :meth:`call`.

        A ``wall`` given here counts from now, the guest's own limit from the start of the call.

        Returns:
            A future of the result; cancelling it cancels the call.
        """
        scheduler = self.host.scheduler
        # The guest's own limit counts from the start, however long the call was queued before.
        call = scheduler.submit(self.name, data, tenant=self.tenant, entry=entry, wall=_seconds(wall))
        return scheduler.future(call)

    def run(
        self,
        args: Sequence[str] = (),
        stdin: bytes | int = b"",
        env: Mapping[str, str] | None = None,
        dirs: Mapping[str, str] | None = None,
        *,
        wall: Duration | None = None,
        entry: str | None = None,
        **options: Any,
    ) -> Exit:
        """Run the guest as a WASI command.

        Args:
            args: arguments after the program's name.
            stdin: bytes, or a host file descriptor.
            env: its environment; nothing of the host's own is added.
            dirs: preopened directories, guest path to host path (``:ro`` behind it for read-only).
            wall: seconds it may take (or ``"500ms"``), if less than its limit.
            entry: an export to run instead of ``_start``.
            **options: what :class:`guesthouse.interfaces.Command` has beyond that.

        Raises:
            UnknownOption: no interface takes an option of that name.
            CallError: it ended without an exit code.
        """
        known = {field.name for field in dataclasses.fields(Command)}
        direct = {key: options.pop(key) for key in tuple(options) if key in known}
        check_options(options.keys() - {"program"}, *known, of="run")
        command = Command(args=args, stdin=stdin, env=env or {}, dirs=dirs or {}, options=options, **direct)
        result = self.host.scheduler.run(
            self.name, tenant=self.tenant, entry=entry, wall=self._wall(wall), payload=command
        )
        if result.error is not None:
            raise result.error
        stderr = getattr(result.output, "stderr", b"")
        return Exit(result.code, result.output, stderr, result.receipt)

    def _wall(self, wall: Duration | None) -> float | None:
        most, asked = self.limits.wall, _seconds(wall)
        return most if asked is None else asked if most is None else min(asked, most)

    # -- what the scheduler and the interfaces use

    def serve(self, call: Call) -> Outcome:
        """Run one call, on the calling thread; the host's :class:`guesthouse.calls.Runner` ends here.

        Raises:
            InputLimit: the call was given too much.
            OutputLimit: it put out too much.
            CallError: the call ended without a result.
        """
        ceiling = call.terms.limits
        limits = self.limits if ceiling is None else self._below(ceiling)
        if len(call.input) > limits.input:
            raise InputLimit(len(call.input), limits.input, guest=self.name)
        if self.limits.wall is not None:
            call.tighten(self.limits.wall)
        if call.entry is None:
            call.entry = self.entry
        try:
            outcome = self.owner.serve(call)
            if len(outcome.output) > limits.output:  # of a resident guest; others are stopped as they write
                raise OutputLimit(limits.output)
        except CallError as error:
            if isinstance(error, DeadlineExceeded) and error.limit is None:
                error = DeadlineExceeded(limit=call.wall, function=error.function)
            raise error.within(self.name) from None
        return outcome

    def service(self, name: str) -> Any:
        """Return a resource of the host; see :meth:`Host.service`."""
        return self.host.service(name)

    def child(
        self,
        wasm: bytes,
        *,
        name: str,
        limits: Limits,
        interface: str | None = None,
        amend: Callable[[Links], object] | None = None,
    ) -> Guest:
        """Make a guest that only this one can run; see :class:`guesthouse.interfaces.LoadedGuest`."""
        return self.host.prepare(
            wasm, name=name, grant=self.granted, tenant=self.tenant, limits=limits.at_most(self.limits),
            interface=interface, amend=amend,
        )  # fmt: skip

    def callee(self, name: str, entry: str | None = None) -> Callee:
        """Return what this guest means by a name; see :meth:`Host.callee`."""
        return self.host.callee(self, name, entry)

    def cross(self, callee: Callee, data: bytes, *, parent: Call | None, wall: float | None = None) -> Result:
        """Call another guest on this thread; see :class:`guesthouse.interfaces.LoadedGuest`."""
        guest: Guest = callee.guest
        return self.host.scheduler.run(
            guest.name, data, parent=parent, tenant=guest.tenant, entry=callee.entry, wall=wall,
            capabilities=self.granted, kept=True, terms=Terms(guest),
        )  # fmt: skip

    def open(self, call: Call | None, template: Template | None = None) -> Instance:
        """Open an instance; see :class:`guesthouse.interfaces.LoadedGuest`."""
        limits = self.limits
        form = self._variants.plain
        if call is not None:
            if call.terms.limits is not None:
                limits = self._below(call.terms.limits)
            form = self._variants.form(call.capabilities, metered=limits.fuel is not None)
        if form is self._variants.plain:
            template = template or self.template
        elif template is None or template is self.template:
            template = form.template
        else:
            raise LoadError(
                "it was linked by its interface, and cannot run with fewer capabilities or metered"
            )
        if template is None:
            raise RuntimeError("a module that imports a shared memory is linked by its interface")
        instance = template.open(memory_limit=limits.memory, output_limit=limits.output, fuel=limits.fuel)
        if call is not None:
            instance.call = call
            instance.deadline = call.deadline
            instance.input = call.input
            call.instance = instance
        for side in self.sides:
            side.bind(instance, call)
        return instance

    def _below(self, ceiling: Limits) -> Limits:
        """This guest's limits under a caller's; remembered, as callers keep theirs for life."""
        known = self._ceilings.get(id(ceiling))
        if known is None or known[0] is not ceiling:
            if len(self._ceilings) >= _MOST_CEILINGS:
                self._ceilings.clear()
            known = self._ceilings[id(ceiling)] = ceiling, self.limits.at_most(ceiling)
        return known[1]

    def start(self, instance: Instance, call: Call | None) -> None:
        """Start an instance, waiting for a place; see :class:`guesthouse.interfaces.LoadedGuest`."""
        start(instance, call)

    def dismiss(self, instance: Instance, call: Call | None) -> None:
        """Release and close an instance; see :class:`guesthouse.interfaces.LoadedGuest`."""
        try:
            for side in self.sides:
                side.release(instance, call)
            if call is not None:
                call.instance = None
                self._account(instance, call)
        finally:
            instance.close()

    def _account(self, instance: Instance, call: Call) -> None:
        """Write what the instance cost into the receipt."""
        receipt = call.receipt
        calls = receipt.host_calls = instance.host_calls()
        receipt.peak_memory = instance.memory_size
        receipt.guest_s = instance.busy
        receipt.fuel = instance.fuel_used()
        denied = self._variants.of(instance.template).denied
        if denied and calls:
            receipt.refusals = tuple(name for name in calls if name in denied)
            for function in receipt.refusals:
                self.host.instruments.emit(
                    "function_refused", call, denied[function], function, calls[function]
                )

    def close(self) -> None:
        """End what is resident; the host forgets the guest afterwards."""
        for side in reversed(self.sides):
            side.close()

    def __repr__(self) -> str:
        return f"<Guest {self.tenant}/{self.name} ({self.interface})>"


def _seconds(wall: Duration | None) -> float | None:
    return parse_duration(wall) if isinstance(wall, str) else wall
