"""``guesthouse check``: whether manifests would start, and what their modules need; nothing runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from guesthouse import manifest
from guesthouse.cli import exits, options, output
from guesthouse.errors import ManifestError
from guesthouse.host import builtin_registry
from guesthouse.interfaces import available
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.preflight import Report, examine, specs_of
from guesthouse.interfaces.pulp.serving import with_strangers
from guesthouse.limits import format_size
from guesthouse.registry import Registry


def command(*manifests: Path, json: options.Json = False) -> int:
    """Check manifests and list what their modules need; no guest code is compiled or run.

    Args:
        manifests: pulp.cell.toml files that run together, or one pulp.app.toml, pulp.host.toml or
            guesthouse.toml.
    """
    if not manifests:
        raise ManifestError("no manifest given; name a pulp.cell.toml, pulp.app.toml or pulp.host.toml")
    if any(manifest.kind_of(path) == "guesthouse" for path in manifests):
        guests = [guest.name for path in manifests for guest in manifest.load(path).guests]
        output.print_json({"guests": guests}) if json else output.note(f"fine: {', '.join(guests)}")
        return 0
    known = Registry().include(builtin_registry()).discover()
    registry = with_strangers(Catalogue().registry(), known)
    reports = [examine(spec, registry, _beside()) for spec in specs_of(manifests)]
    if json:
        output.print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            _print(report)
    return exits.REFUSED if any(report.problems for report in reports) else 0


def _beside() -> Registry:
    """Return what every cell has without declaring it."""
    registry = Registry()
    for interface in available():
        if interface.name == "wasi":
            registry.interface(interface.name, interface.functions)
    return registry


def _print(report: Report) -> None:
    facts = {
        "module": report.wasm,
        "size": format_size(report.size) if report.size else None,
        "sha256": report.sha256,
        "declares": report.declared,
    }
    output.print_facts(facts, title=report.cell)
    if report.imports:
        output.print_table(report.imports, ("name", "type", "capability", "status"))
    for note in report.notes:
        output.note(f"{report.cell}: {note}")
    for problem in report.problems:
        output.complain(f"{report.cell}: {problem}")
