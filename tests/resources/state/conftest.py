"""Global tiers under test. Another backend joins the suites by adding its opener to ``OPENERS``."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from guesthouse.resources.state import GlobalTier, StateStore, open_tier

OPENERS: dict[str, Callable[[pathlib.Path], GlobalTier]] = {
    "memory": lambda _: open_tier("memory://"),
    "sqlite": lambda path: open_tier(f"sqlite:///{path}/state.db"),
}


@pytest.fixture(params=sorted(OPENERS))
def tier(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[GlobalTier]:
    opened = OPENERS[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def hosts(tier: GlobalTier) -> tuple[StateStore, StateStore]:
    """Two hosts that share one global tier."""
    return StateStore(tier), StateStore(tier)
