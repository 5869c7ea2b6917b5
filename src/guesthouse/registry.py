"""The registry: which capabilities there are, and what answers each import of a module.

Nothing is linked that was not granted (DESIGN section 6).  A capability is registered as *always* (bound
for every guest) or *gated* (bound where granted).  :meth:`Registry.resolve` is the one place where imports
meet grants; ``guesthouse inspect`` shows the same decision through :meth:`Registry.explain`.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from guesthouse.capabilities import Capability
from guesthouse.engine.functions import TYPE_LETTERS, Constant, HostFunction, Trapping, signature
from guesthouse.engine.modules import Import, ModuleInfo
from guesthouse.errors import MissingImports, UnknownCapability, WrongImportType
from guesthouse.observe import log

#: Entry-point group through which installed packages register capabilities.
ENTRY_POINTS = "guesthouse.capabilities"

#: What stands in for an unknown import of a lenient guest: WASI's code for "no such function".
NOSYS = 52


class Status(enum.StrEnum):
    """How an import fares under a set of grants."""

    GRANTED = "granted"
    DENIED = "denied"  # links, and every call is refused with the interface's code
    STUBBED = "stubbed"  # unknown, but the guest is lenient: links, answers "no such function" or traps
    PROVIDED = "provided"  # a memory, table or global that the interface itself brings
    NOT_GRANTED = "not granted"
    UNKNOWN = "unknown"
    WRONG_TYPE = "wrong type"


@dataclass(frozen=True, slots=True)
class Need:
    """One import of a module, and what becomes of it.

    Attributes:
        item: the import.
        status: what becomes of it.
        row: the host function that is linked, or would be if granted; ``None`` for what nobody offers.
        capability: the capability of that row, ``None`` for what nobody offers.
        interface: the interface of that capability.
        offered: the types that this host offers under the import's names.
    """

    item: Import
    status: Status
    row: HostFunction | None = None
    capability: str | None = None
    interface: str | None = None
    offered: tuple[str, ...] = ()


class Links(dict[tuple[str, str], HostFunction]):
    """What answers each function import, by module and name.

    Attributes:
        denied: imports that are linked to a refusal, as ``(module, name, capability)``.
        stubbed: unknown imports of a lenient guest, as ``(module, name)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denied: list[tuple[str, str, str]] = []
        self.stubbed: list[tuple[str, str]] = []


@dataclass(frozen=True, slots=True)
class _Offer:
    capability: Capability
    always: bool
    row: HostFunction


