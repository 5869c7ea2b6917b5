"""WASIX programs and guests of other interfaces: spawned with streams, or called over the bus."""

from __future__ import annotations

import pytest
from tests.cross.conftest import ENTRY, EVERYTHING, LIMITS

from guesthouse.testing import guests

SPAWNED = ("faasm", "ark", "grafos", "wasi")


@pytest.fixture
def parent(host):
    return host.load(guests.build("guests/wasix/parent.c"), name="parent", grant=EVERYTHING, limits=LIMITS)


@pytest.mark.parametrize("name", SPAWNED)
def test_a_guest_of_any_interface_runs_as_a_process_with_pipes(parent, name):
    """It says "shout" to the child through a pipe, prints what it reads from another, leaves with its code."""
    ended = parent.run([name])
    assert (ended.code, ended.stdout) == (0, f"child said: {name}:shout\n".encode())


def test_a_process_that_is_not_there(parent):
    assert parent.run(["nobody"]).code == 100 + 44


@pytest.mark.parametrize("name", SPAWNED)
def test_processes_are_children_in_the_call_tree(host, name):
    call = host.scheduler.submit("wasix", f"call|{name}|{ENTRY[name]}|hi".encode())
    assert host.scheduler.wait(call, 10).unwrap() == f"0|{name}:hi".encode()
    (child,) = host.scheduler.graph(call).children
    assert child.guest == name
    assert child.result.receipt.peak_memory >= 65536
