"""Typed responses, read in place (spec/pulp.md 2.3 item 5, acceptance case 15)."""

from __future__ import annotations

import struct

import pytest

from guesthouse import pulp


def lift(tree) -> tuple[list[bytes], int]:
    count, items, total = struct.unpack("<IIq", tree.read())
    names = [struct.unpack("<II", tree.read(items + 8 * at, 8)) for at in range(count)]
    return [tree.read(pointer, length) for pointer, length in names], total


@pytest.fixture
def typed(build):
    with pulp.Cell.load(build("typed.c")) as cell:
        yield cell


def test_case_15_a_typed_call_lifts_all_fields_and_gives_everything_back(typed) -> None:
    assert typed.call_typed("split", b"one three five", lift) == ([b"one", b"three", b"five"], 12)
    assert typed.call_typed("split", b"", lift) == ([], 0)
    assert typed.probe_alloc_live() == 0


def test_case_15_post_return_runs_even_if_the_reading_fails(typed) -> None:
    with pytest.raises(ZeroDivisionError):
        typed.call_typed("split", b"a b", lambda tree: 1 // 0)
    assert typed.probe_alloc_live() == 0
    assert typed.usable


def test_case_15_an_opaque_call_is_not_affected(typed, build) -> None:
    response = typed.call("split", b"ab")
    assert response is not None
    assert struct.unpack("<I", response[:4]) == (1,)
    with pulp.Cell.load(build("kit.c"), registry=pulp.registry()) as kit:
        with pytest.raises(pulp.NoPostReturn, match="does not export pulp_post_return"):
            kit.call_typed("reverse", b"x", lambda tree: tree.read())
