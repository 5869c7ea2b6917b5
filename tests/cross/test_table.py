"""The table of docs/calls.md: every caller with every callee, and what each makes of the other's end."""

from __future__ import annotations

import pytest
from tests.cross.conftest import ENTRY, EVERYTHING, LIMITS
from tests.cross.table import CALLEES, CALLERS, CALLING, COLUMNS, SAID, Village, read, wanted

from guesthouse import Limits
from guesthouse.calls import CallLimits
from guesthouse.testing import guests

TABLE = read()


@pytest.fixture(scope="module")
def narrow(engine, tmp_path_factory):
    """A village where no guest may call another one."""
    made = Village(engine, tmp_path_factory.mktemp("narrow"), calls=CallLimits(depth=0))
    yield made
    made.close()


#: Ends that the callee comes to by limits of its own: those, and what it is sent.
LIMITED = {
    "ran out of time": (Limits(wall="50ms"), "spin"),
    "ran out of fuel": (Limits(fuel=20_000), "spin"),
    "needed too much memory": (Limits(memory="64KiB"), "hi"),
    "was given too much input": (Limits(input=2), "longer"),
    "put out too much": (Limits(output=2), "hi"),
}
#: Import what no caller here was granted, and what their interfaces refuse to link without.
NEEDY = {
    "faasm": '(import "env" "__faasm_read_state" (func (param i32 i32 i32) (result i32)))',
    "wasix": '(import "wasix_32v1" "sock_open" (func (param i32 i32 i32 i32) (result i32)))',
}


def succeeds(village, caller, callee):
    for text in ("hi there", "", "ü\n|" * 300):
        answer = village.ask(caller, village.guest(callee, callee), ENTRY[callee], text)
        assert answer == (wanted(caller, TABLE["succeeded"][caller]), f"{callee}:{text}".encode())


def returns_a_code(village, caller, callee):
    cell = TABLE["returned code *c*"][caller]
    code, output = village.ask(caller, village.guest(callee, callee), ENTRY[callee], "fail")
    assert code == wanted(caller, cell, -6 if callee == "grafos" else 6)
    if not isinstance(code, str):
        assert output == (SAID.get(callee, b"") if "output" in cell or caller == "python" else b"")


def traps(village, caller, callee):
    # a cell that traps is started again, not for ever: each test has its own
    return village.ask(caller, village.guest(callee), ENTRY[callee], "trap")


def limited(end):
    limits, text = LIMITED[end]

    def comes_to_it(village, caller, callee):
        name = village.guest(callee, None if callee == "pulp" else f"{callee} {end}", limits=limits)
        return village.ask(caller, name, ENTRY[callee], text)

    return comes_to_it


def is_cancelled(village, caller, callee):
    name = village.guest(callee)
    with village.cancelling(name):
        return village.ask(caller, name, ENTRY[callee], "spin")


def lacks_a_capability(village, caller, callee):
    wasm = guests.wat(f'(module {NEEDY[callee]} (memory (export "memory") 1) (func (export "_start")))')
    granted = [*EVERYTHING, "faasm.state", "wasix.sockets"]
    name = f"needy {callee}"
    village.host.load(wasm, name=name, grant=granted, limits=LIMITS, replace=True)
    if caller == "python":
        result = village.host.scheduler.run(name, entry="_start", capabilities=frozenset())
        return type(result.error).__name__, b""
    return village.ask(caller, name, "_start", "")


def goes_round(village, caller, callee):
    """The cell calls the caller, who calls the cell."""
    cell = village.guest("pulp")
    through = "faasm" if caller == "python" else caller
    between = village.guest(through, f"from-{through}")
    text = f"call|{between}|{ENTRY.get(through, '_start')}|call|{cell}|answer|hi"
    call = village.host.scheduler.submit(cell, text.encode(), entry="answer")
    outcome = village.host.scheduler.wait(call, 20).unwrap()
    if caller == "python":
        (middle,) = village.host.scheduler.graph(call).children
        (inner,) = middle.children
        return type(inner.result.error).__name__, b""
    zero, code, output = outcome.split(b"|", 2)
    assert zero == b"0"
    return int(code), output


def has_ended(village, caller, callee):
    name = village.guest(callee, restart="never")
    assert village.host.invoke(name, b"trap", entry=ENTRY[callee]).error is not None
    return village.ask(caller, name, ENTRY[callee], "hi")


def is_not_there(village, caller, callee):
    if callee != "nobody":
        village.guest(callee, f"hidden-{callee}", tenant="other")
        callee = f"other:hidden-{callee}"
    return village.ask(caller, callee, "answer", "hi")


