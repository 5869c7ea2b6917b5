"""Two-tier shared state: named byte values that guests of one tenant map, and lists they append to.

``store`` is the entrance for Python, ``operations.pxd`` the one for native host functions, ``tiers``
the seam behind which other global tiers plug in.  The rules are those of faasm.md section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from guesthouse.resources.state.errors import StateError
from guesthouse.resources.state.quota import Quota
from guesthouse.resources.state.store import Session, StateStore
from guesthouse.resources.state.tiers import GlobalTier, open_tier, register_tier

__all__ = [
    "GlobalTier",
    "Quota",
    "Session",
    "StateError",
    "StateStore",
    "open_state",
    "open_tier",
    "register_tier",
]


def open_state(option: str | GlobalTier | StateStore | Mapping[str, Any] = "memory://") -> StateStore:
    """Open a host's state from its ``state`` option.

    Args:
        option: URL of the global tier, an open tier, a whole store, or a mapping with ``url`` and any
            attribute of :class:`Quota`.

    Raises:
        StateError: no backend has this scheme, or the mapping has other keys.
    """
    if isinstance(option, StateStore):
        return option
    if not isinstance(option, str | Mapping) and not hasattr(option, "close"):
        raise StateError(
            f"option `state`: a URL, a mapping with `url` or an open tier is needed, not {option!r}"
        )
    if not isinstance(option, Mapping):
        return StateStore(option)
    rest = dict(option)
    url = rest.pop("url", "memory://")
    try:
        return StateStore(url, quota=Quota(**rest))
    except TypeError as wrong:
        raise StateError(f"option `state`: {wrong}; a mapping takes url and {', '.join(_LIMITS)}") from None


_LIMITS = tuple(field.name for field in fields(Quota))
