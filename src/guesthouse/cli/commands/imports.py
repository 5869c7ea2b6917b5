"""``guesthouse imports``: every host function that a guest can import."""

from __future__ import annotations

from guesthouse.cli import options, output
from guesthouse.engine import signature
from guesthouse.host import builtin_registry
from guesthouse.registry import Registry


def command(*words: str, json: options.Json = False) -> int:
    """List every host function: interface, capability, module, name, type.

    Args:
        words: Show only functions whose interface, capability, module or name holds all of these words.
    """
    registry = Registry().include(builtin_registry()).discover()
    rows = []
    for capability, row in registry.functions():
        entry = {
            "interface": capability.interface,
            "capability": row.capability or None,
            "module": row.module,
            "name": row.name,
            "params": row.params,
            "results": row.results,
            "type": signature(row.params, row.results),
            "summary": row.summary,
        }
        if all(
            any(word in (entry[key] or "") for key in ("interface", "capability", "module", "name"))
            for word in words
        ):
            rows.append(entry)
    if json:
        output.print_json(rows)
    else:
        output.print_table(rows, ("interface", "capability", "module", "name", "type", "summary"))
    return 0
