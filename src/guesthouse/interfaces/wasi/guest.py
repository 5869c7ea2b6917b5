"""The guest side of WASI: commands, reactors, and plain modules whose exports are called by name.

``_start`` is run with the call's input as standard input and its standard output as output.  Another
entry is called after ``_initialize``: a function of type ``() -> ()`` or ``() -> i32`` is an entry whose
result is the return code; any other is given the command's arguments as numbers, and its results are
appended to the output, one per line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.calls import Call, Outcome
from guesthouse.engine import Exit, Instance, ModuleInfo, signature
from guesthouse.errors import CallError, NotFound
from guesthouse.interfaces.contract import INITIALIZE, Command, GuestSide, LoadedGuest, check_types
from guesthouse.interfaces.wasi.imports import IMPORTS
from guesthouse.interfaces.wasi.options import WasiOptions
from guesthouse.interfaces.wasi.state import SLOT, Context, Process, context_of

#: Options of ``host.load`` that every call of the guest starts from.
OPTIONS = ("args", "env", "dirs", "stdout", "stderr")


class Captured(bytes):
    """Standard output, with what was written to standard error beside it."""

    stderr: bytes = b""

    @classmethod
    def of(cls, process: Process, extra: bytes = b"") -> Captured:
        """Return what a program printed, and `extra` behind it."""
        output = cls(process.captured(1) + extra)
        output.stderr = process.captured(2)
        return output


class WasiSide(GuestSide):
    """WASI's part in one guest."""

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        self._options = {name: guest.options[name] for name in OPTIONS if name in guest.options}
        self._known: tuple[Command, Callable[[], Process]] | None = None

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Give the instance descriptors, arguments and an environment of its own, unless it has them."""
        if context_of(instance) is None:
            instance.attach(SLOT, Context(self.process(call)))

    def process(self, call: Call | None) -> Process:
        """Return a new process for a call, not running yet.

        Raises:
            LoadError: a directory cannot be opened.
        """
        # Where another interface owns the guest, it has said how it wants it set up.
        command = None if call is None else call.scratch.get(Command, call.payload)
        if isinstance(command, Command):
            return self._for_command(command)
        data = b"" if call is None else call.input
        if self._options:
            args = (self.guest.name, *self._options.get("args", ()))
            silent = {"stdout": None, "stderr": None} if call is None else {}
            return self._make({**silent, **self._options, "args": args}, data).process()
        limits = self.guest.limits
        process = Process(output_limit=limits.output, descriptors=limits.handles, disk=limits.disk)
        if call is None:  # resident: what it prints in its whole life must not pile up
            process.set_stream(1, None)
            process.set_stream(2, None)
        if data:
            process.set_stream(0, data)
        return process

    def _for_command(self, command: Command) -> Process:
        if self._known is not None and self._known[0] is command:
            return self._known[1]()
        options = self._read(command)
        if not command.stdin and command.stdout is None and command.stderr is None:
            self._known = command, options.maker()  # an owner hands the same one to all of its plain calls
        return options.process()

    def _read(self, command: Command) -> WasiOptions:
        given: dict[str, Any] = dict(self._options)
        program = command.options.get("program", self.guest.name)
        given["terminal"] = command.options.get("terminal", False)
        given["args"] = (program, *given.get("args", ()), *command.args)
        for name, own in (("env", command.env), ("dirs", command.dirs)):
            given[name] = {**given[name], **own} if name in given else own
        for name in ("stdout", "stderr"):
            output = getattr(command, name)
            if output is not None:
                given[name] = output
        return self._make(given, command.stdin)

    def _make(self, given: dict[str, Any], stdin: Any) -> WasiOptions:
        limits = self.guest.limits
        return WasiOptions(
            **given, stdin=stdin, output_limit=limits.output, descriptors=limits.handles, disk=limits.disk
        )

    def release(self, instance: Instance, call: Call | None) -> None:
        """Close all descriptors, unless the instance is one thread of many: WASIX does it then."""
        context = context_of(instance)
        if context is not None and context.thread is None:
            context.process.close()

    def holdings(self, instance: Instance) -> Mapping[str, int]:
        """Count the open descriptors."""
        context = context_of(instance)
        return {} if context is None else {"open descriptors": context.process.descriptors}

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run ``_start``, or the call's entry.

        Raises:
            NotFound: the entry is not exported.
            CallError: the entry cannot be called with these arguments, or ended without a result.
        """
        context = context_of(instance)
        assert context is not None
        code, extra = 0, b""
        try:
            code, extra = self._enter(instance, call)
        except Exit as leaving:
            code = leaving.code
        output = instance.output
        return Outcome(code, Captured.of(context.process, output + extra))

    def _enter(self, instance: Instance, call: Call) -> tuple[int, bytes]:
        entry = call.entry or "_start"
        kind = instance.signature(entry)
        if kind is None:
            functions = [name for name, item in self.guest.info.exports.items() if item.kind == "function"]
            raise NotFound("entry", entry, known=functions, guest=self.guest.name)
        if entry != "_start" and instance.exports(INITIALIZE):
            check_types(self.guest.info, {INITIALIZE: (("", ""),)})
            instance.invoke(INITIALIZE)
        if kind in (("", ""), ("", "i")):
            return instance.invoke(entry) or 0, b""
        results = instance.invoke(entry, *self._numbers(entry, kind, call))
        values = results if isinstance(results, tuple) else () if results is None else (results,)
        return 0, b"".join(b"%s\n" % str(value).encode() for value in values)

    def _numbers(self, entry: str, kind: tuple[str, str], call: Call) -> list[float]:
        """The command's arguments as numbers, for an entry that is no program."""
        words = call.payload.args if isinstance(call.payload, Command) else ()
        try:
            numbers = [int(w, 0) if k in "iI" else float(w) for k, w in zip(kind[0], words, strict=True)]
        except ValueError:
            raise CallError(
                f"it is of type {signature(*kind)}; give it {len(kind[0])} numbers as arguments, "
                f"not {list(words)!r}",
                guest=self.guest.name,
                function=entry,
            ) from None
        return numbers


class WasiInterface:
    """WASI preview 1 and its forerunner; takes every module that no other interface claims."""

    name = "wasi"
    functions = IMPORTS
    options = OPTIONS

    def owns(self, info: ModuleInfo) -> bool:
        """Any module can be run as a command, a reactor, or by calling its exports."""
        return True

    def attach(self, guest: LoadedGuest) -> WasiSide:
        """Make the guest side."""
        return WasiSide(guest)
