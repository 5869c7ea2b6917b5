"""One host for the tests of this folder, and guests written in the text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import guesthouse
from guesthouse.engine import wat_to_wasm

#: Imports that the hand-made guests use; each test names those it needs.
IMPORTS = {
    "input": '(import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))',
    "output": '(import "env" "__faasm_write_output" (func $output (param i32 i32)))',
    "chain": '(import "env" "__faasm_chain_name" (func $chain (param i32 i32 i32) (result i32)))',
    "chain_ptr": '(import "env" "__faasm_chain_ptr" (func $chain_ptr (param i32 i32 i32) (result i32)))',
    "await": '(import "env" "__faasm_await_call" (func $await (param i32) (result i32)))',
    "await_output": '(import "env" "__faasm_await_call_output" (func $await_output (param i32 i32 i32) (result i32)))',
}


def module(imports: str, body: str) -> bytes:
    """A module with one memory; `imports` are names out of IMPORTS."""
    lines = "".join(IMPORTS[name] for name in imports.split())
    return wat_to_wasm(f'(module {lines} (memory (export "memory") 2) {body})')


@pytest.fixture
def host() -> Iterator[guesthouse.Host]:
    with guesthouse.Host(workers=2) as made:
        yield made


@pytest.fixture
def load(host: guesthouse.Host) -> Callable[..., Any]:
    def load(name: str, source: Any, **options: Any) -> Any:
        options.setdefault("grant", ["faasm"])
        return host.load(source, name=name, **options)

    return load
