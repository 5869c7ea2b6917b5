"""A host with one guest that returns its input, and fails on request."""

from __future__ import annotations

import pytest
from tests import plain_interface

from guesthouse import Host, Limits


@pytest.fixture
def host(monkeypatch):
    plain_interface.install(monkeypatch)
    with Host(limits=Limits(input="1MiB")) as host:
        host.load(plain_interface.GUEST, name="plain", grant=["plain.io"])
        yield host
        plain_interface.AWAKE.set()


@pytest.fixture
def module():
    return plain_interface.GUEST


@pytest.fixture
def napping():
    """Set while a guest is inside ``nap``."""
    return plain_interface.NAPPING


@pytest.fixture
def awake():
    """To be set for it to go on."""
    return plain_interface.AWAKE
