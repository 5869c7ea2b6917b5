"""What cells need, before anything of them runs (spec/pulp.md 3.1, 8.9).

An import that nobody offers shows up in Pulp when the cell is instantiated, one that was not declared not
before it is called.  Here all of it is told at once, for every cell of a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.engine import Constant, read, signature
from guesthouse.engine.modules import ModuleInfo
from guesthouse.errors import LoadError, ManifestError
from guesthouse.interfaces.pulp.codec import encode
from guesthouse.interfaces.pulp.freezing import OtherConfiguration, digest, frozen_with
from guesthouse.interfaces.pulp.loading import check_exports, declared, read_module
from guesthouse.interfaces.pulp.manifest import ApplicationManifest, CellManifest, HostManifest, boot_order
from guesthouse.interfaces.pulp.providers import selected
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.manifest import kind_of
from guesthouse.registry import Need, Registry, Status

#: Capabilities that work only beside another one.
NEEDS_INBOUND = ("transport.ws.inbound", "transport.sse")
INBOUND = "transport.http.inbound"


@dataclass(slots=True)
class Report:
    """What is to be known about one cell.

    Attributes:
        cell: its name, with its application where there are several.
        wasm: its module.
        size: bytes of the module.
        sha256: digest of the module, ready to be pinned.
        declared: the capabilities that it declares.
        imports: its imports from ``pulp``: name, capability, what becomes of it.
        problems: why it would not load; empty when it would.
        notes: what is worth knowing although it loads.
    """

    cell: str
    wasm: str
    size: int = 0
    sha256: str = ""
    declared: tuple[str, ...] = ()
    imports: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def specs_of(paths: Sequence[Path]) -> list[CellSpec]:
    """Return the cells of manifests, each placement once.

    Args:
        paths: cell manifests that run together, or one application or host manifest.

    Raises:
        ManifestError: they are malformed, or do not fit together.
    """
    kinds = {path: kind_of(path) for path in paths}
    if set(kinds.values()) == {"pulp.cell"}:
        return [CellSpec.of(manifest) for manifest in boot_order([CellManifest.load(path) for path in paths])]
    if len(paths) != 1:
        raise ManifestError("an application or host manifest is looked at alone", file=str(paths[0]))
    path = paths[0]
    if kinds[path] == "pulp.app":
        manifest = ApplicationManifest.load(path)
        return [CellSpec.placed(placement, manifest.name) for placement in manifest.placements]
    return [
        CellSpec.placed(placement, application.id, application.instances[0], application.storage_namespace)
        for application in HostManifest.load(path).applications
        for placement in application.manifest.placements
    ]


def examine(spec: CellSpec, registry: Registry, beside: Registry) -> Report:
    """Look at one cell; no code of it is compiled or run.

    Args:
        spec: the cell.
        registry: the capabilities that it may declare.
        beside: what every cell has without declaring it, such as WASI.
    """
    report = Report(spec.label, "" if isinstance(spec.wasm, bytes) else str(spec.wasm))
    report.declared = tuple(spec.capabilities)
    granted: frozenset[str] = frozenset()
    try:
        registry = selected(registry, spec)
        granted = declared(spec, registry)
    except LoadError as error:
        report.problems.append(error.message)
    try:
        wasm = read_module(spec)
        info = read(wasm)
    except LoadError as error:
        report.problems.append(error.message)
        return report
    report.size, report.sha256 = info.size, info.sha256
    try:
        check_exports(spec.label, info)
    except LoadError as error:
        report.problems.append(error.message)
    seen = frozen_with(info)
    if seen is not None and seen != digest(encode(spec.config) if spec.config else b""):
        report.problems.append(OtherConfiguration(spec.label).message)
    together = Registry().include(registry).include(beside, absent=True)
    own = frozenset(capability.name for capability in beside)
    needs = together.explain(info, granted | own, prefer="pulp")
    report.imports = [_shown(need) for need in needs if need.item.module == "pulp"]
    report.problems += [text for need in needs if (text := _problem(need, registry))]
    report.notes += _notes(info, needs, granted, registry)
    if spec.noted_sha256 not in ("", info.sha256):
        report.notes.append(
            f"wasm_sha256 names another module, {spec.noted_sha256}; an application would refuse this one"
        )
    return report


def _shown(need: Need) -> dict[str, Any]:
    status, answer = need.status.value, need.row.implementation if need.row is not None else None
    if need.status is Status.DENIED and isinstance(answer, Constant):
        status = f"denied: answers {answer.value}"
    return {
        "name": need.item.name,
        "type": signature(need.item.params, need.item.results),
        "capability": need.capability,
        "status": status,
    }


def _problem(need: Need, registry: Registry) -> str:
    item = need.item
    where = f"{item.module}.{item.name}"
    if need.status is Status.WRONG_TYPE:
        offered = " or ".join(need.offered)
        return f"import {where} has type {signature(item.params, item.results)}; this host offers {offered}"
    if need.status is Status.UNKNOWN:
        return f"import {where} ({item.kind}) is offered by nobody here"
    if need.status is Status.NOT_GRANTED:
        return f"import {where} needs the capability {need.capability!r}; add it to `capabilities`"
    return ""


def _notes(info: ModuleInfo, needs: Iterable[Need], granted: frozenset[str], registry: Registry) -> list[str]:
    refused: dict[str, list[str]] = {}
    for need in needs:
        if need.status is Status.DENIED and need.capability:
            refused.setdefault(need.capability, []).append(need.item.name)
    used = {need.capability for need in needs}
    unused = sorted(name for name in granted - used if registry[name].functions)
    alone = [name for name in NEEDS_INBOUND if name in granted and INBOUND not in granted]
    return [
        *(f"{', '.join(names)} will answer 99: {name!r} is not declared" for name, names in refused.items()),
        *(f"{name!r} is declared, but nothing of it is imported" for name in unused),
        *(f"{name!r} works only together with {INBOUND!r}; declare that as well" for name in alone),
        *(
            ["it does not export pulp_alloc, so that nothing can be handed to it"]
            if "pulp_alloc" not in info.exports
            else []
        ),
    ]
