"""The pytest plugin: fixtures for tests of guests.  It is found by itself once Guesthouse is installed.

``guest_host``      a :class:`guesthouse.Host` for guests of every interface, on the mock fabric
``faults``          fault injection into every host function of its guests
``virtual_clock``   a clock that only tests move; in a test that asks for it, it is what all guests go by
``mock_fabric``     the fabric that `guest_host` is on, current on this thread
``cell_surroundings``   for Pulp cells that are loaded without a host
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guesthouse.engine import Engine
    from guesthouse.host import Host
    from guesthouse.pulp import Surroundings
    from guesthouse.resources.leases.clock import VirtualClock
    from guesthouse.testing.fabric import MockFabric
    from guesthouse.testing.faults import Faults

# Everything is imported when a fixture is used: the plugin must not slow down runs that do not need it.


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that only tests move: leases and guests' own clocks follow it, and sleeping moves it on."""
    from guesthouse.resources.leases.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def mock_fabric(request: pytest.FixtureRequest) -> Iterator[MockFabric]:
    """A fresh mock of the fabric, which the ``mock_*`` functions work on."""
    from guesthouse.testing.fabric import MockFabric

    with MockFabric(clock=_clock(request)) as fabric:
        yield fabric


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Fault injection; nothing of it is left after the test."""
    from guesthouse.testing.faults import Faults

    with Faults() as injected:
        yield injected


@pytest.fixture
def guest_host(mock_fabric: MockFabric, _test_engine: Engine) -> Iterator[Host]:
    """A host on the mock fabric; faults and the virtual clock reach its guests."""
    from guesthouse.host import Host

    with Host(fabric=mock_fabric, engine=_test_engine) as host:
        yield host


@pytest.fixture
def cell_surroundings(_test_engine: Engine) -> Surroundings:
    """What ``pulp.Cell.load`` and ``pulp.Runtime`` are given so that faults and clock reach their cells."""
    from guesthouse import pulp

    return pulp.standalone(_test_engine)


@pytest.fixture
def _test_engine(request: pytest.FixtureRequest, faults: Faults) -> Iterator[Engine]:
    from guesthouse.testing.engines import engine

    made = engine(faults=faults, clock=_clock(request))
    yield made
    made.close()


def _clock(request: pytest.FixtureRequest) -> VirtualClock | None:
    """The test's virtual clock, where it asks for one."""
    return request.getfixturevalue("virtual_clock") if "virtual_clock" in request.fixturenames else None
