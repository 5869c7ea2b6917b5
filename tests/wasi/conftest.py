"""One host for the tests of this folder."""

from __future__ import annotations

import pytest

import guesthouse
from guesthouse.interfaces.wasi import resolve


@pytest.fixture(scope="module")
def host():
    with guesthouse.Host() as host:
        yield host


@pytest.fixture(params=["kernel", "walk"])
def resolver(request):
    """Path resolution by the kernel, and by walking where it cannot."""
    resolve.use_walk(request.param == "walk")
    yield request.param
    resolve.use_walk(False)
