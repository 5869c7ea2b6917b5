"""One host for the tests of this folder."""

from __future__ import annotations

import pytest

import guesthouse


@pytest.fixture(scope="module")
def host():
    with guesthouse.Host() as host:
        yield host
