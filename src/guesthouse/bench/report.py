"""The table and its machine-readable form."""

from __future__ import annotations

import dataclasses
import json as codec

from rich.console import Console
from rich.table import Table

from guesthouse.bench.peers import installed
from guesthouse.bench.rows import Row, machine, measure

_TIMES = ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


def figure(value: float | None, unit: str) -> str:
    """Spell a figure for people.

    Args:
        value: the figure, or ``None`` for a dash.
        unit: as :attr:`Row.unit`.
    """
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}x"
    if unit == "B":
        return f"{value / 1000:.1f} kB"
    factor, name = next((factor, name) for bound, factor, name in _TIMES if value < bound)
    scaled = value * factor
    return f"{scaled:.3g} {name}" if scaled < 1000 else f"{scaled:.0f} {name}"


def relation(row: Row) -> str:
    """Say how many times our figure the rivals' are, in the order of the columns."""
    rivals = [row.values[name] for name in ("wasmtime-py", "extism") if name in row.values]
    return " / ".join(f"{value / row.ours:.1f}x" for value in rivals)


def verdict(row: Row) -> str:
    """Say whether the goals are met."""
    if row.goal is None and not row.ratios:
        return ""
    return "missed" if row.misses() else "met"


def table(rows: list[Row], peers: list[str]) -> Table:
    """Lay the rows out.

    Args:
        rows: what was measured.
        peers: the columns, in order.
    """
    laid = Table(
        expand=True, title="best of several batches, peers in turns; lower is better except where it says x"
    )
    laid.add_column("what", ratio=1)
    for peer in peers:
        laid.add_column(peer, justify="right")
    laid.add_column("rivals / ours")
    laid.add_column("goal", justify="right")
    laid.add_column("")
    for row in rows:
        goal = figure(row.goal, row.unit) if row.goal is not None else ""
        cells = [figure(row.values.get(peer), row.unit) for peer in peers]
        laid.add_row(row.title, *cells, relation(row), goal, verdict(row))
    return laid


def occupation(load: float, cores: int) -> str:
    """Say what the machine's load before the measurement means for the figures.

    Args:
        load: processes that wanted to run, on average over the last minute.
        cores: processors.
    """
    if load < cores / 2:
        return f"load {load:.1f} before the measurement"
    return (
        f"load {load:.1f} before the measurement: others kept {cores} cores busy; the figures are worse than "
        "they would be, those of two threads most of all"
    )


def main(*, json: bool = False, quick: bool = False) -> list[Row]:
    """Measure and print.

    Args:
        json: print JSON in place of the table.
        quick: short batches: a first impression within seconds.

    Returns:
        The rows.
    """
    console = Console(stderr=json)
    if not console.is_terminal:
        console.width = 150  # a file or a pipe has no width of its own
    about = machine()  # its load before ours
    rows: list[Row] = []
    with console.status("measuring") as status:
        for row in measure(seconds=0.02 if quick else 0.15, batches=2 if quick else 7):
            rows.append(row)
            status.update(f"measured: {row.title}")
    if json:
        found = [{**dataclasses.asdict(row), "misses": row.misses()} for row in rows]
        Console(soft_wrap=True).print_json(codec.dumps({"machine": about, "rows": found}))
        return rows
    console.print(table(rows, installed()))
    for row in rows:
        for text in [row.note, *row.misses()]:
            if text:
                console.print(f"  {row.title}: {text}", highlight=False)
    console.print(
        f"{about['cpu']}, {about['cores']} cores; Python {about['python']}, "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
        + f"\n{occupation(about['load'], about['cores'])}",
        highlight=False,
    )
    return rows
