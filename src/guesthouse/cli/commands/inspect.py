"""``guesthouse inspect``: what a module is and needs; no code of it is run or compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guesthouse.cli import options, output
from guesthouse.engine import ModuleInfo, signature
from guesthouse.engine.modules import Export, GlobalType, Import, MemoryType, TableType
from guesthouse.engine.variants import pool_misfit
from guesthouse.host import builtin_registry
from guesthouse.interfaces import available, notes
from guesthouse.limits import format_size
from guesthouse.loading import outline
from guesthouse.registry import Need, Registry, Status


def command(module: Path, /, *, grant: options.Grants = (), json: options.Json = False) -> int:
    """Show a module's interfaces, the capabilities it needs, its exports and sizes, without running it.

    Args:
        module: The .wasm or .wat file.
    """
    registry = Registry().include(builtin_registry()).discover()
    report = describe(outline(module, None), registry, registry.expand(grant))
    if json:
        output.print_json({"file": str(module), **report})
    else:
        _print(module, report)
    return 0


def describe(info: ModuleInfo, registry: Registry, granted: frozenset[str]) -> dict[str, Any]:
    """Return everything that can be told about a module before it is compiled, as plain values."""
    owner = next((interface.name for interface in available() if interface.owns(info)), None)
    shared = [(item.module, item.name) for item in info.imports if getattr(item.type, "shared", False)]
    needs = registry.explain(info, granted, prefer=owner, provided=shared)
    missing = [need for need in needs if need.status in (Status.UNKNOWN, Status.WRONG_TYPE)]
    return {
        "name": info.name,
        "size": info.size,
        "sha256": info.sha256,
        "interface": owner,
        "interfaces": sorted({need.interface for need in needs if need.interface}),
        "capabilities": _capabilities(needs, registry),
        "runs": not missing,
        "imports": [_import(need) for need in needs],
        "exports": [
            {"name": item.name, "kind": item.kind, "type": _type(item)} for item in info.exports.values()
        ],
        "memories": [_memory(memory) for memory in info.memories],
        "tables": [{"minimum": table.minimum, "maximum": table.maximum} for table in info.tables],
        "functions": len(info.functions) - info.imported("function"),
        "globals": len(info.globals),
        "code_size": info.code_size,
        "start": info.start is not None,
        "custom_sections": {name: sum(size for _, size in parts) for name, parts in info.custom.items()},
        "pooled": (misfit := pool_misfit(info)) is None,
        "not_pooled_because": misfit,
        "notes": notes(info),
    }


def _capabilities(needs: list[Need], registry: Registry) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for need in needs:
        if need.capability and not registry.is_always(need.capability):
            entry = found.setdefault(
                need.capability,
                {
                    "name": need.capability,
                    "interface": need.interface,
                    "granted": need.status is Status.GRANTED,
                    "without": "refused at load",
                    "functions": 0,
                },
            )
            entry["functions"] += 1
            if need.row is not None and (need.status is Status.DENIED or need.row.denied is not None):
                entry["without"] = "links, calls are refused"
    return list(found.values())


def _import(need: Need) -> dict[str, Any]:
    item = need.item
    return {
        "module": item.module, "name": item.name, "kind": item.kind, "type": _type(item),
        "status": need.status.value, "interface": need.interface, "capability": need.capability,
        **({"offered": list(need.offered)} if need.offered else {}),
    }  # fmt: skip


def _type(item: Import | Export) -> str:
    match item.type:
        case MemoryType() as memory:
            text = f"{_bounds(memory.minimum, memory.maximum)} pages"
            return text + (" shared" if memory.shared else "") + (" 64-bit" if memory.is64 else "")
        case TableType() as table:
            return f"{_bounds(table.minimum, table.maximum)} elements"
        case GlobalType() as value:
            return f"{'mutable ' if value.mutable else ''}{signature(value.type, '')[1:].partition(')')[0]}"
        case _:
            return signature(item.params, item.results)


def _bounds(minimum: int, maximum: int | None) -> str:
    return f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"


def _memory(memory: MemoryType) -> dict[str, Any]:
    maximum = memory.maximum
    return {
        "minimum": memory.minimum * memory.page_size,
        "maximum": None if maximum is None else maximum * memory.page_size,
        "shared": memory.shared,
        "is64": memory.is64,
    }


def _print(path: Path, report: dict[str, Any]) -> None:
    memories = [
        f"{format_size(m['minimum'])} to {'any' if m['maximum'] is None else format_size(m['maximum'])}"
        for m in report["memories"]
    ]
    facts = {
        "interface": report["interface"],
        "also imports": [name for name in report["interfaces"] if name != report["interface"]],
        "name": report["name"], "size": format_size(report["size"]), "sha256": report["sha256"],
        "functions": report["functions"], "memory": memories, "start function": report["start"] or None,
        "outside the pool": report["not_pooled_because"], "notes": report["notes"],
    }  # fmt: skip
    output.print_facts(facts, title=str(path))
    for title, key, columns in (
        ("Capabilities", "capabilities", ("name", "interface", "functions", "granted", "without")),
        ("Imports", "imports", ("module", "name", "type", "capability", "status")),
        ("Exports", "exports", ("name", "kind", "type")),
    ):
        if report[key]:
            output.console().print()
            output.print_table(report[key], columns, title=title)
    unknown = [
        f"{i['module']}.{i['name']}" for i in report["imports"] if i["status"] in ("unknown", "wrong type")
    ]
    if unknown:
        output.complain(f"this host cannot run it: {', '.join(unknown)}")
