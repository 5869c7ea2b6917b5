"""A guest that re-exports every host function of the fabric, driven call by call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import guesthouse
from guesthouse.engine.functions import HostFunction
from guesthouse.interfaces.grafos.imports import FUNCTIONS
from guesthouse.testing import MockFabric, guests

WORDS = {"i": "i32", "I": "i64"}
#: Addresses in guest memory that tests use.
OUT, DATA, TEXT = 64, 4096, 1024


def wat_type(row: HostFunction) -> str:
    params = "".join(f"(param {WORDS[kind]})" for kind in row.params)
    return params + "".join(f"(result {WORDS[kind]})" for kind in row.results)


def mirror(rows: list[HostFunction] | None = None, *, pages: int = 2) -> bytes:
    """A module whose exports are its imports."""
    imports, exports, seen = [], [], set()
    for number, row in enumerate(rows if rows is not None else FUNCTIONS):
        imports.append(f'(import "{row.module}" "{row.name}" (func $f{number} {wat_type(row)}))')
        if row.name not in seen:
            exports.append(f'(export "{row.name}" (func $f{number}))')
        seen.add(row.name)
    body = "\n".join([*imports, f'(memory (export "memory") {pages} 64)', *exports])
    return guests.wat(f"(module {body})")


class Program:
    """An instance of the mirror; its methods are the host functions, with signed results."""

    def __init__(self, guest: guesthouse.Guest) -> None:
        self.guest = guest
        self.instance = guest.open(None)
        self.instance.start()

    def __getattr__(self, name: str) -> Any:
        bits = 64 if self.instance.signature(name)[1] == "I" else 32

        def call(*args: int) -> int:
            answer = self.instance.invoke(name, *args) & ((1 << bits) - 1)
            return answer - ((answer >> (bits - 1)) << bits)

        return call

    def read(self, pointer: int, length: int) -> bytes:
        return self.instance.read(pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        self.instance.write(pointer, data)

    def word(self, pointer: int = OUT) -> int:
        return int.from_bytes(self.read(pointer, 8), "little")

    def fbmu(self, amount: int, ttl: int = 60) -> int:
        assert self.fbmu_alloc(amount, ttl, OUT) == 0
        return self.word()

    def fbbu(self, amount: int, ttl: int = 60) -> int:
        assert self.fbbu_alloc(amount, ttl, OUT) == 0
        return self.word()

    def close(self) -> None:
        self.guest.dismiss(self.instance, None)


class Programs:
    """Opens programs on one host."""

    def __init__(self, host: guesthouse.Host) -> None:
        self.host = host
        self._open: list[Program] = []
        self._count = 0

    def __call__(
        self, *, tenant: str = "default", grant: tuple[str, ...] = ("grafos",), **options: Any
    ) -> Program:
        self._count += 1
        guest = self.host.load(
            mirror(options.pop("rows", None)),
            name=f"program{self._count}",
            tenant=tenant,
            grant=grant,
            **options,
        )
        program = Program(guest)
        self._open.append(program)
        return program

    def close(self) -> None:
        for program in self._open:
            program.close()


@pytest.fixture
def programs(guest_host: guesthouse.Host) -> Iterator[Programs]:
    made = Programs(guest_host)
    yield made
    made.close()


@pytest.fixture
def program(programs: Programs) -> Program:
    """A program of the default tenant with everything granted, on the mock fabric."""
    return programs()


@pytest.fixture
def now(mock_fabric: MockFabric) -> Any:
    return mock_fabric.clock.now
