"""Fills the page of host functions from the tables that the host itself links from."""

from __future__ import annotations

from typing import Any

from guesthouse.engine import signature
from guesthouse.host import builtin_registry

_MARKER = "<!-- host functions -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marker by one table per interface; called by mkdocs for each page."""
    return markdown.replace(_MARKER, tables()) if _MARKER in markdown else markdown


def tables() -> str:
    """Return the tables as Markdown."""
    registry = builtin_registry()
    parts: list[str] = []
    for interface in registry.interfaces:
        lines = [
            f"{_grant(capability.name, registry.is_always(capability.name))} | `{row.module}` | `{row.name}` "
            f"| `{signature(row.params, row.results)}` | {row.summary.replace('|', '/')}"
            for capability, row in registry.functions()
            if capability.interface == interface
        ]
        if lines:
            head = ["capability | module | name | type | what it does", "--- | --- | --- | --- | ---"]
            parts += [f"## {interface} ({len(lines)})", "\n".join(head + lines)]
    return "\n\n".join(parts)


def _grant(name: str, always: bool) -> str:
    return "always" if always else f"`{name}`"
