"""Capabilities: named groups of host functions, and how to write one in plain Python.

::

    @guesthouse.host_function
    def greet(call, name: str) -> guesthouse.i32:
        \"\"\"Say hello to somebody.\"\"\"
        print(f"{call.guest} says hello to {name}")
        return 0

    host = guesthouse.Host(registry=guesthouse.Registry().gated(
        guesthouse.capability("demo.greet", greet, module="demo")))

The guest imports ``demo.greet`` with the type ``(i32, i32) -> i32``: a string comes as pointer and
length.  Raising ends the call, and the exception reaches the embedder unchanged.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NewType

from guesthouse.engine.functions import HostFunction, Implementation

__all__ = [
    "Capability",
    "Hooks",
    "HostFunctionDefinition",
    "capability",
    "f32",
    "f64",
    "host_function",
    "i32",
    "i64",
]

#: Annotations for parameters and results.  Integers arrive as the guest holds them, which is without a
#: sign: pointers, lengths and codes are never negative.  ``s32`` and ``s64`` are the same with one.
i32 = NewType("i32", int)
i64 = NewType("i64", int)
s32 = NewType("s32", int)
s64 = NewType("s64", int)
f32 = NewType("f32", float)
f64 = NewType("f64", float)

#: The letters that each annotation stands for; ``int`` is an i32 and ``float`` an f64, ``str`` and
#: ``bytes`` are pointer and length of guest memory.
LETTERS: dict[Any, str] = {
    i32: "i", s32: "i", int: "i", bool: "i", i64: "I", s64: "I", f32: "f", f64: "F", float: "F",
    str: "ii", bytes: "ii",
}  # fmt: skip
RESULTS: dict[Any, str] = {t: letters for t, letters in LETTERS.items() if len(letters) == 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a capability may want to be told; each is optional, none may block for long.

    Attributes:
        setup: ``setup(host)``, once per host, before the first guest that was granted it is loaded.
        attach: ``attach(guest)``, for each guest that was granted it, once loaded.
        release: ``release(guest)``, when such a guest is closed; must be idempotent.
        renew: ``renew(guest)``, when the instance of such a guest is replaced: a context that holds while
            the new one starts; without it the capability releases the guest and attaches it again.
        counters: ``counters(guest_id)``: what it dropped or refused for a guest, by name.
        poll: ``poll()``, from the interface's event loop: an event of the interface's kind, or ``None``.
        finalize: ``finalize(id)``, after an event was handled or dropped; must be idempotent.
        teardown: ``teardown()``, once, when the host is closed.
    """

    setup: Callable[[Any], None] | None = None
    attach: Callable[[Any], None] | None = None
    release: Callable[[Any], None] | None = None
    renew: Callable[[Any], AbstractContextManager[object]] | None = None
    counters: Callable[[str], Mapping[str, int]] | None = None
    poll: Callable[[], Any] | None = None
    finalize: Callable[[Any], None] | None = None
    teardown: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Capability:
    """The unit that is granted.

    Attributes:
        name: what a grant and a manifest call it.
        functions: its rows; each row's ``capability`` is this name.
        interface: the interface it belongs to; granting the interface's bare name grants it.
        hooks: what it wants to be told.
        summary: one line of prose.
        provider: stable identity of whoever offers it, so that several may offer one name and a guest
            can say whose it wants.
    """

    name: str
    functions: tuple[HostFunction, ...] = ()
    interface: str = ""
    hooks: Hooks = field(default_factory=Hooks)
    summary: str = ""
    provider: str = ""

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip():
            raise ValueError(f"{self.name!r} cannot name a capability")
        if not self.interface:
            object.__setattr__(self, "interface", self.name.partition(".")[0])


