"""One guest per interface, each of which can answer, fail, trap, and call the others (guests/cross)."""

from __future__ import annotations

import pytest

import guesthouse
from guesthouse.engine import Engine
from guesthouse.testing import guests

#: What each guest is granted: together they hold the same, since capabilities never grow along a call.
EVERYTHING = ["faasm.chain", "ark.module_run", "grafos.tasklet", "wasix.bus", "wasix.process"]
#: The entry of each guest under its own name; calls without an entry come to the same.
ENTRY = {
    "faasm": "_start", "ark": "answer", "pulp": "answer", "grafos": "tasklet_run", "wasi": "_start",
    "wasix": "_start",
}  # fmt: skip
LIMITS = guesthouse.Limits(wall="20s")


@pytest.fixture(scope="session")
def engine():
    """One engine for all hosts: each reserves terabytes of address space for its pool."""
    made = Engine()
    yield made
    made.close()


def load(host, name, *, source=None, **options):
    options = {"grant": EVERYTHING, "limits": LIMITS, "ark": {"child_fuel": None}, **options}
    return host.load(guests.load(f"guests/cross/{source or name}.c"), name=name, **options)


@pytest.fixture(scope="module")
def village(engine, tmp_path_factory):
    """Guests that are loaded as they are asked for; see `table`."""
    from tests.cross.table import Village

    made = Village(engine, tmp_path_factory.mktemp("village"))
    yield made
    made.close()


@pytest.fixture
def empty(engine, tmp_path):
    with guesthouse.Host(workers=2, engine=engine, pulp={"storage_root": tmp_path}) as made:
        yield made


@pytest.fixture
def host(empty):
    for name, entry in ENTRY.items():
        # the topics of a cell have to be known, since on the bus they travel as hashes
        load(empty, name, provides=[entry] if name == "pulp" else [])
    return empty
