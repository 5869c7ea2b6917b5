"""A shared engine, and modules written in the text format."""

from __future__ import annotations

import pytest

from guesthouse.engine import Engine, HostFunction, Instance, wat_to_wasm


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    with_cache = Engine(tmp_path_factory.mktemp("cache"))
    yield with_cache
    with_cache.close()


@pytest.fixture
def link(engine):
    """Compile text and bind its imports to `functions`, `(module, name) -> (params, results, implementation)`."""

    def linked(text: str, functions=None, *, metered=False):
        module = engine.compile(wat_to_wasm(text), metered=metered)
        rows = {
            key: HostFunction("", *key, params, results, implementation, "Test.")
            for key, (params, results, implementation) in (functions or {}).items()
        }
        return module.link(rows)

    return linked


@pytest.fixture
def start(link):
    """Link as `link` does, and return a started instance; closed after the test."""
    opened: list[Instance] = []

    def started(text: str, functions=None, *, metered=False, **limits):
        instance = link(text, functions, metered=metered).open(**limits)
        opened.append(instance)
        instance.start()
        return instance

    yield started
    for instance in opened:
        instance.close()
