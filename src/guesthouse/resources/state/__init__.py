"""Two-tier shared state: named byte values that guests of one tenant map, and lists they append to.

``store`` is the entrance for Python, ``operations.pxd`` the one for native host functions, ``tiers``
the seam behind which other global tiers plug in.  The rules are those of faasm.md section 4.
"""

from __future__ import annotations

from guesthouse.resources.state.errors import StateError
from guesthouse.resources.state.quota import Quota
from guesthouse.resources.state.store import Session, StateStore
from guesthouse.resources.state.tiers import GlobalTier, open_tier

__all__ = ["GlobalTier", "Quota", "Session", "StateError", "StateStore", "open_tier"]
