"""A host with the modules of the acceptance cases, and callers to drive."""

from __future__ import annotations

import logging

import pytest
from tests.ark.driving import PATIENT, Driver, wasm

import guesthouse
from guesthouse.engine import Engine


@pytest.fixture(scope="session")
def engine():
    """One engine for all hosts: each reserves terabytes of address space for its pool."""
    made = Engine()
    yield made
    made.close()


@pytest.fixture
def host(engine):
    with guesthouse.Host(workers=2, engine=engine) as made:
        made.load(wasm("worker"), name="worker", grant=["ark.module_run"], limits=PATIENT)
        made.load(wasm("odd"), name="odd", limits=PATIENT)
        yield made


@pytest.fixture
def drive(host):
    """Make callers: ``drive(max_requests=4)``; each is a guest of its own."""
    made = []

    def make(*, tenant="default", name=None, grant=("ark.module_run",), limits=PATIENT, **ark):
        name = name or f"caller{len(made)}"
        guest = host.load(wasm("caller"), name=name, grant=list(grant), tenant=tenant, limits=limits, ark=ark)
        made.append(Driver(host, guest))
        return made[-1]

    yield make
    for driver in made:
        driver.end()


@pytest.fixture
def log_lines(monkeypatch):
    """Everything that the host logs, as a list that grows."""
    lines = []
    handler = logging.Handler()
    handler.emit = lines.append
    logger = logging.getLogger("guesthouse")
    level = logger.level
    monkeypatch.setattr(logger, "disabled", False)  # the linter of the layer tests disables all loggers
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def caller(drive):
    return drive()
