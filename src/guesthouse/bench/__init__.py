"""Side by side in one run: Guesthouse, the bare engine, and the rivals that are installed.

``guesthouse bench`` and ``python -m guesthouse.bench`` print one table; ``--json`` gives the figures.
"""

from guesthouse.bench.report import main
from guesthouse.bench.rows import Row, measure

__all__ = ["Row", "main", "measure"]
