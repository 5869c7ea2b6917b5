"""Cells under test: engine, registry and runtimes as an embedder would wire them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import guesthouse.pulp as face
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.http.inbound import HTTPInbound
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.surroundings import Surroundings
from guesthouse.testing import guests


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """The log as a library leaves it, whatever a command run in this process has set up."""
    logger = logging.getLogger("guesthouse")
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [], True
    yield
    logger.handlers[:], logger.propagate = before


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
        sql: str = "sqlite",
        run: bool = True,
    ) -> Application:
        catalogue = Catalogue(sql=sql)
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


class Window:
    """Calls imports through the guest ``any.c``: ``window.sqlite_exec(sql, params) -> (code, reply)``."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __call__(self, name: str, *args: Any) -> tuple[int, bytes]:
        data = [arg if isinstance(arg, int | bytes | str) else codec.encode(arg) for arg in args]
        answer = self.cell.call(name, msgspec.msgpack.encode(data))
        return int.from_bytes(answer[:4], "little", signed=True), answer[4:]

    def __getattr__(self, name: str) -> Callable[..., tuple[int, Any]]:
        def call(*args: Any) -> tuple[int, Any]:
            code, reply = self(name, *args)
            return code, codec.decode(reply) if reply else None

        return call

    def events(self, kind: str, count: int = 1, seconds: float = 10) -> list[Any]:
        """Wait for events of a kind and return their payloads."""
        seen: list[Any] = []
        until = time.monotonic() + seconds
        while len(seen) < count:
            assert time.monotonic() < until, f"{len(seen)} of {count} events {kind!r}"
            number, raw = self("events")
            for _ in range(number):
                size = int.from_bytes(raw[:4], "little")
                event, raw = codec.decode(raw[4 : 4 + size]), raw[4 + size :]
                if event["kind"] == kind:
                    seen.append(event["payload"])
            time.sleep(0.002)
        return seen


@pytest.fixture
def window(application) -> Callable[..., Window]:
    """Starts a runtime with one ``any.c`` cell that declares the given capabilities."""

    def start(
        *capabilities: str,
        name: str = "any",
        settings: Mapping[str, str] | None = None,
        sql: str = "sqlite",
        **keys: Any,
    ) -> Window:
        table = {"wasm": "any.c", "name": name, "capabilities": list(capabilities), **keys}
        app = application(table, settings=settings, sql=sql)
        opened = Window(app.runtime.cell(name))
        opened.app = app
        return opened

    return start
