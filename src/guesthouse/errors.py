"""Every error that Guesthouse raises, as one tree.

::

    Error
    ├── LoadError              the guest cannot be loaded; nothing of it ran
    │   ├── InvalidModule        the bytes are no valid core module (offset)
    │   ├── MissingImports       imports that nobody provides, or that were not granted (all at once)
    │   ├── WrongImportType      an import is known, but declared with another type
    │   ├── UnknownCapability    a grant names a capability that nobody registered
    │   ├── UnknownOption        an option that neither the host nor an interface takes
    │   └── ManifestError        a manifest is malformed (file, key)
    ├── CallError              a call ended without a result
    │   ├── GuestFailed          the guest itself answered with a non-zero code
    │   ├── Trap                 the guest trapped (reason, backtrace)
    │   ├── DeadlineExceeded     wall time ran out
    │   ├── OutOfFuel            metered instructions ran out
    │   ├── MemoryLimit          the guest needs more memory than it may have
    │   ├── InputLimit           the call was given more input than the guest takes
    │   ├── OutputLimit          the guest wrote more output than it may
    │   ├── NotFound             no such guest, entry or call
    │   ├── CallRefused          one call too many: depth, fan-out, queue, shutdown, a cycle
    │   └── Cancelled            somebody cancelled the call or its parent
    └── ResourceError          a resource refused, or lost its backend
        └── PoolFull             no place for one more instance, and none came free

Every class carries its facts as attributes and builds its message from them, so callers branch on
fields and never on text.  Every message says what was wrong, where, and what would mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self


class Error(Exception):
    """Base of every error that Guesthouse raises on purpose."""


class LoadError(Error):
    """A guest cannot be loaded; no code of it has run.

    Attributes:
        message: what is wrong, without where.
        guest: name of the guest, or ``None`` before it has one.
    """

    def __init__(self, message: str, *, guest: str | None = None) -> None:
        self.guest, self.message = guest, message
        super().__init__(message)

    def __str__(self) -> str:
        return f"guest {self.guest!r}: {self.message}" if self.guest else self.message

    def within(self, guest: str) -> Self:
        """Say which guest it happened to, unless that is known already; return the error itself."""
        if self.guest is None:
            self.guest = guest
        return self


class InvalidModule(LoadError):
    """The bytes are not a valid core WebAssembly module.

    Attributes:
        offset: position of the first offending byte, or ``None`` where the engine does not tell.
        detail: what is wrong, without the rest of the message.
    """

    def __init__(self, message: str, *, offset: int | None = None, guest: str | None = None) -> None:
        self.offset, self.detail = offset, message
        where = f" (at byte offset {offset:#x})" if offset is not None else ""
        super().__init__(f"not a valid WebAssembly module: {message}{where}", guest=guest)


class MissingImports(LoadError):
    """The module imports what nobody provides or what was not granted; all of it is listed at once.

    Attributes:
        imports: one ``(module, name, capability)`` per missing import; the capability is the one that
            would provide it, ``None`` where nobody knows the import.
    """

    def __init__(
        self,
        imports: Sequence[tuple[str, str, str | None]],
        *,
        guest: str | None = None,
        hint: str = "",
    ) -> None:
        self.imports = tuple(imports)
        lines = [
            f"  {module}.{name}" + (f"  (grant {capability!r})" if capability else "  (unknown to this host)")
            for module, name, capability in self.imports
        ]
        noun = "import is" if len(lines) == 1 else "imports are"
        super().__init__(
            f"{len(lines)} {noun} not available:\n" + "\n".join(lines) + (f"\n{hint}" if hint else ""),
            guest=guest,
        )


class WrongImportType(LoadError):
    """An import is known, but the module declares it with a type that this host does not offer.

    Attributes:
        module, name: the import.
        declared: the type in the module, such as ``(i32, i64) -> i32``.
        offered: the types that the host offers.
    """

    def __init__(
        self,
        module: str,
        name: str,
        declared: str,
        offered: Sequence[str],
        *,
        guest: str | None = None,
    ) -> None:
        self.module, self.name, self.declared, self.offered = (
            module,
            name,
            declared,
            tuple(offered),
        )
        super().__init__(
            f"import {module}.{name} is declared as {declared}, but this host offers it as "
            + " or ".join(offered),
            guest=guest,
        )


class UnknownCapability(LoadError):
    """A grant names a capability that nobody registered.

    Attributes:
        capability: the name as it was given.
        suggestion: the nearest registered name, or ``None``.
    """

    def __init__(
        self,
        capability: str,
        *,
        suggestion: str | None = None,
        guest: str | None = None,
    ) -> None:
        self.capability, self.suggestion = capability, suggestion
        mend = f"; did you mean {suggestion!r}?" if suggestion else "; `guesthouse imports` lists them all"
        super().__init__(f"unknown capability {capability!r}{mend}", guest=guest)


class UnknownOption(LoadError):
    """An option of ``host.load`` or ``guest.run`` that neither the host nor any interface takes.

    Attributes:
        option: the name as it was given.
        suggestion: the nearest name that is known, or ``None``.
    """

    def __init__(
        self,
        option: str,
        *,
        of: str = "load",
        suggestion: str | None = None,
        known: Sequence[str] = (),
        guest: str | None = None,
    ) -> None:
        self.option, self.suggestion = option, suggestion
        mend = f"did you mean {suggestion!r}?" if suggestion else f"interfaces take: {', '.join(known)}"
        super().__init__(f"{of}() takes no option {option!r}; {mend}", guest=guest)


class ManifestError(LoadError):
    """A manifest cannot be read, parsed or accepted.

    Attributes:
        file: path of the manifest.
        key: dotted key at fault, or ``None`` when the file as a whole is.
    """

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        self.file, self.key = file, key
        where = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)


class CallError(Error):
    """A call ended without a result.

    Attributes:
        message: what happened, without where.
        guest: name of the guest that was called.
        function: the entry or host function that was running, where known.
        receipt: what the call cost until then, where known.
    """

    def __init__(self, message: str, *, guest: str | None = None, function: str | None = None) -> None:
        self.guest, self.function, self.message = guest, function, message
        self.receipt: Any = None
        super().__init__(message)

    def __str__(self) -> str:
        where = ".".join(part for part in (self.guest, self.function) if part)
        return f"{where}: {self.message}" if where else self.message

    def within(self, guest: str) -> Self:
        """Say which guest it happened in, unless that is known already; return the error itself."""
        if self.guest is None:
            self.guest = guest
        return self


class GuestFailed(CallError):
    """The guest ran to its end and answered with a non-zero code.

    Attributes:
        code: the code, as the guest's interface defines it.
        output: what the guest had written until then.
    """

    def __init__(
        self,
        code: int,
        *,
        output: bytes = b"",
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.code, self.output = code, output
        super().__init__(f"the guest returned code {code}", guest=guest, function=function)


class Trap(CallError):
    """The guest trapped: its instance is gone.

    Attributes:
        reason: what happened, such as ``unreachable`` or ``out of bounds memory access``.
        code: the engine's trap code (``None`` for a trap that a host function set).
        backtrace: guest frames, innermost first.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: int | None = None,
        backtrace: Sequence[str] = (),
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.reason, self.code, self.backtrace = reason, code, tuple(backtrace)
        frames = "".join(f"\n  at {frame}" for frame in self.backtrace)
        super().__init__(f"trap: {reason}{frames}", guest=guest, function=function)


