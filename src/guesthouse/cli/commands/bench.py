"""``guesthouse bench``: ours beside the peers that are installed, in one run."""

from __future__ import annotations

from typing import Annotated

from guesthouse.cli import options


def command(
    *,
    quick: Annotated[bool, options.flag("Fewer rounds, rough figures.")] = False,
    json: options.Json = False,
) -> int:
    """Measure host calls, instances, whole calls and threads, side by side with the peers installed."""
    from guesthouse import bench

    bench.main(json=json, quick=quick)
    return 0
