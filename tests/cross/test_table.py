"""The table of docs/calls.md: every caller with every callee, and what each makes of the other's end."""

from __future__ import annotations

import pytest
from tests.cross.conftest import ENTRY, load

from guesthouse import errors

CALLEES = tuple(ENTRY)
CALLERS = ("faasm", "ark", "pulp", "grafos")


def ask(host, caller, callee, text, entry=None):
    """Have `caller` call `callee`: the code and output that it saw."""
    entry = ENTRY[callee] if entry is None and callee in ENTRY else entry or ""
    if caller == callee == "pulp":  # a cell cannot wait for itself: let it call a second one
        load(host, callee := "pulp_too", source="pulp", replace=True)
    result = host.invoke(caller, f"call|{callee}|{entry}|{text}".encode(), entry=ENTRY[caller])
    code, _, output = result.unwrap().partition(b"|")
    return int(code), output


@pytest.mark.parametrize("callee", CALLEES)
@pytest.mark.parametrize("caller", CALLERS)
def test_success_input_and_output_arrive_as_they_are(host, caller, callee):
    assert ask(host, caller, callee, "hi there") == (0, f"{callee}:hi there".encode())
    assert ask(host, caller, callee, "") == (0, f"{callee}:".encode())


@pytest.mark.parametrize("callee", [name for name in CALLEES if name != "pulp"])
@pytest.mark.parametrize("caller", [name for name in CALLERS if name != "pulp"])
def test_without_an_entry_the_guests_own_is_called(host, caller, callee):
    assert ask(host, caller, callee, "hi", entry="") == (0, f"{callee}:hi".encode())


#: What a callee that returns 6 (a tasklet: -6) puts out beside its code, where the caller gets to see it.
SAID = {
    "faasm": b"Call failed (return value=6)",
    "ark": b"",
    "pulp": b"",
    "grafos": b"",
    "wasi": b"it failed",
}


@pytest.mark.parametrize("callee", CALLEES)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_code_other_than_0(host, caller, callee):
    code = -6 if callee == "grafos" else 6
    expected = {
        "faasm": (code, SAID[callee]),  # the return value, signed
        "ark": (6 if code == 6 else 4, b""),  # codes of Ark as they are, all others read as 4
        "pulp": (4, b""),
        "grafos": (code, SAID[callee]),  # finished, with that exit code
    }
    assert ask(host, caller, callee, "fail") == expected[caller]


@pytest.mark.parametrize("callee", CALLEES)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_trap(host, caller, callee):
    code, output = ask(host, caller, callee, "trap")
    assert code == {"faasm": 1, "ark": 4, "pulp": 4, "grafos": 100}[caller]
    assert (b"threw exception" in output) == (caller == "faasm")


@pytest.mark.parametrize(("caller", "code"), [("faasm", 1), ("ark", 6), ("pulp", 4), ("grafos", 500)])
def test_a_guest_that_is_not_there(host, caller, code):
    assert ask(host, caller, "nobody", "hi", entry="answer")[0] == code
    assert ask(host, caller, "other:faasm", "hi", entry="answer")[0] == code


@pytest.mark.parametrize("callee", [name for name in CALLEES if name != "pulp"])
@pytest.mark.parametrize(("caller", "code"), [("faasm", 1), ("ark", 6), ("pulp", 4), ("grafos", 600)])
def test_an_entry_that_is_not_there(host, caller, callee, code):
    assert ask(host, caller, callee, "hi", entry="nothing")[0] == code


@pytest.mark.parametrize(("caller", "code"), [("faasm", 1), ("ark", 6), ("pulp", 11), ("grafos", 500)])
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
