"""What holds along a whole chain of calls, whatever the interfaces: one tree, one deadline, one ceiling."""

from __future__ import annotations

import itertools
import time

import pytest
from tests.cross.conftest import ENTRY, EVERYTHING, LIMITS, load

from guesthouse.testing import guests

CALLERS = ("faasm", "ark", "pulp", "grafos", "wasix")


def path(*names, last="hi"):
    """The input that makes the first guest call the second, that one the third, and so on."""
    text = last
    for name in reversed(names[1:]):
        text = f"call|{name}|{ENTRY[name]}|{text}"
    return text.encode()


def flat(node):
    """All calls of a tree, parents first."""
    yield node
    for child in node.children:
        yield from flat(child)


@pytest.mark.parametrize("names", [*itertools.permutations(CALLERS[:4]), ("wasix", *CALLERS[:3])])
def test_a_chain_through_all_interfaces(host, names):
    result = host.invoke(names[0], path(*names, "wasi"), entry=ENTRY[names[0]])
    assert result.unwrap() == b"0|" * 4 + b"wasi:hi"


def test_calls_form_one_tree_with_a_receipt_each(host):
    names = ("faasm", "ark", "pulp", "grafos", "wasi")
    call = host.scheduler.submit("faasm", path(*names), entry="_start")
    host.scheduler.wait(call, 10)
    tree = host.scheduler.graph(call)
    seen = list(flat(tree))
    # the ark guest calls twice, blocking and in the background
    assert [node.guest for node in seen][:5] == list(names)
    assert sorted(node.guest for node in seen) == sorted(["faasm", "ark", *2 * ["pulp", "grafos", "wasi"]])
    for node in seen:
        receipt = node.result.receipt
        assert receipt.wall_s > 0
        assert receipt.bytes_in > 0
        assert receipt.bytes_out > 0
        assert len(receipt.children) == len(node.children)
        if node.guest != "pulp":  # resident: its instance outlives the call
            assert receipt.peak_memory >= 65536
            assert receipt.host_calls


@pytest.mark.parametrize("caller", ["faasm", "ark", "grafos"])
def test_a_callee_gets_no_more_than_its_caller_has(empty, caller):
    """The callee was granted module-run; under a caller without it, it is told that it has not."""
    own = {"faasm": "faasm.chain", "ark": "ark.module_run", "grafos": "grafos.tasklet"}[caller]
    load(empty, caller, grant=[own])
    load(empty, "middle", source="ark", grant=EVERYTHING)
    load(empty, "wasi")
    text = f"call|middle|answer|{path('ark', 'wasi').decode()}".encode()
    code, _, output = empty.call(caller, text, entry=ENTRY[caller]).partition(b"|")
    assert code == b"0"
    assert output == (b"0|wasi:hi" if caller == "ark" else b"2|")
    # two steps down it is still the ceiling of the first that counts
    load(empty, "further", source="grafos", grant=EVERYTHING)
    text = f"call|further|tasklet_run|{text.decode()}".encode()
    result = empty.invoke(caller, text, entry=ENTRY[caller])
    assert b"wasi:hi" not in result.output


@pytest.mark.parametrize("caller", ["ark", "grafos"])
def test_a_faasm_function_without_its_state_is_refused_below_such_a_caller(empty, caller):
    """Faasm has no code for a missing grant: the function cannot be linked, and the call fails."""
    wat = """(module (import "env" "__faasm_read_state" (func (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "_start")))"""
    guest = empty.load(guests.wat(wat), name="stateful", grant=["faasm.state"], limits=LIMITS)
    assert guest.call() == b""
    load(empty, caller)
    answer = empty.call(caller, b"call|stateful|_start|", entry=ENTRY[caller])
    assert answer == {"ark": b"4|", "grafos": b"500|"}[caller]
    load(empty, caller, grant=[*EVERYTHING, "faasm.state"], replace=True)
    assert empty.call(caller, b"call|stateful|_start|", entry=ENTRY[caller]) == b"0|"


@pytest.mark.parametrize("between", ["faasm", "ark", "grafos"])
def test_a_cell_that_is_called_back_while_it_waits_refuses_at_once(host, between):
    start = time.monotonic()
    result = host.invoke("pulp", path("pulp", between, "pulp"), entry="answer")
    code = {"faasm": b"0|1|", "ark": b"0|4|", "grafos": b"0|100|"}[between]
    assert result.unwrap().startswith(code)
    assert time.monotonic() - start < 2
    assert host.call("pulp", b"still there", entry="answer") == b"pulp:still there"


#: Calls a cell, computes for a while, and only then waits for it; its code is what it saw.
LATE = """(module
  (import "env" "__faasm_chain_name" (func $chain (param i32 i32 i32) (result i32)))
  (import "env" "__faasm_await_call" (func $await (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "pulp/answer\\00back")
  (func (export "main") (result i32) (local $call i32) (local $n i32)
    (local.set $call (call $chain (i32.const 16) (i32.const 28) (i32.const 4)))
    (loop $more (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
      (i32.const 100000000))))
    (i32.add (i32.const 40) (call $await (local.get $call)))))"""


def test_a_cell_is_called_back_before_anybody_waits_for_that(host):
    """A worker has begun with the call by then: the circle closes while it waits for the cell."""
    host.load(guests.wat(LATE), name="late", grant=EVERYTHING, limits=LIMITS)
    start = time.monotonic()
    call = host.scheduler.submit("pulp", b"call|late|main|", entry="answer")
    assert host.scheduler.wait(call, 20).unwrap().startswith(b"4|")
    (late,) = host.scheduler.graph(call).children
    assert late.result.code == 41
    assert time.monotonic() - start < 5
    assert host.call("pulp", b"still there", entry="answer") == b"pulp:still there"


def test_a_hundred_calls_to_a_busy_cell_wait_their_turn(host):
    futures = [host.submit("faasm", path("faasm", "pulp", last=f"{n}")) for n in range(100)]
    for number, future in enumerate(futures):
        assert future.result(20).unwrap() == f"0|pulp:{number}".encode()


def test_any_guest_may_be_redeployed_while_others_call_it(host):
    for turn in range(20):
        futures = [host.submit("faasm", path("faasm", "ark", "wasi")) for _ in range(3)]
        load(host, ("ark", "wasi")[turn % 2], replace=True)
        for future in futures:
            assert future.result(20).unwrap() == b"0|0|wasi:hi"
