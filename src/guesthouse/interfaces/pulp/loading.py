"""From a spec to a linked module (spec/pulp.md 3.1, 5.1): read, compile, bind, check the exports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from guesthouse.engine import signature
from guesthouse.engine.modules import FunctionType
from guesthouse.errors import LoadError, UnknownCapability
from guesthouse.interfaces.pulp.errors import BadExports, UnknownCellCapability, prefixed
from guesthouse.interfaces.pulp.freezing import frozen_with
from guesthouse.interfaces.pulp.modules import Lease
from guesthouse.interfaces.pulp.printing import Printer
from guesthouse.interfaces.pulp.providers import selected
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.surroundings import NeighbourGuest, Side, Surroundings
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.capabilities import Capability
    from guesthouse.engine import Instance, ModuleInfo, Template
    from guesthouse.registry import Registry

REQUIRED_EXPORTS = {"pulp_init": ("ii", "i"), "pulp_step": ("ii", "i"), "pulp_shutdown": ("", "i")}
OPTIONAL_EXPORTS = {
    "_initialize": ("", ""),
    "_start": ("", ""),
    "pulp_alloc": ("i", "i"),
    "pulp_on_call": ("iiiiii", "i"),
    "pulp_post_return": ("ii", ""),
}


@dataclass(frozen=True)
class LoadedCell:
    """A cell's module, ready to be instantiated any number of times.

    Attributes:
        spec: what it was loaded from.
        template: the module with every import bound.
        granted: names of the declared capabilities.
        capabilities: those that take part in the cell's life: declared ones and those that all have.
        sides: what the neighbouring interfaces prepared.
        lease: the right to use the compiled module, where it came from a cache.
        printers: where its output goes.
    """

    spec: CellSpec
    template: Template
    granted: frozenset[str]
    capabilities: tuple[Capability, ...]
    sides: tuple[Side, ...]
    lease: Lease | None = None
    printers: tuple[Printer, ...] = ()

    def open(self) -> Instance:
        """Open an instance under the spec's limits; nothing of it has run."""
        return self.template.open(memory_limit=self.spec.memory)

    @cached_property
    def frozen_with(self) -> str | None:
        """Digest of the configuration that the module has seen already; ``None`` for most modules."""
        return frozen_with(self.template.module.info)

    def bind(self, instance: Instance, call: Any) -> None:
        """Attach what the neighbouring interfaces keep for an instance."""
        for side in self.sides:
            side.bind(instance, call)

    def dismiss(self, instance: Instance, call: Any) -> None:
        """Release what the neighbours keep and close the instance."""
        try:
            for side in self.sides:
                side.release(instance, call)
        finally:
            for printer in self.printers:
                printer.flush()
            instance.close()

    def close(self) -> None:
        """Give the module back; harmless when repeated."""
        if self.lease is not None:
            self.lease.release()


def load(spec: CellSpec, registry: Registry | None, surroundings: Surroundings) -> LoadedCell:
    """Read, compile and link a cell; no code of it runs.

    Args:
        spec: the cell.
        registry: capabilities; ``None`` leaves only what the surroundings bring (WASI).
        surroundings: engine and neighbouring interfaces.

    Raises:
        LoadError: with the stage in front: ``read wasm``, ``compile wasm``, ``bind capabilities``,
            ``instantiate wasm`` or ``missing required exports``.
    """
    wasm = read_module(spec)
    try:
        lease = surroundings.modules.acquire(wasm)
    except LoadError as error:
        raise prefixed(error.within(spec.label), "compile wasm") from None
    try:
        return _linked(spec, lease, registry, surroundings)
    except BaseException:
        lease.release()
        raise


def read_module(spec: CellSpec) -> bytes:
    """Read a cell's module and compare it with the digest that was pinned, at every load anew.

    Raises:
        LoadError: ``read wasm``: it cannot be read, or is another one.
    """
    try:
        wasm = spec.read()
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise LoadError(f"read wasm: {error}", guest=spec.label) from None
    found = hashlib.sha256(wasm).hexdigest() if spec.wasm_sha256 or spec.noted_sha256 else ""
    if spec.noted_sha256 and found != spec.noted_sha256:
        log.warning(
            "module is not the one that its manifest names", cell=spec.label, sha256=found,
            wasm_sha256=spec.noted_sha256,
        )  # fmt: skip
    if spec.wasm_sha256 and found != spec.wasm_sha256:
        raise LoadError(
            f"read wasm: the module's digest is {found}, but {spec.wasm_sha256} is pinned; "
            "somebody has changed the file since: restore it, or pin the new digest",
            guest=spec.label,
        )
    return wasm


def _linked(
    spec: CellSpec, lease: Lease, registry: Registry | None, surroundings: Surroundings
) -> LoadedCell:
    module = lease.module
    if registry is not None:
        registry = selected(registry, spec)
    known = surroundings.registry(registry)
    granted = declared(spec, registry)
    try:
        links = known.resolve(
            module.info, known.expand(surroundings.granted) | granted, prefer="pulp", guest=spec.label
        )
        template = module.link(links)
    except LoadError as error:
        raise prefixed(error, "instantiate wasm") from None
    check_exports(spec.label, module.info)
    printers = Printer(spec.label, "stdout"), Printer(spec.label, "stderr")
    guest = NeighbourGuest(
        name=spec.label,
        info=module.info,
        options={
            **surroundings.options,
            "stdout": printers[0],
            "stderr": printers[1],
        },
        resources=surroundings.resources,
        granted=granted,
    )
    sides = tuple(neighbour.attach(guest) for neighbour in surroundings.neighbours)
    taking_part = tuple(
        capability
        for capability in registry or ()
        if capability.name in granted or (registry is not None and registry.is_always(capability.name))
    )
    return LoadedCell(spec, template, granted, taking_part, sides, lease, printers)


def declared(spec: CellSpec, registry: Registry | None) -> frozenset[str]:
    """Return the capabilities that a cell declares.

    Raises:
        UnknownCellCapability: one that nobody registered.
    """
    names = frozenset(name.strip().lower() for name in spec.capabilities)
    for name in spec.capabilities:
        wanted = name.strip().lower()
        if registry is None or wanted not in registry:
            near = registry.nearest(wanted) if registry is not None else None
            error = UnknownCellCapability(spec.label, wanted, suggestion=near)
            raise prefixed(error, "bind capabilities")
    if registry is None:
        return names
    try:
        return registry.expand(names, guest=spec.label)
    except UnknownCapability as error:
        raise prefixed(error, "bind capabilities") from None


def check_exports(cell: str, info: ModuleInfo) -> None:
    """Refuse a module without the lifecycle exports, or with one of another type.

    Raises:
        BadExports: naming all that are absent together, or the first of another type.
    """
    functions = {
        name: (item.type.params, item.type.results)
        for name, item in info.exports.items()
        if isinstance(item.type, FunctionType) and item.kind == "function"
    }
    missing = tuple(name for name in REQUIRED_EXPORTS if name not in functions)
    if missing:
        raise BadExports(f"missing required exports: [{' '.join(missing)}]", cell=cell, missing=missing)
    for name, wanted in (REQUIRED_EXPORTS | OPTIONAL_EXPORTS).items():
        found = functions.get(name)
        if found is not None and found != wanted:
            raise BadExports(
                f"export {name} has type {signature(*found)}, but Pulp calls it as {signature(*wanted)}",
                cell=cell,
            )