@dataclass(frozen=True)
class HostFunctionDefinition:
    """A Python function that guests can import; made by :func:`host_function`, and still callable.

    Attributes:
        function: the function as it was written.
        name: import name.
        module: import module; ``None`` takes the capability's.
        params, results: type letters derived from the annotations.
        summary: first line of the docstring.
        implementation: what the engine calls: ``f(call, *numbers)``.
    """

    function: Callable[..., Any]
    name: str
    module: str | None
    params: str
    results: str
    summary: str
    implementation: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written, without the conversion of arguments."""
        return self.function(*args, **kwargs)

    def row(self, capability: str, module: str, denied: Implementation | None) -> HostFunction:
        """Return the table row under a capability."""
        return HostFunction(
            capability, self.module or module, self.name, self.params, self.results,
            self.implementation, self.summary, denied,
        )  # fmt: skip


@typing.overload
def host_function(function: Callable[..., Any], /) -> HostFunctionDefinition: ...
@typing.overload
def host_function(
    *, name: str | None = None, module: str | None = None
) -> Callable[[Callable[..., Any]], HostFunctionDefinition]: ...
def host_function(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, module: str | None = None
) -> HostFunctionDefinition | Callable[[Callable[..., Any]], HostFunctionDefinition]:
    """Make a Python function importable by guests; use it bare or with options.

    The first parameter is the call: its guest, tenant, deadline and, as ``call.instance``, the guest's
    memory (``read``, ``write``).  Every other parameter and the result carry an annotation out of
    ``guesthouse.i32``, ``i64``, ``s32``, ``s64``, ``f32``, ``f64``, ``int`` (i32), ``float`` (f64),
    ``bool`` (i32); parameters also ``str`` and ``bytes``, which take two i32, pointer and length.  A
    result may be ``None`` or a tuple of several.  The first line of the docstring is the summary.

    Args:
        function: the function, when used bare.
        name: import name; the function's own by default.
        module: import module; the capability's by default.

    Raises:
        TypeError: a parameter or the result has no annotation, or one that no wasm type stands for.
    """
    if function is None:
        return functools.partial(_define, name=name, module=module)
    return _define(function, name=name, module=module)


def capability(
    name: str,
    *functions: HostFunctionDefinition | HostFunction | Callable[..., Any],
    module: str | None = None,
    interface: str = "",
    denied: Implementation | None = None,
    summary: str = "",
    provider: str = "",
    **hooks: Callable[..., Any],
) -> Capability:
    """Make a capability out of Python functions.

    Args:
        name: what a grant calls it, such as ``demo.greet``.
        functions: decorated or plain functions, or ready rows.
        module: import module of those that name none; the first part of ``name`` by default.
        interface: the interface it belongs to; the first part of ``name`` by default.
        denied: what answers a guest that imports one of them without the grant, such as
            ``Constant(99)``; by default such a guest is refused at load.
        summary: one line of prose.
        provider: see :class:`Capability`.
        hooks: see :class:`Hooks`.

    Raises:
        TypeError: as :func:`host_function`, or a hook that does not exist.
    """
    default = module or name.partition(".")[0]
    rows = []
    for item in functions:
        if isinstance(item, HostFunction):
            rows.append(_under(item, name, denied))
            continue
        definition = item if isinstance(item, HostFunctionDefinition) else host_function(item)
        rows.append(definition.row(name, default, denied))
    return Capability(name, tuple(rows), interface, Hooks(**hooks), summary, provider)


def _under(row: HostFunction, name: str, denied: Implementation | None) -> HostFunction:
    return HostFunction(
        name, row.module, row.name, row.params, row.results, row.implementation, row.summary,
        denied if row.denied is None else row.denied,
    )  # fmt: skip


def _define(function: Callable[..., Any], *, name: str | None, module: str | None) -> HostFunctionDefinition:
    title: str = getattr(function, "__qualname__", repr(function))
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise TypeError(f"{title}: the first parameter of a host function is the call")
    hints = _hints(function, {p.name for p in parameters[1:]} | {"return"}, title)
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"{title}: a guest cannot pass {parameter}; use plain positional parameters")
    kinds = [_letters(hints, p.name, LETTERS, title) for p in parameters[1:]]
    returned = hints.get("return", inspect.Parameter.empty)
    if returned is None or returned is type(None):
        results = ""
    elif typing.get_origin(returned) is tuple:
        results = "".join(
            _letters({"return": t}, "return", RESULTS, title) for t in typing.get_args(returned)
        )
    else:
        results = _letters(hints, "return", RESULTS, title)
    annotations = [hints[p.name] for p in parameters[1:]]
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    return HostFunctionDefinition(
        function, name or title.rpartition(".")[2], module, "".join(kinds), results, summary,
        _converting(function, annotations),
    )  # fmt: skip


def _hints(function: Callable[..., Any], names: set[str], title: str) -> dict[str, Any]:
    # Only what the signature needs is resolved: the call's own annotation may name what exists for type
    # checkers only.
    plain = inspect.unwrap(function)
    annotations = {k: v for k, v in getattr(plain, "__annotations__", {}).items() if k in names}
    closure = inspect.getclosurevars(plain).nonlocals if inspect.isfunction(plain) else {}
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__=annotations),
            globalns={**getattr(plain, "__globals__", {}), **closure},
        )
    except NameError as error:
        raise TypeError(f"{title}: annotation cannot be resolved: {error}") from None


def _letters(hints: dict[str, Any], name: str, allowed: dict[Any, str], title: str) -> str:
    what = "the result" if name == "return" else f"parameter {name!r}"
    offer = ", ".join(sorted({getattr(t, "__name__", str(t)) for t in allowed}))
    if name not in hints:
        raise TypeError(f"{title}: {what} has no annotation; use one of {offer}")
    try:
        return allowed[hints[name]]
    except (KeyError, TypeError):
        raise TypeError(
            f"{title}: no wasm type stands for {hints[name]!r} of {what}; use one of {offer}"
        ) from None


def _converting(function: Callable[..., Any], annotations: Sequence[Any]) -> Callable[..., Any]:
    """Wrap a function so that it takes the guest's numbers; the function itself where none needs it."""
    if not any(annotation in _CONVERSIONS for annotation in annotations):
        return function
    plan: list[tuple[int, Callable[..., Any] | None]] = [
        (len(LETTERS[annotation]), _CONVERSIONS.get(annotation)) for annotation in annotations
    ]

    @functools.wraps(function)
    def convert(call: Any, *numbers: Any) -> Any:
        arguments, position = [], 0
        for width, conversion in plan:
            raw = numbers[position : position + width]
            position += width
            arguments.append(conversion(call, *raw) if conversion else raw[0])
        return function(call, *arguments)

    return convert


def _text(call: Any, pointer: int, length: int) -> str:
    return _bytes(call, pointer, length).decode(errors="replace")


def _bytes(call: Any, pointer: int, length: int) -> bytes:
    return bytes(call.instance.read(pointer, length))


_CONVERSIONS: dict[Any, Callable[..., Any]] = {
    s32: lambda _call, value: value - (1 << 32) if value >> 31 else value,
    s64: lambda _call, value: value - (1 << 64) if value >> 63 else value,
    bool: lambda _call, value: value != 0,
    str: _text,
    bytes: _bytes,
}