class Registry:
    """Capabilities by name.  Methods that register return the registry, so that they chain."""

    def __init__(self) -> None:
        self._capabilities: dict[str, Capability] = {}
        self._rivals: dict[str, list[Capability]] = {}
        self._always: set[str] = set()
        self._offers: dict[tuple[str, str], list[_Offer]] = {}

    # -- registering --------------------------------------------------------------------------------

    def always(self, *capabilities: Capability) -> Self:
        """Register capabilities that every guest has.

        Raises:
            ValueError: as for :meth:`gated`.
        """
        return self._add(capabilities, always=True)

    def gated(self, *capabilities: Capability) -> Self:
        """Register capabilities that a guest has where they are granted.

        Of several that share a name, each with a ``provider`` of its own, the first one serves; the others
        wait to be picked by :meth:`choosing`.

        Raises:
            ValueError: a capability of that name is registered already, and the provider does not tell
                the two apart.
        """
        return self._add(capabilities, always=False)

    def interface(self, name: str, rows: Iterable[HostFunction]) -> Self:
        """Register an interface's table: rows without a capability come with it, the others are gated.

        Args:
            name: the interface; granting this bare name grants all of its capabilities.
            rows: its table.
        """
        groups: dict[str, list[HostFunction]] = {"": []}
        for row in rows:
            groups.setdefault(row.capability, []).append(row)
        self.always(Capability(name, tuple(groups.pop("")), name))
        return self.gated(*(Capability(own, tuple(group), name) for own, group in groups.items()))

    def include(self, other: Registry, *, absent: bool = False) -> Self:
        """Register everything that another registry holds.

        Args:
            other: the other registry.
            absent: leave out capabilities of a name that is registered here, instead of refusing them.

        Raises:
            ValueError: a capability of the same name is registered already.
        """
        for capability in other:
            if not (absent and capability.name in self):
                for offered in other.offers(capability.name):
                    self._add([offered], always=other.is_always(capability.name))
        return self

    def discover(self) -> Self:
        """Register, as gated, what installed packages offer through :data:`ENTRY_POINTS`.

        An entry point is a capability, an iterable of them, or a callable that takes the registry.  One
        that fails is logged and left out: a broken package must not keep a host from starting.
        """
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                offered = point.load()
                if callable(offered):
                    offered(self)
                else:
                    self.gated(*([offered] if isinstance(offered, Capability) else offered))
            except Exception as error:  # noqa: BLE001 - code of strangers
                log.warning("capability_left_out", entry_point=point.value, error=repr(error))
        return self

    def _add(self, capabilities: Iterable[Capability], *, always: bool) -> Self:
        for capability in capabilities:
            if capability.name in self._capabilities:
                others = {rival.provider for rival in self.offers(capability.name)}
                if not capability.provider or capability.provider in others:
                    raise ValueError(f"capability {capability.name!r} is registered already")
                self._rivals.setdefault(capability.name, []).append(capability)
                continue
            self._capabilities[capability.name] = capability
            if always:
                self._always.add(capability.name)
            for row in capability.functions:
                self._offers.setdefault((row.module, row.name), []).append(_Offer(capability, always, row))
        return self

    # -- looking up ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._capabilities.values())

    def __contains__(self, name: object) -> bool:
        return name in self._capabilities

    def __len__(self) -> int:
        return len(self._capabilities)

    def __getitem__(self, name: str) -> Capability:
        try:
            return self._capabilities[name]
        except KeyError:
            raise UnknownCapability(name, suggestion=self.nearest(name)) from None

    def offers(self, name: str) -> tuple[Capability, ...]:
        """Return every capability of a name, the one that serves first; empty for an unknown name."""
        first = self._capabilities.get(name)
        return () if first is None else (first, *self._rivals.get(name, ()))

    def choosing(self, providers: Mapping[str, str]) -> Registry:
        """Return a registry in which each name that is given is served by the provider that is given.

        Args:
            providers: provider by name of capability.

        Raises:
            KeyError: nobody offers the capability under that provider.
        """
        chosen = Registry()
        for name in self._capabilities:
            found = self.offers(name)
            if name in providers:
                found = tuple(each for each in found if each.provider and each.provider == providers[name])
                if not found:
                    raise KeyError(name)
            chosen._add(found[:1], always=self.is_always(name))
        return chosen

    def is_always(self, name: str) -> bool:
        """True when every guest has the capability without a grant."""
        return name in self._always

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Names of the interfaces that capabilities belong to, in the order they were registered."""
        return tuple(dict.fromkeys(capability.interface for capability in self))

    def functions(self) -> Iterator[tuple[Capability, HostFunction]]:
        """Yield every host function with its capability."""
        for capability in self:
            for row in capability.functions:
                yield capability, row

    def nearest(self, name: str) -> str | None:
        """Return the registered name that is most like a misspelt one, or ``None``."""
        known = [*self._capabilities, *self.interfaces]
        return next(iter(difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=0.6)), None)

    def expand(self, grants: Iterable[str], *, guest: str | None = None) -> frozenset[str]:
        """Return the capabilities that grants stand for; an interface's bare name stands for all of its own.

        Raises:
            UnknownCapability: a grant names neither a capability nor an interface.
        """
        expanded: set[str] = set()
        for grant in (grants,) if isinstance(grants, str) else grants:
            found = {
                capability.name for capability in self if grant in (capability.name, capability.interface)
            }
            if not found:
                raise UnknownCapability(grant, suggestion=self.nearest(grant), guest=guest)
            expanded |= found
        return frozenset(expanded)

    # -- imports meet grants ------------------------------------------------------------------------

    def explain(
        self,
        info: ModuleInfo,
        granted: frozenset[str] = frozenset(),
        *,
        prefer: str | None = None,
        lenient: bool = False,
        provided: Iterable[tuple[str, str]] = (),
    ) -> list[Need]:
        """Return what becomes of each import of a module, in the module's order; nothing is refused.

        Args:
            info: what the module declares.
            granted: capabilities, as :meth:`expand` returns them.
            prefer: the interface whose rows win where several offer the same function.
            lenient: unknown functions are stubbed instead of missing (spec/wasix.md 3.6).
            provided: memories, tables and globals that the interface itself brings, as (module, name).
        """
        brought = frozenset(provided)
        return [self._need(item, granted, prefer, lenient, brought) for item in info.imports]

    def resolve(
        self,
        info: ModuleInfo,
        granted: frozenset[str] = frozenset(),
        *,
        prefer: str | None = None,
        lenient: bool = False,
        provided: Iterable[tuple[str, str]] = (),
        guest: str | None = None,
        notes: Sequence[str] = (),
    ) -> Links:
        """Return what answers each function import; the arguments as for :meth:`explain`.

        ``notes`` are lines about the module that help whoever reads of missing imports.

        Where one name has several types (generations of an interface), the module's own type picks the
        row.  A row that is not granted is linked to its refusal where the interface has one.

        Raises:
            WrongImportType: an import is known, but not with the module's type.
            MissingImports: imports that nobody offers or that were not granted; all of them.
        """
        links, missing = Links(), []
        for need in self.explain(info, granted, prefer=prefer, lenient=lenient, provided=provided):
            item = need.item
            key = (item.module, item.name)
            if need.status is Status.WRONG_TYPE:
                raise WrongImportType(*key, _type_of(item), need.offered, guest=guest)
            if need.status in (Status.UNKNOWN, Status.NOT_GRANTED):
                missing.append((*key, need.capability))
            if need.row is None or need.status in (Status.UNKNOWN, Status.NOT_GRANTED):
                continue
            if key in links and (links[key].params, links[key].results) != (item.params, item.results):
                raise WrongImportType(*key, _type_of(item), [links[key].signature], guest=guest)
            links[key] = need.row
            if need.status is Status.DENIED:
                links.denied.append((*key, need.capability or ""))
            elif need.status is Status.STUBBED:
                links.stubbed.append(key)
        if missing:
            hint = "\n".join(filter(None, (self._hint(missing), *notes)))
            raise MissingImports(missing, guest=guest, hint=hint)
        return links

    def _need(
        self,
        item: Import,
        granted: frozenset[str],
        prefer: str | None,
        lenient: bool,
        provided: frozenset[Any],
    ) -> Need:
        if item.kind != "function":
            brought = (item.module, item.name) in provided
            return Need(item, Status.PROVIDED if brought else Status.UNKNOWN)
        offers = self._offers.get((item.module, item.name), [])
        fitting = [o for o in offers if (o.row.params, o.row.results) == (item.params, item.results)]
        if offers and not fitting:
            signatures = tuple(dict.fromkeys(offer.row.signature for offer in offers))
            return Need(item, Status.WRONG_TYPE, offered=signatures)
        # Stable sort: the preferred interface first, otherwise in order of registration.
        fitting.sort(key=lambda offer: offer.capability.interface != prefer)
        for offer in fitting:
            if offer.always or offer.capability.name in granted:
                return _met(item, Status.GRANTED, offer, offer.row)
        for offer in fitting:
            if offer.row.denied is not None:
                if offer.row.denied == offer.row.implementation:  # it refuses by itself, case by case
                    return _met(item, Status.GRANTED, offer, offer.row)
                refusal = dataclasses.replace(offer.row, implementation=offer.row.denied)
                return _met(item, Status.DENIED, offer, refusal)
        if fitting:
            return _met(item, Status.NOT_GRANTED, fitting[0], fitting[0].row)
        if lenient and set(item.params + item.results) <= TYPE_LETTERS.keys():
            return Need(item, Status.STUBBED, _stub(item))
        return Need(item, Status.UNKNOWN)

    def _hint(self, missing: Sequence[tuple[str, str, str | None]]) -> str:
        """Return what would mend missing imports: the grants to add, and names that are close."""
        lines = []
        if grants := dict.fromkeys(capability for _, _, capability in missing if capability):
            lines.append("to allow them: " + " ".join(f"--grant {grant}" for grant in grants))
        for module, name, capability in missing:
            if capability is None:
                names = [own for own_module, own in self._offers if own_module == module]
                if close := difflib.get_close_matches(name, names, n=1, cutoff=0.8):
                    lines.append(f"{module}.{name}: the nearest known name is {close[0]!r}")
        return "\n".join(lines)


def _met(item: Import, status: Status, offer: _Offer, row: HostFunction) -> Need:
    return Need(item, status, row, offer.capability.name, offer.capability.interface)


def _type_of(item: Import) -> str:
    return signature(item.params, item.results)


def _stub(item: Import) -> HostFunction:
    """Return what stands in for an unknown import: NOSYS where a code can be returned, else a trap."""
    answer = (
        Constant(NOSYS) if item.results == "i" else Trapping(f"{item.module}.{item.name} is not provided")
    )
    return HostFunction("", item.module, item.name, item.params, item.results, answer, "Not provided.")