class DeadlineExceeded(CallError):
    """The call used up its wall time; how long it ran is in its receipt.

    Attributes:
        limit: the limit in seconds that ran out, exactly as it was set: for the call, for its guest, or for a
            call above it; ``None`` where no limit of a call did.
    """

    def __init__(
        self,
        *,
        limit: float | None = None,
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.limit = limit
        budget = f" of {limit:g} s" if limit is not None else ""
        super().__init__(
            f"deadline{budget} exceeded; raise the `wall` limit if the guest needs longer",
            guest=guest,
            function=function,
        )


class OutOfFuel(CallError):
    """The call used up its fuel.

    Attributes:
        limit: the fuel budget in instructions, where known.
    """

    def __init__(
        self,
        *,
        limit: int | None = None,
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.limit = limit
        budget = f" ({limit} instructions)" if limit is not None else ""
        super().__init__(
            f"out of fuel{budget}; raise the `fuel` limit",
            guest=guest,
            function=function,
        )


class MemoryLimit(CallError):
    """The guest needs more memory than its limit allows, over all its memories together.

    Attributes:
        needed: bytes that were asked for, at least.
        limit: bytes that are allowed.
    """

    def __init__(
        self,
        needed: int,
        limit: int,
        *,
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.needed, self.limit = needed, limit
        text = f"{needed} bytes of memory needed, {limit} allowed; raise the `memory` limit"
        if needed <= limit:  # all that is known is that the memory did not grow
            text = (
                f"at least {needed} bytes of memory needed, and they cannot be had: the limit is {limit}, "
                "the module's own maximum may be less; raise the `memory` limit or that maximum"
            )
        super().__init__(text, guest=guest, function=function)


class InputLimit(CallError):
    """The call was given more input than the guest takes; nothing of the guest ran.

    Attributes:
        needed: bytes that were given.
        limit: bytes that are allowed.
    """

    def __init__(
        self, needed: int, limit: int, *, guest: str | None = None, function: str | None = None
    ) -> None:
        self.needed, self.limit = needed, limit
        super().__init__(
            f"{needed} bytes of input, {limit} allowed; raise the guest's `input` limit",
            guest=guest,
            function=function,
        )


class OutputLimit(CallError):
    """The guest wrote more output than its limit allows.

    Attributes:
        limit: bytes that are allowed.
    """

    def __init__(self, limit: int, *, guest: str | None = None, function: str | None = None) -> None:
        self.limit = limit
        super().__init__(
            f"more than {limit} bytes of output; raise the `output` limit",
            guest=guest,
            function=function,
        )


class NotFound(CallError):
    """No such guest, entry or call.

    Attributes:
        what: the kind of thing, such as ``guest``.
        name: the name that was looked up.
    """

    def __init__(
        self,
        what: str,
        name: str,
        *,
        known: Sequence[str] = (),
        guest: str | None = None,
    ) -> None:
        self.what, self.name, self.known = what, name, tuple(known)
        offer = f"; there are: {', '.join(sorted(known))}" if known else ""
        super().__init__(f"no {what} named {name!r}{offer}", guest=guest)


class CallRefused(CallError):
    """The scheduler does not take the call: it would be one too many, or the host is shutting down.

    Attributes:
        what: the bound that was reached: ``depth``, ``children``, ``tree`` or ``queued``; ``shutdown`` when
            the host takes no more calls; ``cycle`` when two calls would wait for each other; ``close`` when a
            host function closes the host that runs it.
        limit: how many are allowed; ``None`` where it is no matter of number.
    """

    def __init__(
        self,
        what: str,
        *,
        limit: int | None = None,
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.what, self.limit = what, limit
        if what == "shutdown":
            text = "the host is shutting down and takes no more calls"
        elif what == "close":
            text = (
                "a host function cannot close the host that runs it, since closing waits for the calls that "
                "run; close it from elsewhere, or when the call has ended"
            )
        elif what == "cycle":
            text = "the call waits, through others, for the very call that would wait for it"
        else:
            text = f"call refused: more than {limit} calls ({what}); raise the `{what}` limit"
        super().__init__(text, guest=guest, function=function)


class Cancelled(CallError):
    """The call, or one of its ancestors, was cancelled.

    Attributes:
        reason: who cancelled it and why, in words.
    """

    def __init__(
        self,
        reason: str = "cancelled",
        *,
        guest: str | None = None,
        function: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(f"cancelled: {reason}", guest=guest, function=function)


class ResourceError(Error):
    """A resource refused an operation, or lost the backend that serves it.

    Attributes:
        resource: which resource, such as ``state`` or ``leases``.
    """

    def __init__(self, message: str, *, resource: str | None = None) -> None:
        self.resource = resource
        super().__init__(f"{resource}: {message}" if resource else message)


class PoolFull(ResourceError):
    """All places for instances are taken, and none came free in time.

    Attributes:
        limit: how many places there are.
    """

    def __init__(self, limit: int, *, why: str = "") -> None:
        self.limit = limit
        super().__init__(
            f"all {limit} places for instances are taken{why}; close some instances, or make the engine with "
            "more `slots`",
            resource="instance pool",
        )
