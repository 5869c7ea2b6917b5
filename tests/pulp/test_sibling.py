"""Calls from cell to cell (spec/pulp.md 3.3, 5.4, acceptance case 17)."""

from __future__ import annotations

import threading
import time

import pytest

KIT = {"wasm": "kit.c", "restart": "never"}


def relay(app, caller: str, target: str, function: str, data: bytes = b"") -> tuple[int, bytes]:
    args = target.encode() + b"|" + function.encode() + b"|" + data
    answer = app.runtime.cell(caller).call("relay", args)
    return answer[0], answer[1:]


@pytest.fixture
def pair(application):
    return application(
        {**KIT, "name": "a", "depends_on": ["b"], "consumes": ["a.self"], "provides": ["a.self"]},
        {**KIT, "name": "b", "consumes": ["a"]},
        {**KIT, "name": "stranger"},
    )


def test_case_17_calls_reach_the_sibling_and_state_is_kept_between_them(pair) -> None:
    assert relay(pair, "a", "b", "reverse", b"hello") == (0, b"olleh")
    assert relay(pair, "a", "b", "count") == (0, b"\1\0\0\0")
    assert relay(pair, "a", "b", "count") == (0, b"\2\0\0\0")
    assert relay(pair, "a", "b", "nothing") == (0, b"")
    for name in ("a", "b"):
        assert pair.runtime.cell(name).probe_alloc_live() in (0, 1)


def test_case_17_an_orchestrator_calls_two_engines_that_keep_their_state(application) -> None:
    app = application(
        {**KIT, "name": "lead", "consumes": ["math", "text"]},
        {**KIT, "name": "math", "provides": ["math.double"]},
        {**KIT, "name": "text", "provides": ["text.label"]},
    )
    for number in range(1, 4):
        for engine in ("math", "text"):
            assert relay(app, "lead", engine, "count") == (0, bytes([number, 0, 0, 0]))
        assert relay(app, "lead", "text", "reverse", b"%d" % (10 + number)) == (0, b"%d1" % number)


@pytest.mark.parametrize(
    ("target", "function", "code"),
    [
        ("", "f", 1),
        ("b", "", 1),
        ("ghost", "f", 4),
        ("b", "no such function", 4),
        ("b", "fail", 4),
        ("stranger", "count", 11),
    ],
)
def test_codes_of_pulp_call(pair, target, function, code) -> None:
    assert relay(pair, "a", target, function) == (code, b"")
    assert relay(pair, "a", "b", "reverse", b"12") == (0, b"21")


def test_a_provider_that_traps_is_code_4_and_the_caller_lives_on(pair) -> None:
    assert relay(pair, "a", "b", "trap") == (4, b"")
    assert relay(pair, "a", "a", "count")[0] == 4
    assert pair.runtime.cell("a").call("count") == b"\1\0\0\0"


def test_a_cell_that_calls_itself_is_refused_at_once(pair) -> None:
    started = time.monotonic()
    assert relay(pair, "a", "a", "count") == (4, b"")
    assert time.monotonic() - started < 1


def test_a_cycle_over_another_cell_is_refused_at_once_where_it_closes(pair) -> None:
    started = time.monotonic()
    assert relay(pair, "a", "b", "relay", b"a|count|") == (0, b"\4")
    assert time.monotonic() - started < 1


def test_opposite_calls_at_the_same_time_neither_stall_nor_fail_without_cause(pair) -> None:
    codes: list[int] = []

    def work(caller: str, target: str) -> None:
        codes.extend(relay(pair, caller, target, "count")[0] for _ in range(100))

    threads = [threading.Thread(target=work, args=names) for names in (("a", "b"), ("b", "a"))]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - started < 15
    assert len(codes) == 200
    assert set(codes) <= {0, 4}
    assert codes.count(0) > 20


def test_waiting_behind_a_busy_sibling_is_no_cycle(application) -> None:
    app = application(
        *({**KIT, "name": name, "consumes": ["hub"]} for name in ("x", "y", "z")), {**KIT, "name": "hub"}
    )
    wrong: list[object] = []

    def work(caller: str) -> None:
        answers = (relay(app, caller, "hub", "reverse", b"ab") for _ in range(100))
        wrong.extend(answer for answer in answers if answer != (0, b"ba"))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_the_strict_rule_looks_at_the_function(application) -> None:
    app = application(
        {**KIT, "name": "a", "consumes": ["reverse"], "depends_on": ["b"]},
        {**KIT, "name": "b", "provides": ["reverse", "count"]},
        strict_links=True,
    )
    assert relay(app, "a", "b", "reverse", b"xy") == (0, b"yx")
    assert relay(app, "a", "b", "count") == (11, b"")


def test_a_sibling_that_runs_away_takes_no_longer_than_the_callers_budget(application) -> None:
    app = application(
        {**KIT, "name": "a", "consumes": ["b"], "call_timeout_ms": 10_000},
        {**KIT, "name": "b", "call_timeout_ms": 150},
    )
    started = time.monotonic()
    assert relay(app, "a", "b", "spin") == (4, b"")
    assert time.monotonic() - started < 2