def has_no_such_entry(village, caller, callee):
    return village.ask(caller, village.guest(callee, callee), "nothing", "hi")


def is_left_out(village, caller, callee):
    who = village.guest(caller, f"narrow-{caller}", consumes=["somebody/else"])
    name = village.guest(callee, callee)
    allowed = village.guest(caller, f"allowed-{callee}-{caller}", consumes=[f"{name}/{ENTRY[callee]}"])
    assert village.ask(caller, name, ENTRY[callee], "hi", who=allowed)[0] == wanted(
        caller, TABLE["succeeded"][caller]
    )
    return village.ask(caller, name, ENTRY[callee], "hi", who=who)


def cannot_be_started(narrow, caller, callee):
    return narrow.ask(caller, narrow.guest(callee, callee), ENTRY[callee], "hi")


#: How each row is made to happen; those that return nothing have looked for themselves.
ENDS = {
    "succeeded": succeeds,
    "returned code *c*": returns_a_code,
    "trapped": traps,
    **{end: limited(end) for end in LIMITED},
    "was cancelled": is_cancelled,
    "lacks a capability at link time": lacks_a_capability,
    "would wait for its caller (cycle)": goes_round,
    "has ended for good (a cell)": has_ended,
    "is not there, or not visible": is_not_there,
    "has no such entry": has_no_such_entry,
    "is left out by the caller's `consumes`": is_left_out,
    "cannot be started now (limits of calls)": cannot_be_started,
}
#: Callees of a row, where not all of them can come to it.
COMING = {
    "put out too much": [callee for callee in CALLEES if callee != "grafos"],
    "lacks a capability at link time": list(NEEDY),
    "would wait for its caller (cycle)": ["pulp"],
    "has ended for good (a cell)": ["pulp"],
    "is not there, or not visible": ["nobody", *CALLEES],
    "has no such entry": [callee for callee in CALLEES if callee != "pulp"],
}
PROGRAMS = {"wasi", "wasix"}
STREAMED = {"was given too much input", "put out too much"}
#: What there is between guests only: a cell that calls a cell makes no call of the host.
BETWEEN_GUESTS = {
    *STREAMED, "was cancelled", "has ended for good (a cell)", "cannot be started now (limits of calls)",
}  # fmt: skip


def happens(end, caller, callee):
    """Whether a callee can come to an end so that a caller sees it; docs/calls.md says why not."""
    if TABLE[end][caller] == "-" or callee not in COMING.get(end, CALLEES):
        return False
    if end.startswith("cannot be started") and caller not in CALLING:
        return False  # refused before it is a call: a test of its own
    if caller == "spawn" and callee in PROGRAMS and end in STREAMED:
        return False
    if caller == callee == "pulp" and end in BETWEEN_GUESTS:
        return False
    if end == "needed too much memory" and callee == "pulp":
        return caller not in {"ark", "pulp"}  # which call twice, or find a cell that has ended
    # a WASIX program that is opened on the bus has to take calls itself (tests/wasix)
    return (caller, callee) != ("wasix", "wasix") or end == "is not there, or not visible"


CASES = [
    pytest.param(end, caller, callee, id=f"{end}-{caller}-{callee}".replace(" ", "_"))
    for end in TABLE
    for caller in CALLERS
    for callee in ("nobody", *CALLEES)
    if happens(end, caller, callee)
]


def test_the_table_has_a_row_for_every_end_and_a_column_for_every_caller():
    assert list(TABLE) == list(ENDS)
    for cells in TABLE.values():
        assert list(cells) == list(COLUMNS.values())
        assert all(cells.values())


@pytest.mark.parametrize(("end", "caller", "callee"), CASES)
def test_each_cell(request, end, caller, callee):
    bounded = end.startswith("cannot be started")
    village = request.getfixturevalue("narrow" if bounded else "village")
    seen = ENDS[end](village, caller, callee)
    if seen is None:
        return
    cell = TABLE[end][caller]
    if bounded and caller == "spawn" and callee in PROGRAMS:
        cell = "`proc_spawn` 29"
    assert seen[0] == wanted(caller, cell)


@pytest.mark.parametrize("caller", ["http", "python"])
def test_each_cell_where_the_host_takes_no_calls(engine, tmp_path, caller):
    village = Village(engine, tmp_path)
    try:
        name = village.guest("wasi")
        assert village.ask(caller, name, "_start", "hi")[0] == wanted(caller, TABLE["succeeded"][caller])
        village.host.scheduler.drain(0)
        end = "cannot be started now (limits of calls)"
        assert village.ask(caller, name, "_start", "hi")[0] == wanted(caller, TABLE[end][caller])
    finally:
        village.close()
