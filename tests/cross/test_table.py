"""The table of docs/calls.md: every caller with every callee, and what each makes of the other's end."""

from __future__ import annotations

import time

import pytest
from tests.cross.conftest import ENTRY, LIMITS, load

from guesthouse import Limits, errors
from guesthouse.testing import guests

CALLEES = tuple(ENTRY)
CALLERS = ("faasm", "ark", "pulp", "grafos", "wasix")
#: A WASIX program that is opened on the bus is a process, and has to take calls itself (tests/wasix).
PAIRS = [
    (caller, callee) for caller in CALLERS for callee in CALLEES if (caller, callee) != ("wasix", "wasix")
]


def ask(host, caller, callee, text, entry=None):
    """Have `caller` call `callee`: the code and output that it saw."""
    entry = ENTRY[callee] if entry is None and callee in ENTRY else entry or ""
    if caller == callee == "pulp":  # a cell cannot wait for itself: let it call a second one
        load(host, callee := "pulp_too", source="pulp", replace=True)
    result = host.invoke(caller, f"call|{callee}|{entry}|{text}".encode(), entry=ENTRY[caller])
    code, _, output = result.unwrap().partition(b"|")
    return int(code), output


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_success_input_and_output_arrive_as_they_are(host, caller, callee):
    assert ask(host, caller, callee, "hi there") == (0, f"{callee}:hi there".encode())
    assert ask(host, caller, callee, "") == (0, f"{callee}:".encode())


@pytest.mark.parametrize(("caller", "callee"), [pair for pair in PAIRS if "pulp" not in pair])
def test_without_an_entry_the_guests_own_is_called(host, caller, callee):
    expected = (0, f"{callee}:hi".encode())
    if caller == callee == "ark":  # Ark's own modules have no function of the empty name: not found
        expected = (6, b"")
    assert ask(host, caller, callee, "hi", entry="") == expected


#: What a callee that returns 6 (a tasklet: -6) puts out beside its code, where the caller gets to see it.
SAID = {
    "faasm": b"Call failed (return value=6)", "ark": b"", "pulp": b"", "grafos": b"", "wasi": b"it failed",
    "wasix": b"it failed",
}  # fmt: skip


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_code_other_than_0(host, caller, callee):
    code = -6 if callee == "grafos" else 6
    expected = {
        "faasm": (code, SAID[callee]),  # the return value, signed
        "ark": (6 if code == 6 else 4, b""),  # codes of Ark as they are, all others read as 4
        "pulp": (4, b""),
        "grafos": (code, SAID[callee]),  # finished, with that exit code
        "wasix": (116, b""),  # a fault: the invocation failed
    }
    assert ask(host, caller, callee, "fail") == expected[caller]


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_trap(host, caller, callee):
    code, output = ask(host, caller, callee, "trap")
    assert code == {"faasm": 1, "ark": 4, "pulp": 4, "grafos": 100, "wasix": 107}[caller]
    assert (b"threw exception" in output) == (caller == "faasm")


MISSING = {"faasm": 1, "ark": 6, "pulp": 4, "grafos": 500, "wasix": 4}


@pytest.mark.parametrize(("caller", "code"), MISSING.items())
def test_a_guest_that_is_not_there(host, caller, code):
    assert ask(host, caller, "nobody", "hi", entry="answer")[0] == code
    assert ask(host, caller, "other:faasm", "hi", entry="answer")[0] == code


@pytest.mark.parametrize(("caller", "callee"), [pair for pair in PAIRS if pair[1] != "pulp"])
def test_an_entry_that_is_not_there(host, caller, callee):
    code = {"faasm": 1, "ark": 6, "pulp": 4, "grafos": 600, "wasix": 9}[caller]
    assert ask(host, caller, callee, "hi", entry="nothing")[0] == code


