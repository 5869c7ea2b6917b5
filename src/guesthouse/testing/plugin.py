"""The pytest plugin: fixtures for tests of guests.  It is found by itself once Guesthouse is installed.

``virtual_clock``   a clock that only tests move
``mock_fabric``     a fresh :class:`~guesthouse.testing.MockFabric`, current on this thread
``faults``          fault injection into every host function
``guest_host``      a :class:`guesthouse.Host` on the mock fabric that faults can be injected into
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guesthouse.host import Host
    from guesthouse.resources.leases.clock import VirtualClock
    from guesthouse.testing.fabric import MockFabric
    from guesthouse.testing.faults import Faults

# Everything is imported when a fixture is used: the plugin must not slow down runs that do not need it.


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that only tests move."""
    from guesthouse.resources.leases.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def mock_fabric() -> Iterator[MockFabric]:
    """A fresh mock of the fabric, which the ``mock_*`` functions work on."""
    from guesthouse.testing.fabric import MockFabric

    with MockFabric() as fabric:
        yield fabric


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Fault injection; cleared at the end of the test."""
    from guesthouse.testing.faults import current_faults

    injected = current_faults()
    injected.reset()
    yield injected
    injected.clear()


@pytest.fixture
def guest_host(mock_fabric: MockFabric, faults: Faults) -> Iterator[Host]:
    """A host on the mock fabric; ``faults.inject`` reaches its guests."""
    from guesthouse.host import Host

    engine = faults.engine()
    with Host(fabric=mock_fabric, engine=engine) as host:
        yield host
    engine.close()
