"""Cells under test: engine, registry and runtimes as an embedder would wire them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import guesthouse.pulp as face
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.http.inbound import HTTPInbound
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.testing import guests


@pytest.fixture(scope="session")
def surroundings() -> Surroundings:
    """The process-wide engine and WASI."""
    return face.standalone()


@pytest.fixture(scope="session")
def build() -> Callable[[str], Path]:
    """Builds a guest of guests/pulp by its file or folder name."""
    return lambda name: guests.build(f"guests/pulp/{name}")


class Application:
    """A runtime under test, and the capabilities that it was given."""

    def __init__(self, runtime: Runtime, catalogue: Catalogue) -> None:
        self.runtime, self.catalogue = runtime, catalogue

    @property
    def http(self) -> HTTPInbound:
        return self.catalogue.http

    @property
    def url(self) -> str:
        return self.http.url


@pytest.fixture
def application(
    tmp_path: Path, surroundings: Surroundings, build: Callable[[str], Path]
) -> Iterator[Callable[..., Application]]:
    """Starts runtimes of cells given as keyword tables, and stops them afterwards."""
    started: list[Runtime] = []

    def start(
        *tables: Mapping[str, Any],
        settings: Mapping[str, str] | None = None,
        strict_links: bool = False,
        run: bool = True,
    ) -> Application:
        catalogue = Catalogue()
        manifests = []
        for number, table in enumerate(tables):
            keys = {"name": f"cell{number}", "version": "1", **table}
            if "/" not in str(keys["wasm"]):
                keys["wasm"] = str(build(str(keys["wasm"])))
            manifests.append(CellManifest.from_table(keys, tmp_path / f"{keys['name']}.toml"))
        runtime = Runtime(
            manifests,
            catalogue.registry(),
            surroundings,
            storage_root=tmp_path / "data",
            settings={"HTTP_PORT": "0", **(settings or {})},
            strict_links=strict_links,
        )
        started.append(runtime)
        if run:
            runtime.start()
        return Application(runtime, catalogue)

    yield start
    for runtime in started:
        runtime.stop()