@pytest.mark.parametrize(("caller", "code"), {**MISSING, "pulp": 11, "wasix": 13}.items())
def test_a_guest_that_the_callers_manifest_leaves_out(empty, caller, code):
    load(empty, "callee", source="ark")
    load(empty, caller, consumes=["somebody/else"])
    assert ask(empty, caller, "callee", "hi", entry="answer")[0] == code
    load(empty, caller, consumes=["callee/answer"], replace=True)
    assert ask(empty, caller, "callee", "hi", entry="answer") == (0, b"ark:hi")


@pytest.mark.parametrize("caller", CALLERS)
def test_a_guest_of_another_tenant_when_both_sides_say_so(empty, caller):
    load(empty, "callee", source="wasi", tenant="other", provides=["_start"])
    load(empty, caller, consumes=["other:callee/_start"])
    assert ask(empty, caller, "other:callee", "hi", entry="_start") == (0, b"wasi:hi")
    load(empty, caller, replace=True)
    assert ask(empty, caller, "other:callee", "hi", entry="_start")[0] != 0


#: How a callee can be brought to an end by its own limits: what it is loaded with, and what it is sent.
ENDS = {
    "deadline": ({"limits": Limits(wall="100ms")}, "spin"),
    "fuel": ({"limits": Limits(fuel=2000)}, "spin"),
    "memory": ({"limits": Limits(memory="64KiB")}, "hi"),
    "input": ({"limits": Limits(input=2)}, "longer"),
    "output": ({"limits": Limits(output=2)}, "hi"),
    "grant": ({"source": None}, "hi"),
}
SEEN = {
    "faasm": dict.fromkeys(ENDS, 1),
    "ark": dict.fromkeys(ENDS, 4),
    "pulp": dict.fromkeys(ENDS, 4),
    "grafos": {"deadline": 400, "fuel": 200, "memory": 300, "input": 100, "output": 700, "grant": 500},
    "wasix": {"deadline": 107, "fuel": 116, "memory": 116, "input": 116, "output": 116, "grant": 113},
}
#: Imports what no caller here was granted, and what its interface refuses to link without.
NEEDY = """(module (import "env" "__faasm_read_state" (func (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (func (export "_start")))"""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_callee_that_comes_to_its_end(host, caller, end):
    options, text = ENDS[end]
    if end == "grant":
        host.load(guests.wat(NEEDY), name="callee", grant=["faasm.state"], limits=LIMITS)
        entry = "_start"
    else:
        load(host, "callee", source="ark", **options)
        entry = "answer"
    assert ask(host, caller, "callee", text, entry=entry)[0] == SEEN[caller][end]


@pytest.mark.parametrize("caller", CALLERS)
def test_a_callee_that_is_cancelled(host, caller):
    future = host.submit(caller, b"call|wasi|_start|spin", entry=ENTRY[caller])
    while not (
        spinning := [call for call in host.scheduler.live() if call.guest == "wasi" and call.instance]
    ):
        time.sleep(0.002)
    # the ark guest makes the call twice, one after the other
    while not future.done():
        for call in host.scheduler.live():
            if call.guest == "wasi":
                host.scheduler.cancel(call, "by the test")
        time.sleep(0.01)
    assert spinning
    code = int(future.result(10).unwrap().partition(b"|")[0])
    assert code == {"faasm": 1, "ark": 4, "pulp": 4, "grafos": 100, "wasix": 107}[caller]


@pytest.mark.parametrize("callee", CALLEES)
def test_python_gets_results_and_exceptions(host, callee):
    guest, entry = host.guest(callee), ENTRY[callee]
    assert guest.call(b"hi", entry=entry) == f"{callee}:hi".encode()
    assert guest.invoke(b"fail", entry=entry).code == (-6 if callee == "grafos" else 6)
    with pytest.raises(errors.GuestFailed):
        guest.call(b"fail", entry=entry)
    assert guest.submit(b"hi", entry=entry).result(10).output == f"{callee}:hi".encode()
    with pytest.raises(errors.Trap):
        guest.call(b"trap", entry=entry)
